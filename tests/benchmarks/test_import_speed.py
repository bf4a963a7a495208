"""Imports and the help of the command line, each in a process of its own.

Run by ``python tests/benchmarks/run.py``.
"""

import os
import resource
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

N_REPEATS = 7


@pytest.fixture(scope="module", autouse=True)
def bytecode(tmp_path_factory):
    """Modules are compiled once, as after an installation, whatever is set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


def seconds_of(*arguments):
    """Processor time of a Python process, in s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, capture_output=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_import_of_everything_public(measured):
    everything = "import sklgm; [getattr(sklgm, name) for name in sklgm.__all__]"
    others = "import torch, sklearn, skorch"
    seconds_of("-c", everything), seconds_of("-c", others)
    ratios = [
        seconds_of("-c", everything) / seconds_of("-c", others)
        for _ in range(N_REPEATS)
    ]
    what = "import of all public names / of torch, scikit-learn and skorch"
    measured(what, ratios, 1.10)


def test_help_of_the_command_line(measured):
    seconds_of("-m", "sklgm", "--help")
    seconds = [seconds_of("-m", "sklgm", "--help") for _ in range(N_REPEATS)]
    measured("sklgm --help", seconds, 0.7, "s")
