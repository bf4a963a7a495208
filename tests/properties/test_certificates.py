"""The count of broken certificates, in small, and that it would see a broken one."""

import json
from pathlib import Path

import numpy as np
import pytest

from sklgm.gaussian import LocationBounds
from tests.properties.certificates import check, check_problem, is_sound

COMMITTED = Path(__file__).parents[2] / "docs/results/checks/certificates.json"


def test_no_certificate_of_many_small_problems_is_broken():
    counts = check(n_problems=128, n_searches=4, seed=0)
    assert is_sound(counts)
    assert len(counts["by_setting"]) == 16
    assert counts["n_certified"] > 100
    assert counts["n_refits"] > 25
    assert counts["n_certified"] < counts["n_cases"] - counts["n_changed"] + 1
    assert 0 < counts["n_attacked"] <= counts["n_changed_of_attacked"]


def test_a_bound_that_is_one_rank_too_narrow_would_be_seen(monkeypatch):
    interval = LocationBounds.interval

    def narrow(self, n_poisons, change):
        return interval(self, max(n_poisons - 1, 0), change)

    monkeypatch.setattr(LocationBounds, "interval", narrow)
    assert sum(check_problem(seed)[1]["n_broken"] for seed in range(64)) > 0


def test_the_committed_counts_are_of_enough_problems_and_none_is_broken():
    found = json.loads(COMMITTED.read_text("utf-8"))
    assert found["n_problems"] >= 10_000
    assert found["n_searches"] >= 200
    assert is_sound(found)
    totals = [own["n_cases"] for own in found["by_setting"].values()]
    assert len(totals) == 16
    assert np.sum(totals) == found["n_cases"]


@pytest.mark.slow
def test_another_thousand_problems_break_no_certificate():
    assert is_sound(check(n_problems=1000, n_searches=20, seed=1))
