import numpy as np
import pytest

from sklgm.experiments._target_rows import draw_targets, scaled_counts, share_counts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_targets_are_drawn_until_every_control_has_enough(seed):
    rng = np.random.default_rng(seed)
    y_refit, y_test = np.repeat([0, 1, 2], 20), np.arange(300) % 3
    is_right = rng.random((2, 300)) < [[0.9], [0.5]]
    targets = draw_targets(
        is_right, y_test, y_refit, n_targets=10, n_bases=4, seed=seed
    )
    n_right = is_right[:, targets.rows].sum(axis=1)
    assert n_right.min() == 10
    assert (targets.base_labels != targets.labels).all()
    np.testing.assert_array_equal(
        y_refit[targets.base_rows], np.repeat(targets.base_labels[:, None], 4, axis=1)
    )
    assert all(len(set(rows)) == 4 for rows in targets.base_rows)


def test_largest_number_of_poisons_is_a_tenth_of_the_class():
    asked = (1, 5, 25)
    assert list(scaled_counts(asked, np.repeat(np.arange(10), 250))) == [1, 5, 25]
    assert list(scaled_counts(asked, np.repeat(np.arange(10), 44))) == [1, 4]


def test_counts_are_shares_of_a_class():
    y = np.repeat([0, 1, 2], [40, 40, 60])
    assert share_counts((0.2, 0.01, 0.1), y) == {1: 0.01, 4: 0.1, 8: 0.2}
    assert share_counts((0.001, 0.002), y) == {1: 0.001}
    assert list(share_counts((0.499,), y)) == [19]  # trim must be below one half
    with pytest.raises(ValueError, match=r"shares=.* at least 3 training rows"):
        share_counts((0.1,), y[38:42])
