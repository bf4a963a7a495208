"""Rows of labelled features, class by class: sums in chunks, weighted orders."""

import numpy as np
import pytest
import torch

from sklgm.gaussian import _class_rows
from sklgm.gaussian._class_rows import ClassRows, lower_medians, window_means


def laid_out(values, weights):
    """A column of one class, as a block has it."""
    column = torch.tensor(values, dtype=torch.float64)
    rows = ClassRows(
        column[:, None],
        torch.zeros(len(column), dtype=torch.long),
        1,
        torch.tensor(weights, dtype=torch.float64),
    )
    (block,) = rows.blocks
    return column[block.rows][:, None], block


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_of_two_middle_values_the_lower_is_the_weighted_median(unit):
    values, block = laid_out([2.0, 0.0, 1.0], unit * np.array([3.0, 1.0, 2.0]))
    assert not block.is_equal
    assert lower_medians(values, block).tolist() == [[1.0]]  # 1 + 2 of 6


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_the_weights_changes_no_window(unit):
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=11), rng.uniform(0.5, 2.0, size=11)
    found, expected = (
        window_means(*laid_out(values, scale * weights), 0.2, 0.8)
        for scale in (unit, 1.0)
    )
    torch.testing.assert_close(found, expected)


def test_sums_over_chunks_are_those_over_all_rows(monkeypatch):
    monkeypatch.setattr(_class_rows, "_VALUES_AT_ONCE", {"cpu": 1})  # of 256 rows
    rng = np.random.default_rng(0)
    y, features = np.arange(600) % 3, rng.normal(size=(600, 2))
    weights, means = rng.uniform(0.5, 2.0, size=600), rng.normal(size=(3, 2))
    rows = ClassRows(
        torch.from_numpy(features),
        torch.from_numpy(y),
        3,
        torch.from_numpy(weights),
    )
    squares = (features - means[y]) ** 2
    torch_means = torch.from_numpy(means)
    np.testing.assert_allclose(rows.claimed_squares(torch_means), squares.sum(axis=1))
    np.testing.assert_allclose(
        rows.spreads(torch_means, rows.weights),
        [weights[y == k] @ squares[y == k] for k in range(3)],
    )
    np.testing.assert_allclose(
        rows.means(rows.weights),
        [
            np.average(features[y == k], axis=0, weights=weights[y == k])
            for k in (0, 1, 2)
        ],
    )
    with pytest.raises(ValueError, match="zip"):  # not the sums of some rows
        rows.means(rows.weights[:256])


@pytest.mark.parametrize(("n_columns", "n_rows"), [(1, 2**16), (64, 1024), (1024, 256)])
def test_chunks_fit_the_cache_and_have_256_rows_at_least(n_columns, n_rows):
    features = torch.zeros(2, n_columns)
    assert (
        ClassRows(features, torch.zeros(2, dtype=torch.long), 1, None)._chunk == n_rows
    )


def test_columns_are_ordered_a_few_at_once():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 40)))
    rows = ClassRows(features, torch.arange(50) % 2, 2, None)
    widths = []

    def largest(values, block):
        widths.append(values.shape[1])
        chosen = torch.where(block.is_row[:, None], values, -torch.inf).amax(dim=2)
        return chosen, torch.zeros_like(chosen)

    found, _ = rows.by_columns(largest)
    assert widths == [16, 16, 8]
    for k in (0, 1):
        torch.testing.assert_close(found[k], features[k::2].amax(dim=0))
