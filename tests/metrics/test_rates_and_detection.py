"""sklgm.metrics: rates with intervals and detection metrics."""

import itertools
import pickle

import numpy as np
import pytest
from scipy.stats import beta, multinomial, norm
from scipy.stats import t as student_t
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier

from sklgm.metrics import (
    Rate,
    RateDifference,
    attack_success_rate,
    auroc,
    auroc_interval,
    make_attack_scorer,
    mean_interval,
    paired_rate_difference,
    tpr_at_fpr,
    tpr_at_fpr_rate,
    wilson_rate,
)

SEEDS = [0, 1, 2]


def scores_with_ties(seed, n_outliers=13, n_inliers=40):
    """Scores on a coarse grid, so that ties occur within and across groups."""
    rng = np.random.default_rng(seed)
    score = np.concatenate(
        [rng.integers(3, 12, size=n_outliers), rng.integers(0, 9, size=n_inliers)]
    )
    mask = np.arange(n_outliers + n_inliers) < n_outliers
    order = rng.permutation(len(mask))
    return score[order] / 4, mask[order]


# wilson_rate


@pytest.mark.parametrize(("n_success", "n_targets"), [(0, 20), (3, 20), (20, 20)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_rate_matches_the_formula(n_success, n_targets, confidence):
    rate = wilson_rate(n_success, n_targets, confidence=confidence)
    z = norm.ppf(0.5 + confidence / 2)
    share, n = n_success / n_targets, n_targets
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert rate.value == share
    assert rate.low == pytest.approx(center - half, abs=1e-12)
    assert rate.high == pytest.approx(center + half, abs=1e-12)
    assert (rate.n_success, rate.n_targets) == (n_success, n_targets)


def test_wilson_rate_without_cases_knows_nothing():
    rate = wilson_rate(0, 0)
    assert np.isnan(rate.value)
    assert (rate.low, rate.high, rate.n_success, rate.n_targets) == (0, 1, 0, 0)


def test_rate_is_frozen():
    with pytest.raises(AttributeError):
        wilson_rate(1, 2).value = 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2), r"n_success=3 must be in \[0, n_targets=2\]"),
        ((-1, 2), r"n_success=-1 must be in"),
        ((0, -1), r"n_targets=-1 must be at least 0"),
    ],
)
def test_wilson_rate_rejects_impossible_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson_rate(*arguments)


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, float("nan")])
def test_confidence_outside_the_open_unit_interval_raises(confidence):
    with pytest.raises(ValueError, match=f"confidence={confidence}"):
        wilson_rate(1, 2, confidence=confidence)
    with pytest.raises(ValueError, match=f"confidence={confidence}"):
        auroc_interval([0, 1], [0, 1], confidence=confidence)


# attack_success_rate


def test_attack_success_rate_counts_predictions_of_the_base_label():
    rate = attack_success_rate([1, 2, 3, 1], [1, 1, 3, 0])
    assert rate == wilson_rate(2, 4)


def test_attack_success_rate_counts_only_targets_the_control_gets_right():
    rate = attack_success_rate(
        predicted_labels=["a", "a", "b", "a"],
        base_labels=["a", "a", "a", "a"],
        control_labels=["b", "c", "b", "a"],
        target_labels=["b", "b", "b", "b"],
    )
    assert rate == wilson_rate(1, 2)


def test_attack_success_rate_without_counted_targets_is_nan():
    rate = attack_success_rate([1], [1], control_labels=[1], target_labels=[0])
    assert np.isnan(rate.value)
    assert isinstance(rate, Rate)
    assert (rate.low, rate.high, rate.n_targets) == (0, 1, 0)


