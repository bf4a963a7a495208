"""LGMClassifier and SoftmaxClassifier: training, prediction, composition."""

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklgm import LGMClassifier, RobustGaussianClassifier, SoftmaxClassifier
from sklgm.gaussian import COVARIANCE_TYPES, estimate_gaussians

CLASSIFIERS = [LGMClassifier, SoftmaxClassifier]
both = pytest.mark.parametrize("classifier", CLASSIFIERS)
SEEDS = [0, 1, 2]


def small(classifier, **settings):
    settings = {"feature_dim": 4, "max_epochs": 15, "lr": 0.01, **settings}
    return classifier(random_state=settings.pop("random_state", 0), **settings)


def without_warmup(classifier):
    return {"softmax_warmup": 0.0} if classifier is LGMClassifier else {}


@pytest.fixture(scope="module")
def fitted(blobs):
    """One fitted classifier of each kind; do not fit them again."""
    return {classifier: small(classifier).fit(*blobs) for classifier in CLASSIFIERS}


def parameters_of(clf):
    return list(clf.net_.module_.state_dict().values())


def equal_parameters(clf, other):
    pairs = zip(parameters_of(clf), parameters_of(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class EpochRecorder(Callback):
    """Keep the margins and learning data of every epoch in a list given from outside.

    Callbacks are deep-copied in fit; a record that copies to itself is shared.
    """

    def __init__(self, record):
        self.record = record

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        self.record.append(
            {"margin": getattr(net.criterion_, "margin", None), "n": len(dataset_train)}
        )


class SharedList(list):
    def __deepcopy__(self, memo):
        return self


# Labels


@both
@pytest.mark.parametrize(
    "names",
    [["ant", "bee", "cat"], [-7, 3, 40], ["b", "a", "c"]],
    ids=["strings", "integers", "unsorted"],
)
def test_predictions_are_members_of_the_classes(classifier, names, blobs):
    X, y = blobs
    labels = np.array(names)[y]
    clf = small(classifier).fit(X, labels)
    assert clf.classes_.tolist() == sorted(names)
    predicted = clf.predict(X)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels).mean() > 0.95


@both
def test_boolean_labels_are_predicted_as_booleans(classifier, blobs):
    X, y = blobs
    clf = small(classifier).fit(X, y == 1)
    assert clf.predict(X).dtype == bool
    assert clf.score(X, y == 1) > 0.95


@both
def test_labels_only_rename_the_classes(classifier, fitted, blobs):
    X, y = blobs
    renamed = small(classifier).fit(X, np.array(["a", "b", "c"])[y])
    assert equal_parameters(renamed, fitted[classifier])


# Images and rows


@both
def test_images_and_flat_rows_predict_alike(classifier, tiny_images):
    X, y = tiny_images
    clf = small(classifier, max_epochs=2).fit(X, y)
    flat = X.reshape(len(X), -1)
    assert clf.input_shape_ == (1, 8, 8)
    assert clf.n_features_in_ == 64
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(flat))
    on_rows = small(classifier, max_epochs=2, input_shape=(1, 8, 8)).fit(flat, y)
    assert equal_parameters(on_rows, clf)


@both
@pytest.mark.parametrize("dtype", ["uint8", "float64", "bool", ">f4"])
@pytest.mark.filterwarnings("ignore::sklgm.exceptions.UnscaledImagesWarning")
def test_values_are_cast_and_not_rescaled(classifier, dtype, tiny_images):
    X, y = tiny_images
    X = (255 * X).astype(dtype)
    clf = small(classifier, max_epochs=1).fit(X, y)
    as_float = small(classifier, max_epochs=1).fit(X.astype("float32"), y)
    assert equal_parameters(clf, as_float)
    np.testing.assert_array_equal(
        clf.predict_proba(X), clf.predict_proba(X.astype("float32"))
    )


@both
def test_column_names_are_remembered(classifier, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    clf = small(classifier, max_epochs=1).fit(frame, y)
    assert clf.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame[["b", "a", "c", "d"]])


# Reproducibility


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_same_seed_gives_the_same_bits(classifier, early_stopping, tiny_images):
    settings = {"max_epochs": 2, "early_stopping": early_stopping, "batch_size": 8}
    clf = small(classifier, **settings).fit(*tiny_images)
    again = small(classifier, **settings).fit(*tiny_images)
    other = small(classifier, random_state=1, **settings).fit(*tiny_images)
    assert equal_parameters(clf, again)
    assert not equal_parameters(clf, other)


@both
@pytest.mark.parametrize("seed", SEEDS)
def test_global_state_does_not_change_the_result(classifier, seed, fitted, blobs):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    assert equal_parameters(small(classifier).fit(*blobs), fitted[classifier])


