"""What does not work, by rule."""

import pytest

from sklgm.report import RULES
from tests.tidy_rows import CLEAN, area, common, control, plain, rate, row, table_of

MISLED, BASELINE, ACCURACY, SOFTMAX_AUROC, BASELINE_AUROC, PEERS, NO_TEST = range(7)
PLACE = "digits, transfer, feature collision, 25 poisons"
GAUSSIANS = "softmax_trimmed_gaussians"


def verdict(rule, rows):
    found = RULES[rule].apply(table_of(rows))
    return plain(found.sentences), found.n_found, found.n_compared


def accuracy(victim, value, half, **changes):
    ends = {"low": value - half, "high": value + half}
    return row(victim, "clean_accuracy", value, **CLEAN | ends | changes)


def test_every_success_against_lgm_is_named_with_its_interval():
    rows = [rate("softmax", 9), rate("lgm", 0), rate("lgm", 12, variant="converged")]
    rows += [rate("lgm_trim", 1), control("lgm", 3), common("lgm", 3)]
    assert verdict(MISLED, rows) == (
        [
            f"{PLACE}: L-GM (converged) 12 of 50 targets (24 %, 14 to 37 %); "
            "L-GM + trim 1 of 50 targets (2 %, 0 to 10 %)."
        ],
        2,
        3,
    )


@pytest.mark.parametrize(
    ("n_baseline", "text"),
    [
        (0, "0 of 50 targets (0 %, 0 to 7 %), lower, intervals overlap."),
        (3, "3 of 50 targets (6 %, 2 to 16 %), the same."),
        (5, "5 of 50 targets (10 %, 4 to 21 %), higher, intervals overlap."),
        (30, None),
    ],
    ids=["lower", "same", "overlap", "worse"],
)
def test_a_baseline_that_is_not_worse_is_named(n_baseline, text):
    rows = [rate("softmax", 30), rate("lgm_trim", 3), rate(GAUSSIANS, n_baseline)]
    sentences, _, n_compared = verdict(BASELINE, rows)
    assert n_compared == 1
    subject = f"{PLACE}, L-GM + trim 3 of 50 targets (6 %, 2 to 16 %): "
    subject += "softmax + trimmed Gaussians "
    assert sentences == ([] if text is None else [subject + text])


def test_a_baseline_is_compared_with_the_defence_that_trims_by_the_same_rule():
    rows = [rate("softmax", 30), rate("lgm_trim", 9)]
    rows += [rate("lgm_trim", 1, variant="oracle"), rate(GAUSSIANS, 4, variant="diag")]
    rows.append(rate(GAUSSIANS, 5, variant="oracle"))
    sentences, _, n_compared = verdict(BASELINE, rows)
    assert n_compared == 2
    other, own = sentences  # no defence was tried by "diag"
    assert "L-GM + trim (oracle) 1 of 50" in own
    assert "Gaussians (oracle) 5 of 50" in own
    assert "L-GM + trim 9 of 50" in other
    assert "(diag) 4 of 50" in other


def test_attacks_that_mislead_nobody_are_no_test_and_not_compared():
    rows = [rate("softmax", 0), rate(GAUSSIANS, 0), rate("lgm_trim", 0)]
    assert verdict(BASELINE, rows) == ([], 0, 0)
    sentence = f"{PLACE}: softmax 0 of 50 targets (0 %, 0 to 7 %)."
    assert verdict(NO_TEST, rows) == ([sentence], 1, 1)


@pytest.mark.parametrize(
    "rows",
    [
        [rate("softmax", 1), rate("lgm", 0)],
        [rate("softmax", 0), rate("lgm", 1)],
        [rate("softmax", 0), rate("softmax", 4, variant="converged")],
    ],
    ids=["softmax", "lgm", "variant"],
)
def test_an_attack_that_misleads_any_model_is_a_test(rows):
    assert verdict(NO_TEST, rows) == ([], 0, 1)


def test_without_softmax_a_rate_of_zero_is_still_compared():
    rows = [rate(GAUSSIANS, 0), rate("lgm_trim", 0)]
    assert verdict(BASELINE, rows)[1:] == (1, 1)
    assert verdict(NO_TEST, rows) == ([], 0, 0)


@pytest.mark.parametrize(
    ("own", "half", "is_named"),
    [
        (0.9940, 0.02, True),  # 0.6 points lower, intervals overlap
        (0.9951, 0.02, False),
        (0.9951, 0.0001, True),  # 0.49 points lower, intervals apart
        (0.9999, 0.0001, False),
    ],
    ids=["by-points", "close", "apart", "higher"],
)
def test_lost_accuracy_counts_by_points_or_by_intervals(own, half, is_named):
    rows = [accuracy("softmax", 1 - 1e-9, half), accuracy("lgm", own, half)]
    assert verdict(ACCURACY, rows)[1:] == (int(is_named), 1)