@pytest.mark.parametrize(
    ("given", "missing"),
    [("control_labels", "target_labels"), ("target_labels", "control_labels")],
)
def test_attack_success_rate_needs_both_control_and_target_labels(given, missing):
    with pytest.raises(ValueError, match=f"{given} was given but {missing}=None"):
        attack_success_rate([1, 2], [1, 1], **{given: [2, 2]})


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], []), {}, r"predicted_labels of shape \(0,\)"),
        (([[1]], [1]), {}, r"predicted_labels of shape \(1, 1\)"),
        (([1, 2], [1]), {}, "base_labels has 1 entries but predicted_labels has 2"),
        (([1, 2], ["1", "2"]), {}, "mix strings and numbers"),
        (
            ([1, 2], [1, 1]),
            {"control_labels": [2], "target_labels": [2, 2]},
            "control_labels has 1 entries",
        ),
        (
            ([1, 2], [1, 1]),
            {"control_labels": [2, 2], "target_labels": [2, 1]},
            r"base_labels\[1\]=.*1.* equals target_labels\[1\]",
        ),
    ],
    ids=["empty", "2d", "length", "kinds", "control-length", "base-is-target"],
)
def test_attack_success_rate_rejects_bad_labels(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        attack_success_rate(*arguments, **options)


# auroc


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_matches_the_loop_over_pairs(seed):
    score, mask = scores_with_ties(seed)
    wins = [
        1.0 if x > y else 0.5 if x == y else 0.0
        for x, y in itertools.product(score[mask], score[~mask])
    ]
    assert auroc(score, mask) == pytest.approx(np.mean(wins), abs=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_matches_scikit_learn(seed):
    score, mask = scores_with_ties(seed)
    assert auroc(score, mask) == pytest.approx(roc_auc_score(mask, score), abs=1e-14)


def test_auroc_is_exact_for_scores_of_extreme_size():
    assert auroc([-1e300, 0.0, 1e-300, 1e300], [0, 0, 1, 1]) == 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_interval_matches_the_loops_of_delong(seed):
    score, mask = scores_with_ties(seed)
    outliers, inliers = score[mask], score[~mask]
    psi = np.array(
        [[1.0 if x > y else 0.5 if x == y else 0.0 for y in inliers] for x in outliers]
    )
    m, n = psi.shape
    area = psi.sum() / (m * n)
    s10 = sum((psi[i].mean() - area) ** 2 for i in range(m)) / (m - 1)
    s01 = sum((psi[:, j].mean() - area) ** 2 for j in range(n)) / (n - 1)
    half = norm.ppf(0.975) * np.sqrt(s10 / m + s01 / n)
    value, low, high = auroc_interval(score, mask)
    assert value == pytest.approx(area, abs=1e-14)
    assert low == pytest.approx(max(0, area - half), abs=1e-12)
    assert high == pytest.approx(min(1, area + half), abs=1e-12)


@pytest.mark.parametrize("n_outliers", [1, 5, 50])
def test_perfect_separation_gets_a_conservative_bound(n_outliers):
    score = np.arange(n_outliers + 100)
    mask = score >= 100
    value, low, high = auroc_interval(score, mask)
    assert value == high == 1.0
    # All of s trials succeed with probability low ** s = 2.5 %.
    assert low == pytest.approx(0.025 ** (1 / n_outliers))
    value, low, high = auroc_interval(-score, mask)
    assert value == low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / n_outliers))


def test_all_tied_scores_give_a_wide_interval_around_one_half():
    value, low, high = auroc_interval(np.zeros(8), np.arange(8) < 4)
    assert value == 0.5
    assert low < 0.1
    assert high > 0.9


@pytest.mark.parametrize("n_outliers", [1, 2])
def test_auroc_interval_contains_its_value_with_few_outliers(n_outliers):
    value, low, high = auroc_interval([1, 2, 3, 4, 5, 6], np.arange(6) < n_outliers)
    assert 0 <= low <= value <= high <= 1


def test_one_outlier_has_the_interval_of_a_share_of_one_trial():
    value, low, high = auroc_interval([1, 2, 3, 4, 5, 3.5], np.arange(6) == 5)
    assert value == pytest.approx(3 / 5)
    assert low == pytest.approx(beta.ppf(0.025, 3 / 5, 2 / 5 + 1))
    assert high == pytest.approx(beta.ppf(0.975, 3 / 5 + 1, 2 / 5))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_interval_covers_the_true_area(seed):
    rng = np.random.default_rng(seed)
    n_repeats, truth = 400, norm.cdf(1 / np.sqrt(2))
    mask = np.arange(150) < 50
    covered = 0
    for _ in range(n_repeats):
        _, low, high = auroc_interval(rng.normal(size=150) + mask, mask)
        covered += low <= truth <= high
    # Four standard errors of a share of 0.95, and 1 % for the normal approximation.
    tolerance = 4 * np.sqrt(0.95 * 0.05 / n_repeats) + 0.01
    assert covered / n_repeats == pytest.approx(0.95, abs=tolerance)


