import sys

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklgm import LGMOutlierDetector, RobustGaussianClassifier, SoftmaxClassifier
from sklgm._running import import_extra as sklgm_import_extra
from sklgm.experiments import RunSettings, get_protocol, run
from sklgm.experiments._external_peers import EXTERNAL_PEERS
from sklgm.experiments.peers import _ask_detector, _make_detectors, _Retraining

OURS = {
    "lgm_likelihood",
    "lgm_posterior",
    "lgm_combined",
    "deep_knn",
    "spectral_signatures",
    "activation_clustering",
    "class_mahalanobis",
    "self_confidence",
}
SHARES = {"auroc", "tpr_at_1pct_fpr", "clean_flagged", "poisons_flagged"}
RETRAINED = {"success_after_filtering", "accuracy_after_filtering"}


def digits_run(**changes):
    own = get_protocol("peers").settings.for_preset(
        "digits", "quick", n_targets=2, n_poisons=(4,), max_iter=10, refit_epochs=40
    )
    settings = RunSettings(device="cpu", feature_dim=16, max_epochs=4)
    return run(settings, {"peers": own.model_copy(update=changes)}, n_jobs=1)[0]


@pytest.fixture(scope="module")
def run_and_calls():
    """Result of a run without other packages, and what its detectors were asked."""
    calls = []

    def ask(*arguments):
        calls.append(arguments)
        return _ask_detector(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklgm.experiments.peers.EXTERNAL", ())
        patch.setattr("sklgm.experiments.peers._ask_detector", ask)
        return digits_run().table, calls


@pytest.fixture(scope="module")
def peers_run(run_and_calls):
    return run_and_calls[0]


@pytest.fixture(scope="module")
def asked(run_and_calls):
    """Arguments of each call, by the number of its target."""
    calls = run_and_calls[1]
    return {
        t: calls[t * len(OURS) : (t + 1) * len(OURS)]
        for t in range(len(calls) // len(OURS))
    }


@pytest.fixture(scope="module")
def poisoned_rows():
    """Features of three classes; ten rows of the first lie in the second."""
    rng = np.random.RandomState(0)
    y = np.repeat(["a", "b", "c"], 150)
    features = rng.normal(size=(450, 6)) + 6 * np.eye(6)[np.repeat([0, 1, 2], 150)]
    is_poison = np.arange(450) < 10
    features[is_poison] = 6 * np.eye(6)[1] + 0.3 * rng.normal(size=(10, 6))
    return features.astype(np.float32), y, is_poison


@pytest.fixture(scope="module")
def retraining(poisoned_rows):
    """A softmax head, asked about the poisoned rows and a target among them."""
    features, y, is_poison = poisoned_rows
    head = SoftmaxClassifier(
        "identity", max_epochs=60, lr=0.05, batch_size="all", random_state=0
    )
    right = np.where(is_poison, "b", y)
    return _Retraining(head, features, right, target_row=0)


def detectors():
    return _make_detectors(RobustGaussianClassifier(), 0)


@pytest.mark.slow
def test_every_detector_is_recorded_on_every_network(peers_run):
    keys = peers_run.select("victim", "detector", "metric").rows()
    assert set(keys) == {
        (victim, detector, metric)
        for victim in ("softmax", "lgm")
        for detector in OURS
        for metric in SHARES | RETRAINED | {"fit_seconds"}
    } | {
        (victim, None, metric) for victim in ("softmax", "lgm") for metric in RETRAINED
    }
    assert len(set(keys)) == len(keys)


@pytest.mark.slow
def test_rows_count_targets(peers_run):
    assert set(peers_run["n_poisons"]) == {4}
    (n_targets,) = set(peers_run.filter(pl.col("metric").is_in(SHARES))["n"])
    assert n_targets >= 2
    assert set(peers_run.filter(metric="success_after_filtering")["n"]) == {2}
    assert set(peers_run["attack"]) == {"feature_collision"}


@pytest.mark.slow
def test_shares_have_an_interval_over_targets_and_seconds_have_none(peers_run):
    for row in peers_run.iter_rows(named=True):
        if row["metric"] == "fit_seconds":
            assert row["value"] > 0
            assert row["low"] is row["high"] is None
        else:
            assert 0 <= row["value"] <= 1
            if row["low"] is not None:
                assert 0 <= row["low"] <= row["value"] < row["high"] <= 1


def test_detectors_are_asked_about_the_same_rows(asked):
    for of_target in asked.values():
        assert {type(detector).__name__ for detector, *_ in of_target} == {
            "LGMOutlierDetector",
            "DeepKNNDetector",
            "SpectralSignatureDetector",
            "ActivationClusteringDetector",
            "ClassMahalanobisDetector",
            "SelfConfidenceDetector",
        }
        assert len(of_target) == len(OURS)
        _, (features, y, is_poison), retraining = of_target[0]
        for _, (others, claimed, marked), other in of_target[1:]:
            assert other.target_row == retraining.target_row
            assert other.head is retraining.head
            np.testing.assert_array_equal(others, features)
            np.testing.assert_array_equal(claimed, y)
            np.testing.assert_array_equal(marked, is_poison)


def test_poisons_replace_rows_of_one_class_and_leave_the_others(asked):
    softmax = list(asked.values())[: len(asked) // 2]
    _, (first, y, _), _ = softmax[0][0]
    for of_target in softmax[1:]:
        _, (features, _, is_poison), _ = of_target[0]
        assert is_poison.sum() == 4
        assert len(set(y[is_poison])) == 1
        is_same = (features == first).all(axis=1)
        assert is_same.sum() >= len(y) - 8
        assert not is_same[is_poison].any()


@pytest.mark.parametrize("name", sorted(OURS))
def test_judgement_compares_flags_and_scores_with_the_poisons(
    name, poisoned_rows, retraining
):
    features, y, is_poison = poisoned_rows
    detector = detectors()[name]
    found = _ask_detector(detector, poisoned_rows, retraining)
    flags = detector.fit_predict(features, y)
    assert found.clean_flagged == np.mean(flags[~is_poison] == -1)
    assert found.poisons_flagged == np.mean(flags[is_poison] == -1)
    scores = getattr(detector, "train_scores_", None)
    scores = detector.score_samples(features, y) if scores is None else scores
    wins = scores[is_poison][:, None] < scores[~is_poison]
    ties = scores[is_poison][:, None] == scores[~is_poison]
    assert found.auroc == pytest.approx(np.mean(wins + 0.5 * ties))


@pytest.mark.parametrize("score_kind", ["likelihood", "posterior", "combined"])
def test_gaussians_with_trim_find_poisons_in_another_class(
    score_kind, poisoned_rows, retraining
):
    found = _ask_detector(detectors()[f"lgm_{score_kind}"], poisoned_rows, retraining)
    assert found.auroc > 0.99
    assert found.tpr_at_1pct_fpr == 1.0


def test_retraining_sees_the_kept_rows_only(poisoned_rows, retraining):
    # Labels swapped in the rows that are dropped would teach the head otherwise.
    features, y, is_poison = poisoned_rows
    is_kept = ~is_poison & (np.arange(len(y)) % 3 != 0)
    swapped = np.where(is_kept, y, "c")
    kept = retraining.after(features, swapped, is_kept)
    n_epochs = round(60 * len(y) / is_kept.sum())  # as many steps as on all rows
    expected = clone(retraining.head).set_params(max_epochs=n_epochs)
    expected.fit(features[is_kept], y[is_kept])
    assert kept.label == expected.predict(features[:1])[0] == "b"
    assert kept.accuracy == np.mean(expected.predict(features) == retraining.y_test)
    assert kept.accuracy > 0.98


def test_poisons_that_are_kept_mislead_the_retrained_head(poisoned_rows, retraining):
    # A filter that drops nine tenths of the target's own class, and no poison.
    features, y, is_poison = poisoned_rows
    is_kept = is_poison | (y != "b") | (np.arange(len(y)) % 10 == 0)
    assert retraining.after(features, y, is_kept & ~is_poison).label == "b"
    is_kept &= (y != "b") | is_poison
    assert retraining.after(features, y, is_kept).label == "a"


@pytest.mark.parametrize("kept", ["a", None])
def test_a_detector_that_leaves_one_class_or_none_is_recorded(
    kept, poisoned_rows, retraining
):
    features, y, is_poison = poisoned_rows
    after = retraining.after(features, y, is_poison if kept else np.zeros(450, bool))
    assert after.label == kept
    assert after.accuracy == np.mean(retraining.y_test == kept)


def test_asking_changes_neither_detector_nor_head(poisoned_rows, retraining):
    detector = LGMOutlierDetector(random_state=0)
    _ask_detector(detector, poisoned_rows, retraining)
    assert not hasattr(detector, "classes_")
    assert not hasattr(retraining.head, "classes_")


@pytest.mark.parametrize(
    ("package", "module"),
    [("art", "art.defences.detector.poison"), ("cleanlab", "cleanlab.filter")],
    ids=["art", "cleanlab"],
)
def test_a_missing_extra_is_an_error_before_any_training(package, module, monkeypatch):
    def refuse(*args):
        raise AssertionError("a network was trained")

    def import_extra(name, extra):
        if name.startswith(package):
            return sklgm_import_extra(name, extra)

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("sklgm.experiments._external_peers.import_extra", import_extra)
    monkeypatch.setattr("sklgm.experiments._protocol.Context.trained", refuse)
    with pytest.raises(ImportError, match=rf'{module} .*pip install "sklgm\[bench\]"'):
        digits_run()


# The packages themselves, with the extra ``bench``


@pytest.mark.benchmark
@pytest.mark.parametrize("name", sorted(EXTERNAL_PEERS))
def test_other_packages_judge_the_same_rows(name, poisoned_rows, retraining):
    features, y, is_poison = poisoned_rows
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    found = _ask_detector(detectors()[name], poisoned_rows, retraining)
    again = _ask_detector(detectors()[name], poisoned_rows, retraining)
    assert found.auroc == again.auroc
    assert found.clean_flagged == again.clean_flagged
    after = np.random.get_state()[1]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)
    if name == "art_spectral_signatures":
        # 1.5 times a third of each class, whatever the share of poisons.
        flagged = found.clean_flagged * 440 + found.poisons_flagged * 10
        assert flagged == pytest.approx(0.5 * 450, abs=6)
    if name == "cleanlab_confident_learning":
        assert found.poisons_flagged > 0.9
        assert found.clean_flagged < 0.02
        assert found.auroc > 0.99


@pytest.mark.benchmark
@pytest.mark.parametrize("n_classes", [2, 3])
def test_art_is_given_the_probabilities_of_the_regression(n_classes, poisoned_rows):
    from sklgm.experiments._external_peers import _art_classifier

    features, y, _ = poisoned_rows
    rows = np.isin(y, ["a", "b", "c"][:n_classes])
    features, y_encoded = features[rows], np.unique(y[rows], return_inverse=True)[1]
    linear = LogisticRegression(max_iter=1000)
    classifier = _art_classifier(linear, features, y_encoded)
    logits = classifier.predict(features)
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(proba, linear.predict_proba(features), atol=1e-4)
    # What its defences read are these logits, and not the features.
    last = len(classifier.layer_names) - 1
    np.testing.assert_array_equal(classifier.get_activations(features, last), logits)


@pytest.mark.benchmark
def test_a_run_holds_the_other_packages():
    table = digits_run().table
    assert set(table["detector"]) == {None} | OURS | set(EXTERNAL_PEERS)
    flagged = table.filter(detector="art_spectral_signatures", metric="clean_flagged")
    assert flagged["value"].to_list() == pytest.approx([0.5, 0.5], abs=0.03)