@both
def test_global_generators_are_the_same_before_and_after(classifier, blobs):
    X, y = blobs
    torch_state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    clf = small(classifier, max_epochs=2, early_stopping=True).fit(X, y)
    clf.predict(X)
    clf.transform(X)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@both
def test_fit_changes_neither_data_nor_parameters(classifier, blobs):
    X, y = (array.copy() for array in blobs)
    callbacks = [("recorder", EpochRecorder([]))]
    clf = small(classifier, max_epochs=1, callbacks=callbacks)
    clf.fit(X, y)
    np.testing.assert_array_equal(X, blobs[0])
    np.testing.assert_array_equal(y, blobs[1])
    assert clf.callbacks is callbacks
    assert callbacks[0][1].record == []


# Outputs


@both
def test_probabilities_are_those_of_the_log_probabilities(classifier, fitted, blobs):
    proba = fitted[classifier].predict_proba(blobs[0])
    assert proba.shape == (60, 3)
    assert proba.dtype == np.float32
    np.testing.assert_array_equal(
        proba, np.exp(fitted[classifier].predict_log_proba(blobs[0]))
    )
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-6)


@both
def test_the_most_probable_class_is_predicted(classifier, fitted, blobs):
    proba = fitted[classifier].predict_proba(blobs[0])
    predicted = fitted[classifier].predict(blobs[0])
    np.testing.assert_array_equal(predicted, proba.argmax(axis=1))


@both
def test_float64_computes_and_returns_float64(classifier, blobs):
    X, y = blobs
    clf = small(classifier, dtype="float64").fit(X, y)
    assert all(p.dtype is torch.float64 for p in clf.net_.module_.parameters())
    for output in (clf.predict_proba(X), clf.transform(X), clf.decision_function(X)):
        assert output.dtype == np.float64
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1.0, atol=1e-15)