# tpr_at_fpr


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("max_fpr", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_tpr_at_fpr_matches_the_loop_over_thresholds(seed, max_fpr):
    score, mask = scores_with_ties(seed)
    best = 0.0
    for threshold in score:
        flagged = score >= threshold
        if flagged[~mask].mean() <= max_fpr:
            best = max(best, flagged[mask].mean())
    assert tpr_at_fpr(score, mask, max_fpr=max_fpr) == best


def test_a_tie_with_an_inlier_costs_a_false_alarm():
    score, mask = [0.0, 1.0, 1.0, 2.0], [False, False, True, True]
    assert tpr_at_fpr(score, mask, max_fpr=0.0) == 0.5
    assert tpr_at_fpr(score, mask, max_fpr=0.5) == 1.0


def test_no_threshold_within_the_budget_finds_nothing():
    assert tpr_at_fpr([1.0, 1.0], [0, 1], max_fpr=0.5) == 0.0


@pytest.mark.parametrize("n_inliers", [100, 300, 700, 1900])
def test_a_false_alarm_share_of_exactly_max_fpr_is_allowed(n_inliers):
    n_above = n_inliers // 100
    score = np.concatenate([np.arange(n_inliers), [n_inliers - n_above - 0.5]])
    mask = np.arange(n_inliers + 1) == n_inliers
    assert tpr_at_fpr(score, mask, max_fpr=0.01) == 1.0


def test_tpr_at_fpr_rate_carries_the_counts():
    score, mask = scores_with_ties(0)
    rate = tpr_at_fpr_rate(score, mask, max_fpr=0.1, confidence=0.9)
    assert rate.value == tpr_at_fpr(score, mask, max_fpr=0.1)
    assert rate == wilson_rate(rate.n_success, int(mask.sum()), confidence=0.9)


def test_all_outliers_are_found_where_every_inlier_may_be_flagged():
    assert tpr_at_fpr([3, 2, 1], [0, 1, 1], max_fpr=1) == 1.0
    assert tpr_at_fpr([3, 2, 1], [0, 1, 1], max_fpr=0) == 0.0


@pytest.mark.parametrize("max_fpr", [-0.1, 1.5, 5.0, float("nan")])
def test_max_fpr_outside_the_unit_interval_raises(max_fpr):
    with pytest.raises(ValueError, match=f"max_fpr={max_fpr}"):
        tpr_at_fpr([0, 1], [0, 1], max_fpr=max_fpr)


@pytest.mark.parametrize("metric", [auroc, auroc_interval, tpr_at_fpr, tpr_at_fpr_rate])
@pytest.mark.parametrize(
    ("score", "mask", "message"),
    [
        ([], [], r"outlier_score of shape \(0,\)"),
        ([[0.0, 1.0]], [[0, 1]], r"outlier_score of shape \(1, 2\)"),
        ([0, 1], [0, 1, 1], r"is_outlier of shape \(3,\)"),
        ([0, np.nan], [0, 1], r"outlier_score\[1\]=nan must be finite"),
        ([-np.inf, 1], [0, 1], r"outlier_score\[0\]=-inf must be finite"),
        ([0, 1], [0, 0], "is_outlier marks 0 of 2 samples"),
        ([0, 1], [1, 1], "is_outlier marks 2 of 2 samples"),
        ([0, 1], [-1, 1], "is_outlier must hold true and false"),
        ([0, 1], ["no", "yes"], "is_outlier must hold true and false"),
    ],
    ids=["empty", "2d", "length", "nan", "inf", "none", "all", "signs", "strings"],
)
def test_detection_metrics_reject_bad_input(metric, score, mask, message):
    with pytest.raises(ValueError, match=message):
        metric(score, mask)


# make_attack_scorer


@pytest.fixture
def two_blobs():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-3, 1, (20, 2)), rng.normal(3, 1, (20, 2))])
    return X, np.repeat(["left", "right"], 20)


