"""Numbers of several seeds."""

import math

from sklgm.metrics import wilson_rate
from sklgm.plotting import pool_seeds, rate_of
from tests.tidy_rows import rate, row, table_of


def pooled(rows, key=("victim",)):
    return pool_seeds(table_of(rows), key).rows(named=True)


def test_successes_and_cases_are_summed():
    (found,) = pooled([rate("lgm", 2, 20), rate("lgm", 5, 30, seed=1)])
    assert rate_of(found) == wilson_rate(7, 50)


def test_values_are_averaged_and_have_a_range():
    (found,) = pooled([row(value=0.1), row(value=0.4, seed=1)])
    assert math.isclose(found["value"], 0.25)
    assert (found["lowest"], found["highest"], found["n_values"]) == (0.1, 0.4, 2)
    assert (found["low"], found["high"]) == (None, None)


def test_a_single_value_keeps_its_interval():
    rows = [row(value=0.5, low=0.4, high=0.6), row(value=None, seed=1)]
    (found,) = pooled(rows)
    assert (found["low"], found["high"], found["n"], found["n_values"]) == (
        0.4,
        0.6,
        50,
        1,
    )


def test_unknown_values_and_repeated_rows_do_not_count():
    (found,) = pooled([rate("lgm", 2), rate("lgm", 2), rate("lgm", 0, 0, seed=1)])
    assert rate_of(found) == wilson_rate(2, 50)
    (found,) = pooled([row(value=None)])
    assert (found["value"], found["n"], found["n_values"]) == (None, 0, 0)


def test_rows_that_differ_in_the_key_stay_apart():
    rows = [row("lgm", score="b"), row("lgm", score=None), row("softmax", score="b")]
    found = pooled(rows, ["victim", "score"])
    assert [(r["victim"], r["score"]) for r in found] == [
        ("lgm", "b"),
        ("lgm", None),
        ("softmax", "b"),
    ]
