"""What does not work, by rule."""

import pytest

from sklgm.metrics import wilson_rate
from sklgm.report._limits import RULES
from sklgm.results import Record

MISLED, BASELINE, ACCURACY, SOFTMAX_AUROC, BASELINE_AUROC, PEERS, NO_TEST = range(7)
PLACE = "digits, transfer, feature collision, 25 poisons"


def record(model, metric, value, arm="attack", **changes):
    values = {"protocol": "transfer", "dataset": "digits", "n_poisons": 25, "seed": 0}
    values |= {"attack": "feature_collision", "n": 50, "low": None, "high": None}
    values |= {"model": model, "metric": metric, "value": value, "arm": arm}
    return Record(**values | changes)


def rate(model, n_success, arm="attack", **changes):
    found = wilson_rate(n_success, 50)
    ends = {"low": found.low, "high": found.high}
    return record(model, "attack_success_rate", found.value, arm, **ends | changes)


def measured(model, metric, value, half, arm="attack", **changes):
    ends = {"low": value - half, "high": value + half}
    return record(model, metric, value, arm, **ends | changes)


def verdict(rule, records):
    found = RULES[rule].apply(records)
    sentences = [s.replace("\N{NO-BREAK SPACE}", " ") for s in found.sentences]
    return sentences, found.n_found, found.n_compared


def test_every_success_against_lgm_is_named_with_its_interval():
    records = [rate("softmax", 9), rate("lgm", 0), rate("lgm", 12, "converged")]
    records += [
        rate("lgm_trim", 1),
        rate("lgm", 3, "control"),
        rate("lgm", 3, "common"),
    ]
    assert verdict(MISLED, records) == (
        [
            f"{PLACE}: L-GM (converged) 12 of 50 targets (24 %, 14 to 37 %); "
            "L-GM + trim 1 of 50 targets (2 %, 0 to 10 %)."
        ],
        2,
        3,
    )


@pytest.mark.parametrize(
    ("n_baseline", "n_defence", "text"),
    [
        (0, 3, "softmax + trimmed Gaussians 0 of 50 targets (0 %, 0 to 7 %), lower."),
        (
            3,
            3,
            "softmax + trimmed Gaussians 3 of 50 targets (6 %, 2 to 16 %), the same.",
        ),
        (
            5,
            3,
            "softmax + trimmed Gaussians 5 of 50 targets (10 %, 4 to 21 %), higher, "
            "intervals overlap.",
        ),
        (30, 3, None),
    ],
    ids=["lower", "same", "overlap", "worse"],
)
def test_a_baseline_that_is_not_worse_is_named(n_baseline, n_defence, text):
    records = [rate("softmax", 30), rate("lgm_trim", n_defence)]
    records.append(rate("softmax_trimmed_gaussians", n_baseline))
    sentences, _, n_compared = verdict(BASELINE, records)
    assert n_compared == 1
    subject = f"{PLACE}, L-GM + trim 3 of 50 targets (6 %, 2 to 16 %): "
    assert sentences == ([] if text is None else [subject + text])


def test_a_baseline_is_compared_with_the_defence_that_trims_by_the_same_rule():
    records = [rate("softmax", 30), rate("lgm_trim", 9), rate("lgm_trim", 1, "oracle")]
    records.append(rate("softmax_trimmed_gaussians", 5, "oracle"))
    records.append(rate("softmax_trimmed_gaussians", 4, "diag"))  # no such defence
    sentences, _, n_compared = verdict(BASELINE, records)
    assert n_compared == 2
    other, own = sentences
    assert "L-GM + trim (oracle) 1 of 50" in own
    assert "Gaussians (oracle) 5 of 50" in own
    assert "higher, intervals overlap" in own
    assert "L-GM + trim 9 of 50" in other
    assert "(diag) 4 of 50" in other


def test_attacks_that_mislead_nobody_are_no_test_and_not_compared():
    records = [rate("softmax", 0), rate("softmax_trimmed_gaussians", 0)]
    records.append(rate("lgm_trim", 0))
    assert verdict(BASELINE, records) == ([], 0, 0)
    sentence = f"{PLACE}: softmax 0 of 50 targets (0 %, 0 to 7 %)."
    assert verdict(NO_TEST, records) == ([sentence], 1, 1)


@pytest.mark.parametrize(
    "records",
    [
        [rate("softmax", 1), rate("lgm", 0)],
        [rate("softmax", 0), rate("lgm", 1)],
        [rate("softmax", 0), rate("softmax", 4, "converged")],
    ],
    ids=["softmax", "lgm", "variant"],
)
def test_an_attack_that_misleads_any_model_is_a_test(records):
    assert verdict(NO_TEST, records) == ([], 0, 1)


def test_without_softmax_a_rate_of_zero_is_still_compared():
    records = [rate("softmax_trimmed_gaussians", 0), rate("lgm_trim", 0)]
    assert verdict(BASELINE, records)[1:] == (1, 1)
    assert verdict(NO_TEST, records) == ([], 0, 0)


