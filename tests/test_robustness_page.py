"""The page of robustness is written from what was counted."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[1]
EXTENSIONS = Path(__file__).parents[1] / "docs" / "_extensions"
COUNTED = {
    "command": "python -m tests.fuzz files --n 7",
    "date": "2026-01-02",
    "processor_seconds": 1234,
    "environment": {"python": "3.11.7", "platform": "Linux"},
    "seed": 0,
    "n": 7,
    "n_asked": 9,
    "counts": {"refused": 6, "wrong: opened": 1},
    "n_wrong": 1,
    "longest_seconds": 0.25,
    "peak_bytes": 2**29,
}
FAULTS = {
    **COUNTED,
    "command": "python -m tests.fuzz mutants",
    "n": 20,
    "counts": {"killed": 17, "survived": 3},
    "survivors": [
        {"fault": "sklgm/losses.py:3: < -> <=", "reason": "The same."},
        {"fault": "sklgm/losses.py:4: + -> -", "reason": None},
        {"fault": "sklgm/losses.py:5: 1 -> 2", "reason": ""},
    ],
}


@pytest.fixture(scope="module")
def robustness_page():
    before = list(sys.path)
    sys.path.insert(0, str(EXTENSIONS))
    yield importlib.import_module("robustness_page")
    sys.path[:] = before
    for module in ("robustness_page", "generated"):
        sys.modules.pop(module, None)


def test_the_page_shows_counts_commands_and_survivors(robustness_page, tmp_path):
    record = {"mutants": FAULTS, "files": COUNTED}
    (tmp_path / "robustness.json").write_text(json.dumps(record))
    robustness_page.write_page(tmp_path)
    page = (tmp_path / "robustness.rst").read_text()
    cells = [line.lstrip(" *-") for line in page.splitlines()]
    first = cells.index("Altered model and cache files")
    assert cells[first : first + 4] == [
        "Altered model and cache files",
        "7",
        "1",
        "``python -m tests.fuzz files --n 7``",
    ]
    assert "85.0% noticed (64.0% to 94.8%)" in cells
    assert (
        "No test noticed 3, of which 1 have a reason to be left, and tests that were "
        "written since notice 1;"
    ) in page
    assert ":download:`robustness.json`" in page
    assert "9 were asked for, 7 run" in page
    assert "the largest process 512 MiB, libraries included" in page
    assert page.index("Altered model") < page.index("Faults that the tests")


def test_a_command_without_a_text_or_a_damaged_file_is_named(robustness_page, tmp_path):
    for text in ('{"unknown": {}}', "{", '{"files": {}}'):
        (tmp_path / "robustness.json").write_text(text)
        with pytest.raises(ExtensionError, match=r"robustness\.json: \w+Error"):
            robustness_page.write_page(tmp_path)


def test_without_counts_the_page_says_so(robustness_page, tmp_path):
    robustness_page.write_page(tmp_path)
    assert "Nothing is committed." in (tmp_path / "robustness.rst").read_text()


def test_nothing_that_is_committed_went_wrong(robustness_page):
    path = ROOT / "docs" / "results" / "robustness.json"
    record = json.loads(path.read_text())
    assert {name: each["n_wrong"] for name, each in record.items()} == dict.fromkeys(
        record, 0
    )
    assert robustness_page.render_page(record)