@both
def test_decisions_of_many_classes_are_their_logits(classifier, fitted, blobs):
    clf, X = fitted[classifier], blobs[0]
    decision = clf.decision_function(X)
    assert decision.shape == (60, 3)
    normaliser = logsumexp(decision.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(
        decision - normaliser, clf.predict_log_proba(X), rtol=1e-4, atol=1e-4
    )


@both
def test_decision_of_two_classes_is_the_log_odds(classifier, blobs):
    X, y = blobs
    clf = small(classifier).fit(X, y == 1)
    decision = clf.decision_function(X)
    assert decision.shape == (60,)
    log_proba = clf.predict_log_proba(X)
    np.testing.assert_allclose(
        decision, log_proba[:, 1] - log_proba[:, 0], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(decision > 0, clf.predict(X))


@both
def test_transform_gives_the_named_features_of_the_backbone(classifier, fitted, blobs):
    clf, X = fitted[classifier], blobs[0]
    features = clf.transform(X)
    assert features.shape == (60, 4)
    with torch.no_grad():
        expected = clf.net_.module_.backbone.eval()(torch.tensor(X).float())
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-5, atol=1e-6)
    prefix = classifier.__name__.lower()
    assert clf.get_feature_names_out().tolist() == [f"{prefix}{i}" for i in range(4)]


@both
def test_normalised_features_have_the_norm_sqrt_feature_dim(classifier, blobs):
    clf = small(classifier, normalize_features=True, max_epochs=2).fit(*blobs)
    norms = np.linalg.norm(clf.transform(blobs[0]), axis=1)
    np.testing.assert_allclose(norms, 2.0, rtol=1e-5)


@both
def test_rows_in_single_batches_score_as_together(classifier, fitted, blobs):
    clf, X = fitted[classifier], blobs[0]
    one_by_one = np.concatenate([clf.predict_proba(X[i : i + 1]) for i in range(60)])
    np.testing.assert_allclose(one_by_one, clf.predict_proba(X), rtol=1e-5, atol=1e-7)


def test_lgm_score_is_the_log_density_of_the_mixture(fitted, blobs):
    clf, X = fitted[LGMClassifier], blobs[0]
    features = clf.transform(X).astype(float)
    components = [
        np.log(prior)
        + multivariate_normal.logpdf(features, mean, clf.covariances_ * np.eye(4))
        for prior, mean in zip(clf.priors_, clf.means_, strict=True)
    ]
    np.testing.assert_allclose(
        clf.predict_joint_log_proba(X), np.transpose(components), rtol=1e-4
    )
    np.testing.assert_allclose(
        clf.score_samples(X), logsumexp(components, axis=0), rtol=1e-4
    )


def test_softmax_score_is_the_logsumexp_of_its_logits(fitted, blobs):
    clf, X = fitted[SoftmaxClassifier], blobs[0]
    np.testing.assert_allclose(
        clf.score_samples(X), logsumexp(clf.decision_function(X), axis=1), rtol=1e-5
    )


@both
@pytest.mark.parametrize("method", ["predict", "transform", "score_samples"])
def test_methods_need_a_fit(classifier, method, blobs):
    with pytest.raises(NotFittedError):
        getattr(classifier(), method)(blobs[0])


# Training


@both
def test_history_holds_the_losses_of_each_epoch(classifier, fitted):
    clf = fitted[classifier]
    assert clf.n_iter_ == len(clf.history_) == 15
    losses = clf.history_[:, "train_loss"]
    assert losses[-1] < losses[0]
    assert "valid_loss" not in clf.history_[0]


@both
def test_history_with_early_stopping_holds_validation(classifier, blobs):
    clf = small(classifier, early_stopping=True).fit(*blobs)
    for key in ("train_loss", "valid_loss", "valid_acc"):
        assert key in clf.history_[0]
    assert 0.0 <= clf.history_[-1, "valid_acc"] <= 1.0


@pytest.mark.parametrize(
    ("margin_warmup", "expected"),
    [
        (0.0, [0.8, 0.8, 0.8, 0.8]),
        (0.5, [0.0, 0.4, 0.8, 0.8]),
        (1.0, [0.0, 0.2, 0.4, 0.6]),
    ],
)
def test_the_margin_grows_over_the_warm_up(margin_warmup, expected, blobs):
    record = SharedList()
    small(
        LGMClassifier,
        max_epochs=4,
        softmax_warmup=0.0,
        margin=0.8,
        margin_warmup=margin_warmup,
        callbacks=[("recorder", EpochRecorder(record))],
    ).fit(*blobs)
    assert [epoch["margin"] for epoch in record] == pytest.approx(expected)


def test_validation_loss_has_no_margin(blobs):
    # The net does not move (lr is tiny), so the first validation losses agree.
    settings = {
        "early_stopping": True,
        "max_epochs": 1,
        "lr": 1e-12,
        "margin_warmup": 0.0,
    }
    with_margin = small(LGMClassifier, margin=5.0, **settings).fit(*blobs)
    without = small(LGMClassifier, margin=0.0, **settings).fit(*blobs)
    losses = [clf.history_[0] for clf in (with_margin, without)]
    assert losses[0]["valid_loss"] == pytest.approx(losses[1]["valid_loss"], rel=1e-5)
    assert losses[0]["train_loss"] > losses[1]["train_loss"] + 0.01


def test_training_loss_is_the_lgm_loss_of_the_start(blobs):
    X, y = blobs
    clf = small(
        LGMClassifier,
        backbone="identity",
        max_epochs=1,
        lr=1e-12,
        margin=0.7,
        margin_warmup=0.0,
        likelihood_weight=0.2,
        variance=2.0,
        batch_size="all",
    ).fit(X, y)
    means = np.stack([X[y == k].mean(axis=0) for k in range(3)])
    distances = ((X[:, None] - means) ** 2).sum(axis=2) / 2.0
    rows = np.arange(60)
    logits = -0.5 * distances
    logits[rows, y] *= 1.7
    classification = logsumexp(logits, axis=1) - logits[rows, y]
    likelihood = 0.5 * (distances[rows, y] + 4 * math.log(2.0))
    expected = (classification + 0.2 * likelihood).mean()
    assert clf.history_[0, "train_loss"] == pytest.approx(expected, rel=1e-5)


@both
def test_early_stopping_keeps_the_best_weights_and_stops(classifier, blobs):
    clf = small(
        classifier,
        max_epochs=200,
        lr=0.05,
        lr_schedule="constant",
        early_stopping=True,
        patience=4,
        batch_size=16,
        **without_warmup(classifier),
    ).fit(*blobs)
    valid = clf.history_[:, "valid_loss"]
    best = int(np.argmin(valid))
    assert clf.n_iter_ < 200
    assert clf.n_iter_ - 1 - best == 4
    # The same training, ended at the best epoch.
    ended = clone(clf).set_params(callbacks=[("stop", StopAfter(best + 1))])
    with pytest.warns(UserWarning, match="interrupted"):
        ended.fit(*blobs)
    assert equal_parameters(ended, clf)


class StopAfter(Callback):
    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            raise KeyboardInterrupt  # skorch ends training here


@both
def test_early_stopping_trains_on_the_other_rows_only(classifier, blobs):
    record = SharedList()
    small(
        classifier,
        max_epochs=1,
        early_stopping=True,
        validation_fraction=0.25,
        callbacks=[("recorder", EpochRecorder(record))],
    ).fit(*blobs)
    assert [epoch["n"] for epoch in record] == [45]


@both
def test_rows_of_weight_zero_are_as_removed(classifier, blobs):
    X, y = blobs
    weight = (np.arange(60) % 4 != 0).astype(float)
    weighted = small(classifier, max_epochs=3).fit(X, y, sample_weight=weight)
    removed = small(classifier, max_epochs=3).fit(X[weight > 0], y[weight > 0])
    assert equal_parameters(weighted, removed)


@both
def test_doubled_rows_and_doubled_weights_are_the_same(classifier, blobs):
    X, y = blobs
    weight = 1.0 + (np.arange(60) % 3 == 0)
    repeated = np.repeat(np.arange(60), weight.astype(int))
    settings = {"dtype": "float64", "batch_size": "all", "max_epochs": 5}
    weighted = small(classifier, **settings).fit(X, y, sample_weight=weight)
    doubled = small(classifier, **settings).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(
        weighted.predict_proba(X), doubled.predict_proba(X), rtol=1e-6, atol=1e-9
    )


@both
def test_the_scale_of_the_weights_does_not_matter(classifier, blobs):
    X, y = blobs
    weight = np.linspace(0.5, 1.5, 60)
    clfs = [
        small(classifier, dtype="float64").fit(X, y, sample_weight=scale * weight)
        for scale in (1.0, 1000.0)
    ]
    np.testing.assert_allclose(
        *[clf.predict_proba(X) for clf in clfs], rtol=1e-6, atol=1e-9
    )


@both
def test_class_weight_is_a_sample_weight(classifier, blobs):
    X, y = blobs
    by_class = {0: 1.0, 1: 3.0, 2: 0.5}
    clf = small(classifier, class_weight=by_class, max_epochs=3).fit(X, y)
    weight = np.array([by_class[label] for label in y])
    expected = small(classifier, max_epochs=3).fit(X, y, sample_weight=weight)
    assert equal_parameters(clf, expected)


def test_balanced_weights_give_equal_priors(blobs):
    X, y = blobs
    rows = np.concatenate([np.flatnonzero(y == 0)[:5], np.flatnonzero(y > 0)])
    clf = small(LGMClassifier, class_weight="balanced", max_epochs=1)
    np.testing.assert_allclose(clf.fit(X[rows], y[rows]).priors_, 1 / 3, rtol=1e-6)
    clf.set_params(class_weight=None).fit(X[rows], y[rows])
    np.testing.assert_allclose(clf.priors_, [1 / 9, 4 / 9, 4 / 9], rtol=1e-6)


def test_priors_are_the_weighted_shares_of_the_classes(blobs):
    X, y = blobs
    weight = np.where(y == 0, 2.0, 1.0)
    clf = small(LGMClassifier, max_epochs=2).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(clf.priors_, [0.5, 0.25, 0.25], rtol=1e-6)


@both
def test_all_weights_of_a_class_zero_is_an_error_that_names_it(classifier, blobs):
    X, y = blobs
    with pytest.raises(
        ValueError, match="class 2 has no row of positive sample_weight"
    ):
        small(classifier).fit(X, y, sample_weight=(y != 2).astype(float))


@both
def test_warm_start_continues_from_the_weights_before(classifier, blobs):
    X, y = blobs
    clf = small(classifier, warm_start=True, lr=1e-12, max_epochs=1)
    clf.set_params(lr=0.01, max_epochs=20).fit(X, y)
    before = [p.clone() for p in parameters_of(clf)]
    clf.set_params(lr=1e-12, max_epochs=1).fit(X, y)
    for found, expected in zip(parameters_of(clf), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    cold = clone(clf).set_params(warm_start=False).fit(X, y)
    assert clf.score(X, y) > 0.95
    assert not equal_parameters(cold, clf)


@both
def test_warm_start_improves_the_loss_further(classifier, blobs):
    # The loss of a growing margin would grow with it.
    settings = {"margin": 0.0} if classifier is LGMClassifier else {}
    clf = small(classifier, warm_start=True, max_epochs=3, **settings)
    losses = [clf.fit(*blobs).history_[-1, "train_loss"] for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


@both
def test_warm_start_needs_the_same_classes_and_columns(classifier, blobs):
    X, y = blobs
    clf = small(classifier, warm_start=True, max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"needs the same classes .* \[0, 1, 5\] now"):
        clf.fit(X, np.where(y == 2, 5, y))
    with pytest.raises(ValueError, match="X has 3 features"):
        clf.fit(X[:, :3], y)


@pytest.mark.parametrize(
    "changed", [{"covariance_type": "diag"}, {"normalize_features": True}]
)
def test_warm_start_refuses_what_a_fitted_network_cannot_change(changed, blobs):
    clf = small(LGMClassifier, warm_start=True, max_epochs=1).fit(*blobs)
    (name,) = changed
    with pytest.raises(ValueError, match=f"warm_start=True .* {name}="):
        clf.set_params(**changed).fit(*blobs)


@both
def test_warm_start_obeys_a_changed_freeze_backbone(classifier, blobs):
    clf = small(classifier, warm_start=True, max_epochs=2).fit(*blobs)
    backbone = clf.net_.module_.backbone
    before = copy.deepcopy(backbone.state_dict())

    def is_unchanged():
        return all(
            torch.equal(value, before[name])
            for name, value in backbone.state_dict().items()
        )

    clf.set_params(freeze_backbone=True).fit(*blobs)
    assert is_unchanged()
    clf.set_params(freeze_backbone=False).fit(*blobs)
    assert not is_unchanged()


@both
def test_a_second_fit_without_warm_start_forgets_the_first(classifier, fitted, blobs):
    clf = small(classifier).fit(*blobs).fit(*blobs)
    assert equal_parameters(clf, fitted[classifier])


@both
def test_frozen_batch_statistics_stay_and_the_head_learns(classifier, blobs):
    backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = copy.deepcopy(backbone.state_dict())
    clf = small(classifier, backbone=backbone, freeze_backbone=True).fit(*blobs)
    fitted = clf.net_.module_.backbone.state_dict()
    assert all(torch.equal(fitted[name], value) for name, value in state.items())
    losses = clf.history_[:, "train_loss"]
    assert losses[-1] < losses[0]


@both
@pytest.mark.parametrize("batch_size", [1, 59, 7, "all", 1000])
def test_every_batch_size_trains(classifier, batch_size, blobs):
    clf = small(classifier, batch_size=batch_size, max_epochs=2).fit(*blobs)
    sizes = clf.history_[0, "batches", :, "train_batch_size"]
    expected = {1: [1] * 60, 59: [60], 7: [7] * 8 + [4], "all": [60], 1000: [60]}
    assert sizes == expected[batch_size]


@both
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", torch.optim.RMSprop])
def test_every_optimizer_lowers_the_loss(classifier, optimizer, blobs):
    clf = small(classifier, optimizer=optimizer, lr=0.003, batch_size=16).fit(*blobs)
    losses = clf.history_[:, "train_loss"]
    assert losses[-1] < losses[0]


# Gaussians


@pytest.mark.parametrize("trim", [0.0, 0.2])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_shapes_of_the_published_gaussians(covariance_type, trim, blobs):
    clf = small(LGMClassifier, covariance_type=covariance_type, trim=trim, variance=0.5)
    clf.fit(*blobs)
    shapes = {"identity": (), "spherical": (3,), "diag": (3, 4), "tied_diag": (4,)}
    assert clf.means_.shape == (3, 4)
    assert np.shape(clf.covariances_) == shapes[covariance_type]
    assert np.all(clf.covariances_ > 0)
    if covariance_type == "identity":
        assert clf.covariances_ == pytest.approx(0.5)
    else:
        assert not np.allclose(clf.covariances_, 0.5)
    assert clf.priors_.sum() == pytest.approx(1.0)
    assert clf.score(*blobs) > 0.9


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("freeze_backbone", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_trimmed_gaussians_are_those_of_the_fitted_features(
    covariance_type, freeze_backbone, weighted, blobs
):
    X, y = blobs
    weight = np.linspace(0.5, 1.5, 60) if weighted else None
    clf = small(
        LGMClassifier,
        covariance_type=covariance_type,
        trim=0.2,
        freeze_backbone=freeze_backbone,
        max_epochs=5,
        variance=1.0,
        dtype="float64",
    ).fit(X, y, sample_weight=weight)
    estimate = estimate_gaussians(
        torch.from_numpy(clf.transform(X)),
        torch.tensor(y),
        3,
        covariance_type=covariance_type,
        trim=0.2,
        sample_weight=None if weight is None else torch.from_numpy(weight),
    )
    np.testing.assert_allclose(clf.means_, estimate.means.numpy(), rtol=1e-10)
    np.testing.assert_allclose(
        clf.covariances_, estimate.log_variances.exp().numpy(), rtol=1e-7
    )


def test_without_trim_the_gradient_moves_the_means(blobs):
    X, y = blobs
    clf = small(LGMClassifier).fit(X, y)
    features = torch.from_numpy(clf.transform(X))
    estimate = estimate_gaussians(features, torch.tensor(y), 3)
    assert not np.allclose(clf.means_, estimate.means.numpy(), atol=1e-3)


def test_means_start_from_the_data(blobs):
    X, y = blobs
    clf = small(LGMClassifier, max_epochs=0).fit(X, y)
    features = clf.transform(X)
    expected = [features[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(clf.means_, expected, rtol=1e-5, atol=1e-6)
    assert clf.n_iter_ == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_trim_resists_mislabelled_rows(seed):
    # A fifth of class 0 are rows of class 1, ten away; 0.25 is left out.
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], 100)
    X = rng.normal(size=(200, 3))
    X[:20, 0] += 10.0
    X[100:, 0] += 10.0
    means = {
        trim: LGMClassifier("identity", max_epochs=0, trim=trim).fit(X, y).means_[0]
        for trim in (0.0, 0.25, "auto")
    }
    clean = X[20:100].mean(axis=0)
    assert means[0.0][0] > clean[0] + 1.5
    # 75 of the 80 clean rows are kept: their mean differs by less than the
    # standard error of a mean of 75 rows.
    for trim in (0.25, "auto"):
        np.testing.assert_allclose(means[trim], clean, atol=1 / math.sqrt(75))


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=[pytest.mark.slow] * (seed > 0)) for seed in SEEDS],
)
def test_trim_resists_mislabelled_rows_when_trained_end_to_end(seed):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1, 2], 60)
    X = 6.0 * np.eye(3)[y] + rng.normal(size=(180, 3))
    is_wrong = np.zeros(180, dtype=bool)
    is_wrong[:12] = True
    claimed = np.where(is_wrong, 1, y)  # a fifth of 60 rows of class 0 claim 1

    def share_found(trim):
        clf = small(LGMClassifier, trim=trim, max_epochs=60, random_state=seed)
        clf.fit(X, claimed)
        return (clf.predict(X[is_wrong]) == 0).mean()

    assert share_found(0.25) == 1.0
    assert share_found("auto") == 1.0