@pytest.mark.parametrize(
    ("own", "half", "is_found"),
    [
        (0.9940, 0.02, True),  # 0.6 points lower, intervals overlap
        (0.9951, 0.02, False),
        (0.9951, 0.0001, True),  # 0.49 points lower, intervals apart
        (0.9999, 0.0001, False),
    ],
    ids=["by-points", "close", "apart", "higher"],
)
def test_lost_accuracy_counts_by_points_or_by_intervals(own, half, is_found):
    records = [measured("softmax", "clean_accuracy", 1 - 1e-9, half, "clean")]
    records.append(measured("lgm", "clean_accuracy", own, half, "clean"))
    assert verdict(ACCURACY, records)[1:] == (int(is_found), 1)


def test_accuracy_is_compared_within_the_arm():
    clean = {"attack": "none", "n_poisons": 0}
    records = [
        measured("softmax", "clean_accuracy", 0.72, 0.01, "clean", **clean),
        measured("softmax", "clean_accuracy", 0.60, 0.01, "converged", **clean),
        measured("lgm", "clean_accuracy", 0.70, 0.01, "clean", **clean),
        measured("lgm", "clean_accuracy", 0.71, 0.01, "converged", **clean),
        measured("lgm_trim", "clean_accuracy", 0.69, 0.01, "diag", **clean),
    ]
    assert verdict(ACCURACY, records) == (
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
    records = [measured("softmax", "auroc", 0.8, 0.05, "posterior")]
    records.append(measured("lgm", "auroc", own, half, "likelihood"))
    sentences, _, n_compared = verdict(SOFTMAX_AUROC, records)
    assert n_compared == 1
    subject = f"{PLACE}, softmax (posterior) 0.800 (0.750 to 0.850): L-GM (likelihood) "
    assert sentences == ([] if text is None else [subject + text])


def test_scores_are_compared_with_the_same_score_of_the_baseline():
    name = "softmax_trimmed_gaussians"
    records = [
        measured(name, "auroc", 0.99953, 0.0001, "likelihood"),
        measured(name, "auroc", 0.7, 0.01, "posterior"),
        measured("lgm_trim", "auroc", 0.9, 0.01, "likelihood"),
        measured("lgm_trim", "auroc", 0.9, 0.01, "posterior"),
    ]
    assert verdict(BASELINE_AUROC, records) == (
        [
            f"{PLACE}, softmax + trimmed Gaussians (likelihood) 0.99953 (0.99943 to "
            "0.99963): L-GM + trim (likelihood) 0.900 (0.890 to 0.910), lower."
        ],
        1,
        2,
    )


@pytest.mark.parametrize(("own", "expected"), [(0.9, (0, 0)), (0.4, (1, 1))])
def test_a_higher_value_without_an_interval_is_not_compared(own, expected):
    records = [record("softmax", "auroc", 0.5, "posterior")]
    records.append(record("lgm", "auroc", own, "posterior"))
    assert verdict(SOFTMAX_AUROC, records)[1:] == expected


def test_seeds_are_pooled_before_a_rule_is_applied():
    records = [rate("softmax", 5), rate("softmax", 5, seed=1)]
    records += [rate("lgm", 0), rate("lgm", 1, seed=1)]
    records += [measured("softmax", "auroc", 0.8, 0.01, "posterior")]
    records += [measured("lgm", "auroc", a, 0.01, "posterior", seed=s)
                for s, a in enumerate([0.7, 0.8])]  # fmt: skip
    sentence = f"{PLACE}: L-GM 1 of 100 targets (1 %, 0 to 5 %)."
    assert verdict(MISLED, records) == ([sentence], 1, 1)
    (sentence,), _, n_compared = verdict(SOFTMAX_AUROC, records)
    assert n_compared == 1
    assert sentence.endswith("L-GM (posterior) 0.750 (no interval), lower.")


def test_peers_that_are_not_beaten_are_named_and_models_are_not_rivals():
    def auroc(model, value, arm):
        return measured(model, "auroc", value, 0.02, arm, protocol="peers")

    records = [
        auroc("softmax", 0.90, "lgm_likelihood"),
        auroc("softmax", 0.95, "deep_knn"),
        auroc("softmax", 0.89, "self_confidence"),
        auroc("softmax", 0.60, "art_spectral_signatures"),
        auroc("lgm", 0.90, "lgm_likelihood"),
        auroc("lgm", 0.90, "deep_knn"),
        auroc("lgm", 0.50, "class_mahalanobis"),
    ]
    place = "digits, peers, feature collision, 25 poisons, features of"
    found = verdict(PEERS, records)
    assert found == (
        [
            f"{place} softmax, L-GM likelihood 0.900 (0.880 to 0.920): Deep k-NN 0.950 "
            "(0.930 to 0.970), higher; Self-confidence 0.890 (0.870 to 0.910), lower, "
            "intervals overlap.",
            f"{place} L-GM, L-GM likelihood 0.900 (0.880 to 0.920): Deep k-NN 0.900 "
            "(0.880 to 0.920), the same.",
        ],
        3,
        5,
    )
    assert verdict(SOFTMAX_AUROC, records) == ([], 0, 0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.title)
def test_no_record_means_no_comparison(rule):
    found = rule.apply([])
    assert (list(found.sentences), found.n_found, found.n_compared) == ([], 0, 0)
