"""Which tests run which lines, and how long they take."""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Options of each run: alone, and with nothing kept between runs.
OPTIONS = ("-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly")


def traced_tests(tests, files, kept):
    """Run tests once, and tell for each line of `files` who ran it.

    Returns
    -------
    dict
        ``lines``: file to line to tests, ``seconds``: test to its duration. Tests that
        failed are in neither. It is read from the file `kept` where that exists.
    """
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        task = json.dumps({"tests": tests, "files": files, "kept": str(kept)})
        command = [sys.executable, "-m", "tests.fuzz._contexts", task]
        subprocess.run(command, check=True, cwd=ROOT)
    return json.loads(kept.read_text())


class _Tracer:
    """Tells coverage which test runs."""

    def __init__(self, measured):
        self.measured = measured
        self.seconds = {}
        self.failed = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        self.measured.switch_context(item.nodeid)
        begun = time.process_time()
        yield
        self.seconds[item.nodeid] = time.process_time() - begun
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report):
        if not report.passed:
            self.failed.add(report.nodeid)


def _trace(tests, files, kept):
    import coverage

    data = f"{kept}.coverage"
    measured = coverage.Coverage(
        data_file=data,
        include=[str(ROOT / file) for file in files],
        config_file=False,
    )
    tracer = _Tracer(measured)
    measured.start()
    pytest.main([*tests, *OPTIONS], plugins=[tracer])
    measured.stop()
    measured.save()
    lines = {}
    for file in files:
        found = measured.get_data().contexts_by_lineno(str(ROOT / file))
        lines[file] = {
            str(line): sorted(set(names) - tracer.failed - {""})
            for line, names in found.items()
        }
    passed = {k: v for k, v in tracer.seconds.items() if k not in tracer.failed}
    record = {"lines": lines, "seconds": passed, "failed": sorted(tracer.failed)}
    Path(kept).write_text(json.dumps(record))
    os.unlink(data)


def tests_of(traced, file, first, last):
    """Tests that run a line of the source, or the file where it is run on import."""
    lines = traced["lines"].get(file, {})
    names = defaultdict(int)
    for line in range(first, last + 1):
        for name in lines.get(str(line), ()):
            names[name] += 1
    return set(names)


if __name__ == "__main__":
    _trace(**json.loads(sys.argv[1]))