def test_rows_left_out_have_no_loss():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    X = 4.0 * np.eye(2, 3)[y] + rng.normal(size=(40, 3))
    poisoned = X.copy()
    poisoned[0] = 500.0

    def first_loss(rows, trim):
        clf = small(
            LGMClassifier,
            trim=trim,
            max_epochs=1,
            softmax_warmup=0.0,
            variance=1.0,
            batch_size="all",
        )
        return clf.fit(rows, y).history_[0, "train_loss"]

    assert first_loss(poisoned, 0.1) < 2 * first_loss(X, 0.1)
    assert first_loss(poisoned, 0.0) > 10 * first_loss(X, 0.0)


# skorch's nested parameters


@both
def test_nested_parameters_reach_the_optimizer(classifier, blobs):
    clf = small(classifier, max_epochs=1, optimizer__weight_decay=0.25).fit(*blobs)
    assert clf.net_.optimizer_.param_groups[0]["weight_decay"] == 0.25


@both
def test_nested_parameters_are_parameters(classifier):
    clf = classifier(optimizer__weight_decay=0.1)
    assert clf.get_params()["optimizer__weight_decay"] == 0.1
    clf.set_params(optimizer__weight_decay=0.2, iterator_train__drop_last=True)
    copied = clone(clf)
    for name, value in (
        ("optimizer__weight_decay", 0.2),
        ("iterator_train__drop_last", True),
    ):
        assert copied.get_params()[name] == value
    assert "optimizer__weight_decay=0.2" in repr(clf)
    assert "weight_decay" in clf._repr_html_()