def test_attack_scorer_is_one_minus_the_success_rate(two_blobs):
    X, y = two_blobs
    estimator = KNeighborsClassifier().fit(X, y)
    X_target = np.array([[-3.0, -3.0], [3.0, 3.0], [3.0, 2.0], [2.0, 3.0]])
    assert make_attack_scorer(X_target, "left")(estimator, X, y) == 0.75
    scorer = make_attack_scorer(X_target, ["left", "right", "left", "left"])
    assert scorer(estimator, X, y) == 0.5


def test_attack_scorer_pickles(two_blobs):
    X, y = two_blobs
    scorer = pickle.loads(pickle.dumps(make_attack_scorer(X[:3], "left")))
    assert scorer(KNeighborsClassifier().fit(X, y), X, y) == 0.0
    assert repr(scorer) == "make_attack_scorer(<3 targets>)"


def test_attack_scorer_is_frozen():
    scorer = make_attack_scorer([[0.0]], 1)
    with pytest.raises(AttributeError, match="cannot assign to field"):
        scorer.base_labels = [0]


def test_attack_scorer_works_in_cross_validate_beside_accuracy(two_blobs):
    X, y = two_blobs
    scoring = {"resistance": make_attack_scorer(X[:4], "right"), "accuracy": "accuracy"}
    scores = cross_validate(KNeighborsClassifier(), X, y, scoring=scoring, cv=2)
    np.testing.assert_array_equal(scores["test_resistance"], [1.0, 1.0])


def test_attack_scorer_selects_the_resistant_setting(two_blobs):
    X, y = two_blobs
    search = GridSearchCV(
        DummyClassifier(strategy="constant"),
        {"constant": ["left", "right"]},
        scoring=make_attack_scorer(X[20:24], "left"),
        cv=2,
    )
    search = clone(search).fit(X, y)
    assert search.best_params_ == {"constant": "right"}


@pytest.mark.parametrize(
    ("X_target", "base_label", "message"),
    [
        (np.empty((0, 2)), 1, r"X_target of shape \(0, 2\)"),
        (np.ones((3, 2)), [1, 2], r"base_label of shape \(2,\)"),
    ],
)
def test_attack_scorer_rejects_bad_targets(X_target, base_label, message):
    with pytest.raises(ValueError, match=message):
        make_attack_scorer(X_target, base_label)


def test_attack_scorer_rejects_labels_of_another_kind(two_blobs):
    X, y = two_blobs
    scorer = make_attack_scorer(X[:2], 0)
    with pytest.raises(ValueError, match="mix strings and numbers"):
        scorer(KNeighborsClassifier().fit(X, y), X, y)


