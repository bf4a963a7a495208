"""Calls in processes of their own, with limits, told apart by how they ended."""

import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

#: Seconds of the processor that one input may take.
SECONDS = 10.0
#: Bytes that one input may take beyond what the process has.
MEMORY = 3 * 2**30


def import_all():
    """Import what children import late, so that the first takes no longer than others.

    Polars is not called: its threads do not outlive a fork.
    """
    import matplotlib.pyplot  # noqa: F401
    import polars  # noqa: F401
    import torch
    import torch._dynamo  # noqa: F401  with the first optimizer

    import sklgm.cli._app
    import sklgm.cli._audit_command
    import sklgm.cli._reproduce_command
    import sklgm.experiments
    import sklgm.persistence
    import sklgm.report  # noqa: F401

    torch.set_num_threads(1)


def call(function, *arguments, seconds=SECONDS, memory=MEMORY):
    """Call a function in a fork.

    Returns
    -------
    dict
        ``end``: "returned", "raised", "hang" or "crash"; ``value``: what was returned,
        or the traceback; ``seconds`` of the processor, ``peak`` bytes more.
    """
    handle, told = tempfile.mkstemp()
    os.close(handle)
    pid = os.fork()
    if pid == 0:
        limit = _mapped() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        limit = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 2))
        try:
            ended = {"end": "returned", "value": function(*arguments)}
        except BaseException as error:
            text = "".join(traceback.format_exception(error)[-6:])
            ended = {"end": "raised", "value": text}
        Path(told).write_text(json.dumps(ended))
        os._exit(0)
    begun = time.monotonic()
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            break
        # Waiting for ever takes no time of the processor.
        if time.monotonic() - begun > 1800.0:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    text = Path(told).read_text()
    os.unlink(told)
    taken = used.ru_utime + used.ru_stime
    measured = {"seconds": taken, "peak": 1024 * used.ru_maxrss}
    if text:
        return {**json.loads(text), **measured}
    is_hang = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (
        signal.SIGKILL,
        signal.SIGXCPU,
    )
    return {"end": "hang" if is_hang else "crash", "value": "", **measured}


def _mapped():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


#: What nothing that is only read may do.
FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
    *("subprocess.Popen", "pickle.find_class", "socket.connect", "socket.bind"),
    *("exec", "compile", "import", "ctypes.dlopen", "os.remove", "os.rename"),
    *("os.rmdir", "os.mkdir", "os.chmod", "os.putenv", "shutil.rmtree", "webbrowser"),
)
executed = []
_watched = []


def watch(events=FORBIDDEN):
    """Note from now on, in this process, what is executed while :func:`watching`."""

    def hook(event, arguments):
        if not _watched:
            return
        writes = event == "open" and any(
            isinstance(part, str) and set(part) & set("wax+") for part in arguments[1:2]
        )
        if event in events or writes:
            executed.append(f"{event} {arguments!r}"[:300])

    sys.addaudithook(hook)


@contextmanager
def watching():
    """Note what is executed inside a ``with`` block."""
    executed.clear()
    _watched.append(True)
    try:
        yield
    finally:
        _watched.clear()


@contextmanager
def unwatched():
    """Note nothing, for what the commands themselves do."""
    before = _watched[:]
    _watched.clear()
    try:
        yield
    finally:
        _watched.extend(before)
