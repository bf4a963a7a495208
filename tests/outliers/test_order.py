import numpy as np
import pytest

from sklgm.outliers._order import ascending, by_label


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=5_000),
        1.0 - np.random.default_rng(1).random(5_000) ** 40,  # many differ in last bits
        np.random.default_rng(2).integers(-3, 4, size=2_000) / 7.0,
        np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1.7e308, -1.7e308]),
        np.array([3.0]),
        np.empty(0),
    ],
    ids=["normal", "close to one", "ties", "extremes", "one", "none"],
)
def test_rows_ascend_by_their_values(values):
    order = ascending(values)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(values)))
    np.testing.assert_array_equal(values[order], np.sort(values))


@pytest.mark.parametrize("n_values", [1, 7, 30, 10_000])
def test_each_row_is_in_one_part_of_its_label(n_values):
    claimed = np.random.default_rng(0).integers(5, size=200)
    claimed[claimed == 3] = 1  # no row claims the fourth
    parts = list(by_label(claimed, 5, n_values))
    assert all((claimed[rows] == label).all() for label, rows in parts)
    assert max(len(rows) for _, rows in parts) <= max(n_values // 5, 1)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([rows for _, rows in parts])), np.arange(200)
    )
    assert {label for label, _ in parts} == {0, 1, 2, 4}