def test_accuracy_is_compared_within_the_variant():
    rows = [
        accuracy("softmax", 0.72, 0.01),
        accuracy("softmax", 0.60, 0.01, variant="converged"),
        accuracy("lgm", 0.70, 0.01),
        accuracy("lgm", 0.71, 0.01, variant="converged"),
        accuracy("lgm_trim", 0.69, 0.01, variant="diag"),
    ]
    assert verdict(ACCURACY, rows) == (
        [
            "digits, transfer, no attack, clean accuracy, softmax 72.0 % (71.0 to "
            "73.0 %): L-GM 70.0 % (69.0 to 71.0 %)."
        ],
        1,
        2,
    )


@pytest.mark.parametrize(
    ("own", "half", "text"),
    [
        (0.9, 0.01, None),
        (0.9, 0.08, "0.900 (0.820 to 0.980), higher, intervals overlap."),
        (0.8, 0.01, "0.800 (0.790 to 0.810), the same."),
        (0.7, 0.01, "0.700 (0.690 to 0.710), lower."),
    ],
    ids=["beats", "overlap", "same", "lower"],
)
def test_likelihood_must_beat_the_posterior_of_softmax(own, half, text):
    rows = [area("softmax", 0.8, "posterior", 0.05)]
    rows.append(area("lgm", own, "likelihood", half))
    sentences, _, n_compared = verdict(SOFTMAX_AUROC, rows)
    assert n_compared == 1
    subject = f"{PLACE}, softmax (posterior) 0.800 (0.750 to 0.850): L-GM (likelihood) "
    assert sentences == ([] if text is None else [subject + text])


def test_scores_are_compared_with_the_same_score_of_the_baseline():
    rows = [
        area(GAUSSIANS, 0.99953, "likelihood", 0.0001),
        area(GAUSSIANS, 0.7, "posterior"),
        area("lgm_trim", 0.9, "likelihood"),
        area("lgm_trim", 0.9, "posterior"),
    ]
    assert verdict(BASELINE_AUROC, rows) == (
        [
            f"{PLACE}, softmax + trimmed Gaussians (likelihood) 0.99953 (0.99943 to "
            "0.99963): L-GM + trim (likelihood) 0.900 (0.890 to 0.910), lower."
        ],
        1,
        2,
    )


@pytest.mark.parametrize(("own", "expected"), [(0.9, (0, 0)), (0.4, (1, 1))])
def test_a_higher_value_without_an_interval_is_not_compared(own, expected):
    unknown = {"low": None, "high": None}
    rows = [area("softmax", 0.5, "posterior", **unknown)]
    rows.append(area("lgm", own, "posterior", **unknown))
    assert verdict(SOFTMAX_AUROC, rows)[1:] == expected


def test_seeds_are_pooled_before_a_rule_is_applied():
    rows = [rate("softmax", 5), rate("softmax", 5, seed=1)]
    rows += [rate("lgm", 0), rate("lgm", 1, seed=1)]
    rows += [area("softmax", 0.8, "posterior"), area("lgm", 0.7, "posterior")]
    rows.append(area("lgm", 0.8, "posterior", seed=1))
    sentence = f"{PLACE}: L-GM 1 of 100 targets (1 %, 0 to 5 %)."
    assert verdict(MISLED, rows) == ([sentence], 1, 1)
    (sentence,), _, n_compared = verdict(SOFTMAX_AUROC, rows)
    assert n_compared == 1
    assert sentence.endswith("L-GM (posterior) 0.750 (no interval), lower.")


def test_peers_that_are_not_beaten_are_named_and_backbones_are_no_rivals():
    def auroc(backbone, value, detector):
        return area(backbone, value, None, 0.02, detector=detector, protocol="peers")

    rows = [
        auroc("softmax", 0.90, "lgm_likelihood"),
        auroc("softmax", 0.95, "deep_knn"),
        auroc("softmax", 0.89, "self_confidence"),
        auroc("softmax", 0.60, "art_spectral_signatures"),
        auroc("lgm", 0.90, "lgm_likelihood"),
        auroc("lgm", 0.90, "deep_knn"),
        auroc("lgm", 0.50, "class_mahalanobis"),
    ]
    place = "digits, peers, feature collision, 25 poisons, features of"
    own = "L-GM likelihood 0.900 (0.880 to 0.920)"
    assert verdict(PEERS, rows) == (
        [
            f"{place} softmax, {own}: Deep k-NN 0.950 (0.930 to 0.970), higher; "
            "Self-confidence 0.890 (0.870 to 0.910), lower, intervals overlap.",
            f"{place} L-GM, {own}: Deep k-NN 0.900 (0.880 to 0.920), the same.",
        ],
        3,
        5,
    )
    assert verdict(SOFTMAX_AUROC, rows) == ([], 0, 0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.title)
def test_no_row_means_no_comparison(rule):
    found = rule.apply(table_of([]))
    assert (list(found.sentences), found.n_found, found.n_compared) == ([], 0, 0)
