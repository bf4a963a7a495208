import numpy as np
import pytest

from sklgm._inputs import some_rows


@pytest.mark.parametrize(
    ("n_samples", "n_chosen"), [(10, 3), (1000, 999), (7, 7), (4, 9)]
)
def test_chosen_rows_are_one_of_each_block(n_samples, n_chosen):
    rows = some_rows(n_samples, n_chosen)
    assert len(rows) == min(n_samples, n_chosen)
    assert (np.diff(rows) > 0).all()
    starts = np.arange(len(rows) + 1) * n_samples // len(rows)
    assert ((starts[:-1] <= rows) & (rows < starts[1:])).all()
    np.testing.assert_array_equal(rows, some_rows(n_samples, n_chosen))


@pytest.mark.parametrize("n_classes", [2, 10])
def test_chosen_rows_are_of_all_classes_where_these_take_turns(n_classes):
    labels = np.arange(10_000) % n_classes
    counts = np.bincount(labels[some_rows(10_000, 1_000)], minlength=n_classes)
    expected = 1_000 / n_classes
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