def test_mean_interval_matches_the_students_t_formula():
    values = np.array([0.2, 0.4, 0.9, 0.5])
    value, low, high = mean_interval(values)
    half = student_t.ppf(0.975, 3) * values.std(ddof=1) / 2.0
    assert (value, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_mean_interval_is_cut_to_the_bounds():
    assert mean_interval([0.9, 1.0, 1.0], bounds=(0.0, 1.0))[2] == 1.0


@pytest.mark.parametrize("n", [1, 5])
def test_mean_interval_of_equal_values_has_no_ends(n):
    value, low, high = mean_interval([0.25] * n)
    assert value == 0.25
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("values", [[], [0.1, np.nan], [[0.1, 0.2]]])
def test_mean_interval_rejects_what_has_no_mean(values):
    with pytest.raises(ValueError, match="values must be"):
        mean_interval(values)


# paired_rate_difference


def paired_outcomes(both, first_only, second_only, neither):
    first = np.repeat([1, 1, 0, 0], [both, first_only, second_only, neither])
    second = np.repeat([1, 0, 1, 0], [both, first_only, second_only, neither])
    return first, second


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((35, 14, 0, 1), 0.1461, 0.4175),
        ((18, 14, 0, 18), 0.1441, 0.3963),
        ((2, 97, 1, 0), 0.8721, 0.9854),
        ((1, 97, 1, 1), 0.8736, 0.9850),
        ((0, 30, 0, 0), 0.8395, 1.0),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((30, 0, 0, 24), -0.0358, 0.0358),
    ],
    ids=str,
)
def test_paired_rate_difference_matches_the_published_examples(table, low, high):
    """Newcombe, Statistics in Medicine 17, 1998, Table III, method 10."""
    found = paired_rate_difference(*paired_outcomes(*table))
    assert found.n == sum(table)
    # Four digits are printed; one limit of the table is a last digit off the formula.
    assert (found.low, found.high) == pytest.approx((low, high), abs=1.1e-4)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize(
    "table",
    [(20, 12, 2, 16), (3, 9, 8, 4), (1, 1, 7, 12), (10, 0, 0, 5), (36, 12, 2, 0)],
    ids=["phi>0", "phi<0", "correction-to-0", "no-discordant", "margin-0"],
)
def test_paired_rate_difference_matches_the_formula(table, confidence):
    a, b, c, d = table
    n = a + b + c + d
    z = norm.ppf(0.5 + confidence / 2)

    def wilson(x):
        center = (x + z**2 / 2) / (n + z**2)
        half = z * np.sqrt(x * (n - x) / n + z**2 / 4) / (n + z**2)
        return x / n, center - half, center + half

    (p1, l1, u1), (p2, l2, u2) = wilson(a + b), wilson(a + c)
    big_c = max(a * d - b * c - n / 2, 0) if a * d > b * c else a * d - b * c
    spread = (a + b) * (c + d) * (a + c) * (b + d)
    phi = big_c / np.sqrt(spread) if spread else 0.0
    low = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    high = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    expected = (p1 - p2, p1 - p2 - np.sqrt(low), p1 - p2 + np.sqrt(high))
    found = paired_rate_difference(*paired_outcomes(*table), confidence=confidence)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_paired_rate_difference_covers_as_often_as_it_says():
    """Exact coverage: every table of 20 pairs, weighted by its probability."""
    n = 20
    tables = np.array(
        [
            (a, b, c, n - a - b - c)
            for a in range(n + 1)
            for b in range(n + 1 - a)
            for c in range(n + 1 - a - b)
        ]
    )
    intervals = [paired_rate_difference(*paired_outcomes(*table)) for table in tables]
    low, high = np.array([(found.low, found.high) for found in intervals]).T
    coverage = []
    for p in [
        (0.3, 0.2, 0.2, 0.3),
        (0.1, 0.4, 0.1, 0.4),
        (0.02, 0.3, 0.05, 0.63),
        (0.6, 0.1, 0.05, 0.25),
        (0.25, 0.05, 0.05, 0.65),
    ]:
        weights = multinomial(n, p).pmf(tables)
        difference = p[1] - p[2]
        coverage.append(weights[(low <= difference) & (difference <= high)].sum())
    # Newcombe finds a mean near the nominal level and few settings far below it.
    assert min(coverage) > 0.93
    assert 0.945 < np.mean(coverage) < 0.985


def test_paired_rate_difference_changes_sign_when_swapped():
    first, second = paired_outcomes(5, 9, 2, 14)
    there = paired_rate_difference(first, second)
    back = paired_rate_difference(second, first)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )


@pytest.mark.parametrize(
    ("table", "value"), [((0, 3, 0, 0), 1.0), ((0, 0, 3, 0), -1.0), ((2, 0, 0, 2), 0.0)]
)
def test_paired_rate_difference_stays_in_range_at_the_ends(table, value):
    found = paired_rate_difference(*paired_outcomes(*table))
    assert found.value == value
    assert -1.0 <= found.low <= value <= found.high <= 1.0


def test_paired_rate_difference_without_cases_knows_nothing():
    found = paired_rate_difference([], [])
    assert np.isnan(found.value)
    assert found == RateDifference(found.value, -1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ([1, 0], [1], {}, "second has 1 entries but first has 2"),
        ([[1, 0]], [1, 0], {}, r"first of shape \(1, 2\) must be one-dimensional"),
        ([1, 0], [0, 2], {}, "second must hold true and false"),
        (["1", "0"], [0, 1], {}, "first must hold true and false"),
        ([1, np.nan], [0, 1], {}, "first must hold true and false"),
        ([1, 0], [0, 1], {"confidence": 1.0}, r"confidence=1\.0 must be in \(0, 1\)"),
    ],
    ids=["length", "2d", "values", "strings", "nan", "confidence"],
)
def test_paired_rate_difference_rejects_bad_outcomes(first, second, options, message):
    with pytest.raises(ValueError, match=message):
        paired_rate_difference(first, second, **options)
