"""sklgm.outliers: scores of classes and of folds on one scale."""

import numpy as np
import pytest

from sklgm import ClassMahalanobisDetector, SpectralSignatureDetector
from sklgm.outliers._standardisation import align, combine, standardise
from tests.outliers.rows import gaussian_rows


def test_aligned_folds_have_one_median_and_spread():
    rng = np.random.default_rng(0)
    folds = np.arange(600) % 3
    scores = rng.normal(size=600) * np.array([1.0, 2.0, 50.0])[folds] - 7.0 * folds
    centres, spreads = align(scores, folds, 3)
    aligned = (scores - centres[folds]) / spreads[folds]
    medians = [np.median(aligned[folds == i]) for i in range(3)]
    mads = [np.median(np.abs(aligned[folds == i] - medians[i])) for i in range(3)]
    np.testing.assert_allclose(medians, medians[0])
    np.testing.assert_allclose(mads, mads[0])
    # The scale of a typical fold: the second.
    np.testing.assert_allclose(spreads[1], 1.0)


def test_one_fold_and_folds_without_spread_stay_as_they_are():
    scores = np.array([1.0, 5.0, 9.0, 9.0, 9.0])
    for folds, n_folds in ((np.zeros(5, int), 1), (np.array([0, 0, 1, 1, 1]), 2)):
        centres, spreads = align(scores, folds, n_folds)
        assert centres.tolist() == [0.0] * n_folds
        assert spreads.tolist() == [1.0] * n_folds


def test_scores_with_units_do_not_depend_on_the_units_of_a_fold():
    X, y = gaussian_rows(0, 150)
    flags = [
        SpectralSignatureDetector(contamination=0.1, random_state=0).fit_predict(
            scale * X, y
        )
        for scale in (1.0, 1e3)
    ]
    np.testing.assert_array_equal(*flags)
    assert not ClassMahalanobisDetector()._score_kind().has_units


@pytest.mark.parametrize("n_classes", [1, 3])
def test_standardised_classes_have_median_zero_and_spread_one(n_classes):
    rng = np.random.default_rng(0)
    claimed = np.arange(300) % n_classes
    density = rng.normal(size=300) * (1.0 + claimed) - 10.0 * claimed
    medians, scales, left_out = standardise(density, claimed, n_classes)
    for k in range(n_classes):
        own = (density[claimed == k] - medians[k]) / scales[k]
        assert np.median(own) == pytest.approx(0.0, abs=1e-12)
        assert 1.4826 * np.median(np.abs(own)) == pytest.approx(1.0)
    assert np.abs(left_out).max() < 10.0


def test_combined_scores_are_low_where_either_part_is():
    combined = combine(np.array([0.0, -9.0, 0.0]), np.array([0.0, 0.0, -9.0]))
    assert combined[0] > max(combined[1:]) + 5.0


def test_standardised_rows_are_those_of_a_literal_loop():
    sizes = [1, 2, 3, 4, 7, 8, 9, 20, 8]
    claimed = np.repeat(np.arange(len(sizes)), sizes)
    density = np.random.default_rng(0).normal(size=len(claimed)) + 3.0 * claimed
    density[-8:] = 1.0  # a class without spread
    medians, scales, left_out = standardise(density, claimed, len(sizes))

    def centre(values, n_rows):
        if n_rows >= 4:
            return np.median(values)
        return np.mean(values) if n_rows >= 2 else np.median(density)

    def spread(values, around):
        return 1.4826 * np.median(np.abs(values - around))

    others = [np.delete(density, i)[np.delete(claimed, i) == claimed[i]]
              for i in range(len(claimed))]  # fmt: skip
    centres = [centre(o, sizes[k]) for o, k in zip(others, claimed, strict=True)]
    pooled = spread(density, np.array(centres))
    for k, n_rows in enumerate(sizes):
        of_class = density[claimed == k]
        np.testing.assert_allclose(medians[k], centre(of_class, n_rows))
        own = spread(of_class, medians[k]) if n_rows >= 8 else 0.0
        np.testing.assert_allclose(scales[k], own or pooled)
    for i, k in enumerate(claimed):
        own = spread(others[i], centres[i]) if sizes[k] >= 8 else 0.0
        expected = (density[i] - centres[i]) / (own or pooled)
        np.testing.assert_allclose(left_out[i], expected, atol=1e-12)
    assert scales[-1] == pytest.approx(pooled)


def test_scores_without_any_spread_keep_their_unit():
    claimed = np.repeat([0, 1], [20, 3])
    medians, scales, left_out = standardise(3.0 + claimed, claimed, 2)
    assert medians.tolist() == [3.0, 4.0]
    assert scales.tolist() == [1.0, 1.0]
    assert (left_out == 0.0).all()