@both
def test_clones_do_not_share_nested_parameters(classifier):
    clf = classifier(optimizer__weight_decay=0.1)
    clone(clf).set_params(optimizer__weight_decay=0.9)
    assert clf.get_params()["optimizer__weight_decay"] == 0.1


@both
def test_nested_parameters_can_be_searched(classifier, blobs):
    search = GridSearchCV(
        small(classifier, max_epochs=1),
        {"optimizer__weight_decay": [0.0, 0.5]},
        cv=2,
    ).fit(*blobs)
    assert set(search.best_params_) == {"optimizer__weight_decay"}


@both
def test_nested_parameters_of_callbacks_reach_them(classifier, blobs):
    record = SharedList()
    clf = small(
        classifier,
        max_epochs=1,
        callbacks=[("recorder", EpochRecorder(None))],
        callbacks__recorder__record=record,
    ).fit(*blobs)
    assert len(record) == 1
    assert clf.callbacks[0][1].record is None


@both
@pytest.mark.parametrize("name", ["max_epoch", "module__hidden", "criterion__margin"])
def test_unknown_parameters_are_refused_in_fit_and_not_before(classifier, name, blobs):
    clf = classifier(**{name: 1})
    with pytest.raises(
        ValueError, match=f"'{name}' is not a parameter of {classifier.__name__}"
    ):
        clf.fit(*blobs)


