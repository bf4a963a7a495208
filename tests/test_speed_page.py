"""The page of speed is written from what was measured."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from sphinx.errors import ExtensionError

EXTENSIONS = Path(__file__).parents[1] / "docs" / "_extensions"

RECORD = {
    "command": "python tests/benchmarks/run.py",
    "date": "2026-01-02",
    "processor": "a processor",
    "load_at_start": 0.1,
    "environment": {
        "python": "3.11.7",
        "platform": "Linux",
        "cpu_count": 2,
        "packages": {"torch": "2.14.1", "skorch": None},
    },
    "rows": [
        {
            "what": "epoch / loop",
            "median": median,
            "low": 0.91,
            "high": 1.2,
            "n": n,
            "asked": 1.05,
            "unit": unit,
            "threads": threads,
        }
        for median, n, unit, threads in ((1.0, 15, "ratio", 1), (1.13, 1, "ratio", 2))
    ],
}


PROFILES = {
    **{key: value for key, value in RECORD.items() if key != "rows"},
    "command": "OMP_NUM_THREADS=1 python tests/benchmarks/profiles.py",
    "profiles": [
        {
            "what": "a step",
            "seconds": 0.00123,
            "n_operators": 1234,
            "shares": [["aten::mm", 0.5], ["aten::add", 0.1]],
        },
        {"what": "a fit", "seconds": 2.0, "shares": [["infer", 0.2]]},
    ],
}


@pytest.fixture(scope="module")
def speed_page():
    before = list(sys.path)
    sys.path.insert(0, str(EXTENSIONS))
    yield importlib.import_module("speed_page")
    sys.path[:] = before
    for module in ("speed_page", "generated"):
        sys.modules.pop(module, None)


def test_the_page_shows_figures_bounds_and_machine(speed_page, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "speed.json").write_text(json.dumps(RECORD))
    speed_page.write_page(tmp_path)
    page = (tmp_path / "speed.rst").read_text()
    table = page[page.index(".. list-table::") :]
    assert [line.lstrip(" *-") for line in table.splitlines()[3:]] == [
        "What",
        "Asked",
        "1 thread",
        "2 threads",
        "epoch / loop",
        "1.05",
        "1 (0.91 to 1.2)",
        "1.13, missed",
    ]
    for words in ("a processor", "2 CPUs", "torch 2.14.1", "2026-01-02", "load"):
        assert words in " ".join(page.split())
    assert "skorch" not in page


def test_the_page_names_the_measurement_of_every_row(speed_page, tmp_path):
    (old,) = [row for row in RECORD["rows"] if row["threads"] == 2]
    (again,) = [row for row in RECORD["rows"] if row["threads"] == 1]
    record = {
        **RECORD,
        "date": "2026-03-04",
        "rows": [again],
        "earlier": [{**RECORD, "rows": [old]}],
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "speed.json").write_text(json.dumps(record))
    speed_page.write_page(tmp_path)
    page = " ".join((tmp_path / "speed.rst").read_text().split())
    assert page.count("epoch / loop") == 1
    assert "Measured on 2026-03-04" in page
    assert "What that leaves out: Measured on 2026-01-02" in page


def test_measuring_some_rows_again_keeps_the_others(tmp_path, monkeypatch):
    benchmarks = Path(__file__).parent / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    run = importlib.import_module("run")
    path = tmp_path / "speed.json"
    path.write_text(json.dumps(RECORD))
    first, second = RECORD["rows"]
    assert run.earlier_records(path, [first]) == [{**RECORD, "rows": [second]}]
    newer = {**RECORD, "rows": [first], "earlier": [{**RECORD, "rows": [second]}]}
    path.write_text(json.dumps(newer))
    assert run.earlier_records(path, [second]) == [{**RECORD, "rows": [first]}]
    for name in ("run", "sides"):
        sys.modules.pop(name, None)


def test_the_page_shows_where_time_goes(speed_page, tmp_path):
    (tmp_path / "results").mkdir()
    for name, record in (("speed", RECORD), ("profiles", PROFILES)):
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(record))
    speed_page.write_page(tmp_path)
    page = (tmp_path / "speed.rst").read_text()
    section = page[page.index("Where the time goes") :]
    assert "tests/benchmarks/profiles.py" in section
    rows = section.split("   * - ")[2:]
    assert [[cell.strip(" -") for cell in row.strip().split("\n")] for row in rows] == [
        ["a step", "0.00123 s", "1,234", "``aten::mm`` 50%, ``aten::add`` 10%"],
        ["a fit", "2 s", "", "``infer`` 20%"],
    ]


def test_without_a_measurement_the_page_says_so(speed_page, tmp_path):
    speed_page.write_page(tmp_path)
    assert "No measurement is committed." in (tmp_path / "speed.rst").read_text()


def test_a_damaged_measurement_fails_the_build(speed_page, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "speed.json").write_text(
        json.dumps({**RECORD, "rows": [{}]})
    )
    with pytest.raises(ExtensionError, match=r"speed\.json"):
        speed_page.write_page(tmp_path)


def test_the_committed_measurement_can_be_shown(speed_page):
    source = EXTENSIONS.parent / "results" / "speed.json"
    sources = [source, source.with_name("profiles.json")]
    records = [json.loads(s.read_text()) if s.exists() else None for s in sources]
    n_tables = sum(record is not None for record in records)
    assert speed_page.render_page(*records).count("list-table") == n_tables
