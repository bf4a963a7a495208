"""The commands that count robustness work, on a few cases each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import COMMANDS
from tests.fuzz._mutations import mutations_of
from tests.fuzz.order import _outcomes

ROOT = Path(__file__).parents[1]
SOURCE = '''"""Text."""


def between(x: int, low: float = 0.5, *, is_open: bool = True) -> bool:
    """Text."""
    if is_open and low < x:
        x += 1
    # Comment.
    return (x - 1) * 2 >= max(low, -1)
'''


REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.a" name="passes" />
<testcase classname="tests.a" name="fails"><failure message="x">x</failure></testcase>
<testcase classname="tests.b" name="breaks"><error message="x">x</error></testcase>
<testcase classname="tests.b" name="waits"><skipped type="pytest.skip" /></testcase>
<testcase classname="tests.b" name="known"><skipped type="pytest.xfail" /></testcase>
</testsuite></testsuites>
"""


def test_outcomes_of_tests_are_read_from_their_report(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert list(_outcomes(report)) == [
        ("tests.a::passes", "passed"),
        ("tests.a::fails", "failed"),
        ("tests.b::breaks", "error"),
        ("tests.b::waits", "skipped"),
        ("tests.b::known", "failed as expected"),
    ]


def test_faults_are_found_and_compile():
    found = mutations_of(SOURCE)
    shown = [f"{m.line} {m.shown(SOURCE)}" for m in found]
    assert shown == [
        "4 0.5 -> 1.0",
        "4 True -> False",
        "6 is_open and low < x -> not (is_open and low < x)",
        "6 and -> or",
        "6 < -> <=",
        "7 x += 1 -> pass",
        "7 + -> -",
        "7 1 -> 2",
        "9 (x - 1) * 2 >= max(low, -1) -> None",
        "9 - -> +",
        "9 1 -> 2",
        "9 * -> /",
        "9 2 -> 3",
        "9 >= -> >",
        "9 max -> min",
        "9 -1 -> (1)",
        "9 1 -> 2",
    ]
    for mutation in found:
        changed = mutation.applied(SOURCE)
        assert changed != SOURCE
        compile(changed, "changed", "exec")


FUNCTIONS = """
import json
from tests.fuzz import _children

def hang():
    while True:
        pass

def execute():
    _children.watch()
    with _children.watching():
        exec("1 + 1")
    return _children.executed
"""


def told_of(call):
    """What a call in a fork tells; the process that forks has no other threads."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{FUNCTIONS}\nprint(json.dumps({call}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("function", "end"),
    [("lambda: 3", "returned"), ("lambda: 1 / 0", "raised"), ("hang", "hang")],
    ids=["returned", "raised", "hang"],
)
def test_calls_are_told_apart_by_how_they_end(function, end):
    told = told_of(f"_children.call({function}, seconds=1.0)")
    assert told["end"] == end
    assert told["seconds"] < 20.0


def test_memory_is_bounded():
    told = told_of("_children.call(lambda: len(bytearray(2**31)), memory=2**28)")
    assert told["end"] == "raised"
    assert "MemoryError" in told["value"]


def test_what_is_executed_is_noticed():
    told = told_of("_children.call(execute)")
    assert any(event.startswith("exec") for event in told["value"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), [("files", 40), ("inputs", 10), ("threads", 7)])
def test_a_command_keeps_its_counts(name, n, tmp_path):
    out = tmp_path / "counts.json"
    arguments = [name, "--n", str(n), "--out", str(out)]
    # In a process of its own: it forks, and threads of Polars do not outlive that.
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    kept = json.loads(out.read_text())[name]
    assert kept["n"] == n
    assert sum(kept["counts"].values()) == n
    assert kept["command"] == f"python -m tests.fuzz {' '.join(arguments)}"


def test_every_command_has_a_module():
    folder = Path(__file__).parent / "fuzz"
    assert all((folder / f"{name}.py").exists() for name in COMMANDS)
