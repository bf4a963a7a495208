"""The default tests in random order, warnings as errors, with branch coverage.

Needs ``pip install ".[fuzz]"``.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from tests.fuzz.mutants import ROOT

_SETTINGS = """
[run]
branch = true
source = {root}/sklgm
parallel = true
data_file = {folder}/coverage
disable_warnings = no-data-collected, module-not-imported
"""
# Every process that is started measures, and workers of pytest-xdist, which may be
# ended before they say what they saw, say it when their tests are over.
_FILES = {
    "sitecustomize.py": "import coverage\ncoverage.process_startup()\n",
    "saved_coverage.py": (
        "import coverage\n"
        "def pytest_sessionfinish(session):\n"
        "    measured = getattr(coverage.process_startup, 'coverage', None)\n"
        "    if measured is not None:\n"
        "        measured.stop()\n"
        "        measured.save()\n"
    ),
}


def run(n, seed, minutes, tests=()):
    """Run the tests once for each of `n` seeds, the first of which is `seed`.

    Coverage is that of the last run.
    """
    end = time.monotonic() + 60.0 * minutes
    counts, failed, covered = Counter(), [], {}
    for each in range(seed, seed + n):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            environment = _prepared(Path(folder))
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
            command += ["-n", "2", "-W", "error", f"--randomly-seed={each}"]
            command += [f"--junitxml={report}", *tests]
            subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                timeout=max(end - time.monotonic(), 1.0),
                check=False,
            )
            outcomes = list(_outcomes(report))
            covered = _covered(folder, environment)
        counts[f"order of seed {each}: tests"] = len(outcomes)
        for name, outcome in outcomes:
            counts[outcome] += 1
            if outcome in ("failed", "error"):
                failed.append(name)
    return {
        "n": sum(n for outcome, n in counts.items() if ":" not in outcome),
        "counts": {**counts, **covered},
        "n_wrong": len(failed),
        "wrong": failed,
    }


def _prepared(folder):
    """Environment in which every process measures what it covers."""
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    settings = folder / "settings"
    settings.write_text(_SETTINGS.format(root=ROOT, folder=folder))
    path = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "COVERAGE_PROCESS_START": str(settings),
        "PYTEST_PLUGINS": "saved_coverage",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


def _outcomes(report):
    """Name and outcome of each test of a JUnit report."""
    for case in ET.parse(report).iter("testcase"):
        tags = {child.tag: child.get("type", "") for child in case}
        outcome = "passed"
        if "failure" in tags:
            outcome = "failed"
        elif "error" in tags:
            outcome = "error"
        elif "skipped" in tags:
            is_expected = tags["skipped"] == "pytest.xfail"
            outcome = "failed as expected" if is_expected else "skipped"
        yield f"{case.get('classname')}::{case.get('name')}", outcome


def _covered(folder, environment):
    """Statements and branches of the package, and how many were covered."""
    here = {**environment}
    del here["COVERAGE_PROCESS_START"], here["PYTEST_PLUGINS"]
    coverage = [sys.executable, "-m", "coverage"]
    settings = f"--rcfile={folder}/settings"
    totals = f"{folder}/totals.json"
    for words in (["combine", settings], ["json", settings, "-o", totals]):
        subprocess.run(
            [*coverage, *words], cwd=ROOT, env=here, check=True, capture_output=True
        )
    found = json.loads(Path(totals).read_text())["totals"]
    return {
        "coverage: statements": found["num_statements"],
        "coverage: statements covered": found["covered_lines"],
        "coverage: branches": found["num_branches"],
        "coverage: branches covered": found["covered_branches"],
    }
