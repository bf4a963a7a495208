"""Audit of given probabilities beside cleanlab: seconds, and memory at its peak."""

import sys

import pytest

from tests.benchmarks.audit_of_probabilities import in_turns

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="reads memory from /proc"
    ),
]


@pytest.fixture(scope="module")
def medians():
    pytest.importorskip("cleanlab")
    sides = in_turns(1_000_000, 5)
    for name, values in sides.items():
        print(f"\n{name}: {values}")
    return sides


@pytest.mark.parametrize("rival", ["find_label_issues", "find_label_issues_batched"])
def test_a_million_rows_take_no_longer_than_cleanlab(medians, rival):
    # Processor time: others that run disturb it less than the clock.
    assert medians["sklgm"]["cpu_seconds"] <= medians[rival]["cpu_seconds"]


@pytest.mark.parametrize("rival", ["find_label_issues", "find_label_issues_batched"])
def test_a_million_rows_take_no_more_memory_than_cleanlab(medians, rival):
    assert medians["sklgm"]["more_mib"] <= medians[rival]["more_mib"]