@both
def test_unknown_parameters_cannot_be_set(classifier):
    with pytest.raises(ValueError, match="Invalid parameter"):
        classifier().set_params(max_epoch=1)


# Persistence and composition


@both
@pytest.mark.parametrize(
    "copied", [lambda clf: pickle.loads(pickle.dumps(clf)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)  # fmt: skip
@pytest.mark.parametrize("early_stopping", [False, True])
def test_copies_predict_the_same(classifier, early_stopping, copied, blobs):
    X, y = blobs
    clf = small(classifier, early_stopping=early_stopping, max_epochs=3).fit(X, y)
    np.testing.assert_array_equal(copied(clf).predict_proba(X), clf.predict_proba(X))


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_pickled_classifier_holds_no_training_rows(classifier, early_stopping):
    rng = np.random.default_rng(0)
    y = np.arange(4_000) % 2
    sizes = []
    for n_rows in (200, 4_000):
        X = rng.normal(size=(n_rows, 20))
        clf = small(
            classifier, max_epochs=1, batch_size="all", early_stopping=early_stopping
        )
        sizes.append(len(pickle.dumps(clf.fit(X, y[:n_rows]))))
    # 3,800 more rows of 20 float64 are 608 kB; which rows were kept, 3.8 kB.
    assert sizes[1] - sizes[0] < 5_000


@both
def test_trained_features_feed_a_pipeline(classifier, blobs):
    X, y = blobs
    pipeline = Pipeline(
        [("features", small(classifier)), ("lgm", small(LGMClassifier, max_epochs=1))]
    ).fit(X, y)
    assert pipeline["lgm"].n_features_in_ == 4
    assert pipeline.score(X, y) > 0.9


def test_grid_search_over_a_pipeline_is_reproducible(tiny_images):
    X, y = tiny_images
    X = X.reshape(36, 64)

    def searched():
        pipeline = Pipeline(
            [
                ("scale", StandardScaler()),
                ("clf", small(LGMClassifier, backbone="mlp", max_epochs=5)),
            ]
        )
        grid = {"clf__margin": [0.0, 0.5], "clf__variance": [0.5, 2.0]}
        return GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, y)

    first, second = searched(), searched()
    np.testing.assert_array_equal(
        first.cv_results_["mean_test_score"], second.cv_results_["mean_test_score"]
    )
    loaded = pickle.loads(pickle.dumps(first.best_estimator_))
    np.testing.assert_array_equal(
        loaded.predict_proba(X), second.best_estimator_.predict_proba(X)
    )
    assert first.best_score_ > 0.6


# The recipe of the default


def test_training_begins_with_softmax_and_its_class_means(blobs):
    X, y = blobs
    clf = small(LGMClassifier, max_epochs=4, softmax_warmup=0.5, lr=1e-12).fit(X, y)
    features = clf.transform(X).astype(float)  # nothing moved, so those of the start
    means = np.stack([features[y == k].mean(axis=0) for k in range(3)])
    np.testing.assert_allclose(clf.means_, means, rtol=1e-4, atol=1e-5)
    within = np.mean([features[y == k].var(axis=0) for k in range(3)])
    assert float(clf.covariances_) == pytest.approx(16.0 * within, rel=1e-4)
    assert clf.n_iter_ == len(clf.history_) == 4
    # The softmax loss of three classes, then the L-GM loss.
    assert clf.history_[0, "train_loss"] != clf.history_[2, "train_loss"]


@pytest.mark.parametrize(("scale", "variance"), [(4.0, "auto"), (1.0, 0.3)])
def test_variance_is_what_was_asked_for(scale, variance, blobs):
    X, y = blobs
    clf = small(LGMClassifier, lr=1e-12, variance=variance, variance_scale=scale)
    features = clf.fit(X, y).transform(X).astype(float)
    within = np.mean([features[y == k].var(axis=0) for k in range(3)])
    expected = scale * within if variance == "auto" else variance
    assert float(clf.covariances_) == pytest.approx(expected, rel=1e-4)


@both
def test_head_predicts_from_features_what_the_classifier_predicts(
    classifier, fitted, blobs
):
    clf, X = fitted[classifier], blobs[0]
    features = clf.transform(X)
    np.testing.assert_array_equal(clf.head_.predict(features), clf.predict(X))
    np.testing.assert_allclose(
        clf.head_.predict_proba(features), clf.predict_proba(X), rtol=1e-4, atol=1e-6
    )


def test_head_of_two_classes_predicts_the_same(blobs):
    X, y = blobs[0][:40], blobs[1][:40]
    clf = small(SoftmaxClassifier).fit(X, y)
    np.testing.assert_allclose(
        clf.head_.predict_proba(clf.transform(X)),
        clf.predict_proba(X),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("location", ["mean", "trimmed_mean", "median", "kept_mean"])
@pytest.mark.parametrize(
    "settings", [{"backbone": "identity"}, {"freeze_backbone": True}]
)
def test_nothing_is_trained_whose_result_would_be_overwritten(
    location, settings, blobs
):
    X, y = blobs
    clf = small(LGMClassifier, location=location, trim=0.2, **settings).fit(X, y)
    assert clf.n_iter_ == 0
    gaussians = RobustGaussianClassifier(location=location, trim=0.2)
    gaussians.fit(clf.transform(X), y)
    np.testing.assert_allclose(clf.means_, gaussians.means_, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(clf.is_kept_, gaussians.is_kept_)
    assert float(clf.covariances_) == pytest.approx(
        16.0 * float(gaussians.covariances_), rel=1e-5
    )


def test_median_of_trained_features_is_the_location(blobs):
    X, y = blobs
    clf = small(LGMClassifier, location="median").fit(X, y)
    assert clf.n_iter_ == 15
    features = np.sort(clf.transform(X)[y == 0], axis=0)
    np.testing.assert_allclose(clf.means_[0], features[9], rtol=1e-5)


def test_kept_rows_are_those_of_the_rows_given(blobs):
    X, y = blobs
    weight = np.ones(60)
    weight[:5] = 0.0
    clf = small(LGMClassifier, trim=0.25).fit(X, y, sample_weight=weight)
    assert clf.is_kept_.shape == (60,)
    assert not clf.is_kept_[:5].any()
    assert clf.is_kept_.sum() == 12 + 15 + 15  # ceil of three quarters of each class
    assert small(LGMClassifier, max_epochs=1).fit(X, y).is_kept_.all()


@pytest.mark.parametrize("factor", [1.0, 10.0])
def test_class_means_have_a_learning_rate_of_their_own(factor, blobs):
    clf = small(LGMClassifier, lr_schedule="constant", means_lr_factor=factor)
    groups = clf.fit(*blobs).net_.optimizer_.param_groups
    assert groups[0]["lr"] == pytest.approx(0.01)
    assert groups[-1]["lr"] == pytest.approx(factor * 0.01)


def test_recipe_parameters_can_be_searched(blobs):
    search = GridSearchCV(
        small(LGMClassifier, max_epochs=4),
        {"margin": [0.0, 1.0], "variance": ["auto", 1.0], "softmax_warmup": [0.0, 0.5]},
        cv=2,
    ).fit(*blobs)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_trim_auto_of_a_coordinate_wise_location_is_refused(blobs):
    clf = small(LGMClassifier, location="median", trim="auto", max_epochs=1)
    with pytest.raises(ValueError, match="trim='auto' chooses whole rows and needs"):
        clf.fit(*blobs)


def test_partial_fit_goes_on_at_the_constant_rate(blobs):
    X, y = blobs
    clf = small(LGMClassifier, max_epochs=4).fit(X, y)
    assert clf.net_.optimizer_.param_groups[0]["lr"] < 1e-3  # the end of the cycle
    clf.partial_fit(X, y)
    rates = [group["lr"] for group in clf.net_.optimizer_.param_groups]
    assert rates == pytest.approx([0.01, 0.1])


# Data loaders


@pytest.mark.parametrize(
    "settings",
    [
        {"iterator_valid__shuffle": True},
        {"iterator_valid__drop_last": True, "iterator_valid__batch_size": 7},
    ],
)
@both
def test_settings_of_validation_batches_do_not_reach_inference(
    classifier, settings, fitted, blobs
):
    # Regression (issue 1 of 6): rows came back shuffled, or not at all.
    X, y = blobs
    clf = small(classifier, **settings).fit(X, y)
    np.testing.assert_allclose(
        clf.predict_proba(X), fitted[classifier].predict_proba(X), rtol=1e-4, atol=1e-6
    )


@both
def test_a_training_without_any_batch_is_refused(classifier, blobs):
    clf = small(classifier, iterator_train__drop_last=True, batch_size=128)
    message = "iterator_train__drop_last=True leaves no batch .* 60 rows and batch_size"
    with pytest.raises(ValueError, match=message):
        clf.fit(*blobs)


# Label smoothing


def test_label_smoothing_keeps_probabilities_from_the_extremes(blobs):
    sharp, smooth = (
        small(SoftmaxClassifier, max_epochs=60, lr=0.03, label_smoothing=eps)
        .fit(*blobs)
        .predict_proba(blobs[0])
        .max(axis=1)
        for eps in (0.0, 0.3)
    )
    assert np.median(sharp) > 0.97
    # The loss is least where the claimed class has probability 1 - eps + eps / K.
    assert np.median(smooth) == pytest.approx(0.7 + 0.3 / 3, abs=0.03)


def test_label_smoothing_of_zero_changes_nothing(blobs):
    default = small(SoftmaxClassifier).fit(*blobs)
    zero = small(SoftmaxClassifier, label_smoothing=0).fit(*blobs)
    np.testing.assert_array_equal(
        default.predict_proba(blobs[0]), zero.predict_proba(blobs[0])
    )


@pytest.mark.parametrize("value", [-0.1, 1.0, "a"])
def test_label_smoothing_out_of_range_is_refused(value, blobs):
    with pytest.raises(ValueError, match="'label_smoothing' parameter"):
        small(SoftmaxClassifier, label_smoothing=value).fit(*blobs)
