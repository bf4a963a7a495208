"""Measure speed, with one thread and with two, and keep what the docs page shows.

In a checkout, on a quiet machine: ``python tests/benchmarks/run.py``. It writes
``docs/results/speed.json``; ``--out`` names another file, ``--select`` takes an
expression of ``pytest -k``, and what it leaves out stays in the file as it was measured
before. A bound that is missed is recorded and ends nothing.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from sides import write_record

HERE = Path(__file__).parent
FILES = ("test_training_speed", "test_gaussian_speed", "test_import_speed")


def measure(n_threads, select):
    """Rows of all benchmarks, with so many threads."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "rows.jsonl"
        lines.touch()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(n_threads),
            "SKLGM_BENCHMARKS": str(lines),
        }
        command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "benchmark", "-s"]
        command += [str(HERE / f"{name}.py") for name in FILES]
        if select:
            command += ["-k", select]
        subprocess.run(command, env=environment, check=False, cwd=HERE.parents[1])
        return [json.loads(line) for line in lines.read_text().splitlines()]


def earlier_records(path, rows):
    """What stands in a file, without what has been measured anew."""
    record = json.loads(path.read_text())
    again = {(row["what"], row["threads"]) for row in rows}
    records = [*record.pop("earlier", ()), record]
    for older in records:
        older["rows"] = [
            row for row in older["rows"] if (row["what"], row["threads"]) not in again
        ]
    return [older for older in records if older["rows"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parents[1] / "docs" / "results" / "speed.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--select", help="an expression of pytest -k")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    given = ["--threads", *map(str, options.threads)]
    if options.select:
        given += ["--select", shlex.quote(options.select)]
    loads = os.getloadavg()[0]
    rows = [row for n in options.threads for row in measure(n, options.select)]
    if not rows:
        sys.exit("no benchmark was measured")
    command = " ".join(["python tests/benchmarks/run.py", *given])
    measured = {"rows": rows}
    if options.select and options.out.exists():
        measured["earlier"] = earlier_records(options.out, rows)
    write_record(options.out, command, load_at_start=loads, **measured)
    missed = sum(row["median"] > row["asked"] for row in rows)
    print(f"{len(rows)} rows in {options.out}, {missed} of them beyond what was asked")


if __name__ == "__main__":
    main()
