"""A frozen backbone is passed once over each row, and nothing else changes."""

import pickle
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import Unfreezer
from torch import nn

from sklgm import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    DeepKNNDetector,
    LGMClassifier,
    LGMOutlierDetector,
    PoisonFilter,
    SelfConfidenceDetector,
    SoftmaxClassifier,
    SpectralSignatureDetector,
    audit,
    load,
)
from sklgm._running import _scratch
from sklgm.classifiers._fixed_part import FixedPart

CLASSIFIERS = [LGMClassifier, SoftmaxClassifier]
both = pytest.mark.parametrize("classifier", CLASSIFIERS)
PASSES = Counter()


class Counting(nn.Module):
    """Batch-normalised features; the first pixel of a row is its number."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)
        )

    def forward(self, X):
        assert not self.training
        # Zeros ask for the number of features.
        PASSES.update(row for row in X[:, 0, 0, 0].tolist() if row > 0)
        X = X.clone()
        X[:, 0, 0, 0] = 0.0
        return self.layers(X)


@pytest.fixture(autouse=True)
def count():
    PASSES.clear()


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    module = Counting()
    module.layers[2].running_mean.normal_()
    module.layers[2].running_var.uniform_(0.5, 2.0)
    return module


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 1, 4, 4)) + 8 * np.eye(3, 16, 1)[y].reshape(90, 1, 4, 4)
    X[:, 0, 0, 0] = 1 + np.arange(90)
    claimed = y.copy()
    claimed[:3] = (y[:3] + 1) % 3
    return X.astype(np.float32), claimed


def frozen(classifier, backbone, **settings):
    defaults = {"max_epochs": 10, "lr": 0.02, "random_state": 0}
    return classifier(backbone, freeze_backbone=True, **{**defaults, **settings})


def each_once(n_rows):
    return Counter({float(row): 1 for row in range(1, n_rows + 1)})


@both
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"early_stopping": True},
        {"normalize_features": True},
        {"dtype": "float64"},
        {"iterator_valid__batch_size": 7, "batch_size": 16},
    ],
    ids=str,
)
def test_fit_passes_a_frozen_backbone_once(classifier, settings, backbone, images):
    frozen(classifier, backbone, **settings).fit(*images)
    assert each_once(90) == PASSES


@pytest.mark.parametrize(
    "settings",
    [
        {"trim": 0.1},
        {"trim": 0.1, "location": "gradient"},
        {"covariance_type": "diag"},
        {"location": "median", "trim": 0.25},
        {"max_epochs": 0},
    ],
    ids=str,
)
def test_class_gaussians_need_no_further_pass(settings, backbone, images):
    frozen(LGMClassifier, backbone, **settings).fit(*images)
    assert each_once(90) == PASSES


@both
@pytest.mark.parametrize("normalize_features", [False, True])
def test_fit_equals_one_that_passes_each_epoch(
    classifier, normalize_features, backbone, images, monkeypatch
):
    settings = {"normalize_features": normalize_features, "early_stopping": True}
    once = frozen(classifier, backbone, **settings).fit(*images)
    monkeypatch.setattr(classifier, "_passes_backbone_once", lambda self: False)
    PASSES.clear()
    often = frozen(classifier, backbone, **settings).fit(*images)
    assert min(PASSES.values()) > 9
    assert (
        once.net_.module_.state_dict().keys() == often.net_.module_.state_dict().keys()
    )
    for name, value in once.net_.module_.state_dict().items():
        torch.testing.assert_close(value, often.net_.module_.state_dict()[name])
    X = images[0]
    np.testing.assert_allclose(
        once.predict_proba(X), often.predict_proba(X), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(once.transform(X), often.transform(X), rtol=1e-5)
    assert [e["train_loss"] for e in once.history_] == pytest.approx(
        [e["train_loss"] for e in often.history_], rel=1e-4
    )


@both
def test_mirror_images_count_in_what_is_kept(classifier, images):
    X, y = images
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    clf = frozen(classifier, backbone, test_time_flip=True, max_epochs=3).fit(X, y)
    mean = torch.from_numpy((X + X[..., ::-1]) / 2.0)
    with torch.no_grad():  # linear: the mean of outputs is the output of the mean
        expected = backbone(mean).numpy()
    np.testing.assert_allclose(clf.transform(X), expected, rtol=1e-4, atol=1e-4)
    alike = frozen(classifier, backbone, max_epochs=3).fit(mean.numpy(), y)
    np.testing.assert_allclose(
        clf.decision_function(X), alike.decision_function(mean.numpy()), rtol=1e-3
    )
    detectors = [
        LGMOutlierDetector(
            frozen(classifier, backbone, max_epochs=3, **more),
            calibration="marginal",
            false_alarm_rate=0.5,
            cv=3,
            random_state=0,
        )
        for more in ({"test_time_flip": True}, {})
    ]
    scores = [
        detector.fit(rows, y).score_samples(rows, y)
        for detector, rows in zip(detectors, (X, mean.numpy()), strict=True)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-5)


@both
def test_a_fitted_network_is_asked_about_mirror_images_too(classifier, images):
    X, y = images
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    clf = classifier(backbone, test_time_flip=True, max_epochs=3, random_state=0).fit(
        X, y
    )
    detector = LGMOutlierDetector(
        FrozenEstimator(clf), calibration="marginal", false_alarm_rate=0.5
    ).fit(X, y)
    expected = clf.predict_log_proba(X)[np.arange(len(X)), y]
    np.testing.assert_allclose(
        detector.score_samples(X, labels=y), expected, rtol=1e-4, atol=1e-5
    )


@both
def test_a_stream_is_read_once(classifier, backbone, images):
    dataset = torch.utils.data.TensorDataset(*map(torch.from_numpy, images))
    streamed = frozen(classifier, backbone).fit(dataset)
    assert each_once(90) == PASSES
    of_array = frozen(classifier, backbone).fit(*images)
    np.testing.assert_array_equal(
        streamed.predict_proba(images[0]), of_array.predict_proba(images[0])
    )


@both
def test_partial_fit_passes_a_chunk_once(classifier, backbone, images):
    X, y = images
    clf = frozen(classifier, backbone)
    clf.partial_fit(X[:60], y[:60], classes=[0, 1, 2]).partial_fit(X[60:], y[60:])
    assert each_once(90) == PASSES


@both
def test_warm_start_passes_once_more(classifier, backbone, images):
    clf = frozen(classifier, backbone, warm_start=True).fit(*images)
    clf.fit(*images)
    assert set(PASSES.values()) == {2}
    clf.set_params(freeze_backbone=False, backbone=backbone, max_epochs=1)
    before = clf.net_.module_.backbone.layers[1].weight.clone()
    with pytest.raises(AssertionError):  # it is trained now, in training mode
        clf.fit(*images)
    assert torch.equal(clf.net_.module_.backbone.layers[1].weight, before)


@both
def test_augmented_rows_pass_in_each_epoch(classifier, backbone, images):
    frozen(classifier, backbone, augment=lambda X: X.clone(), max_epochs=3).fit(*images)
    assert min(PASSES.values()) >= 3


@both
def test_a_backbone_that_a_callback_thaws_passes_in_each_epoch(classifier, images):
    thaw = Unfreezer("backbone.*", at=2)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    clf = frozen(classifier, module, callbacks=[thaw], max_epochs=4)
    clf.set_params(optimizer="sgd", lr_schedule="constant", lr=1e-4).fit(*images)
    assert not torch.equal(clf.net_.module_.backbone[1].weight, module[1].weight)


def test_autocast_does_not_round_the_features_of_a_frozen_backbone(backbone, images):
    exact = frozen(SoftmaxClassifier, backbone).fit(*images)
    cast = frozen(SoftmaxClassifier, backbone, autocast=True).fit(*images)
    np.testing.assert_array_equal(
        exact.predict_proba(images[0]), cast.predict_proba(images[0])
    )


def test_features_that_are_not_finite_are_refused_by_row(images):
    class Broken(nn.Module):
        def forward(self, X):
            features = X.flatten(1).clone()
            features[X[:, 0, 0, 0] == 6] = torch.nan
            return features

    with pytest.raises(ValueError, match="features of row 5 of X that are not finite"):
        frozen(SoftmaxClassifier, Broken()).fit(*images)


def test_large_features_are_memory_mapped_and_leave_no_file(
    backbone, images, monkeypatch, tmp_path
):
    in_memory = frozen(SoftmaxClassifier, backbone).fit(*images)
    monkeypatch.setattr(_scratch, "_LARGE", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = []
    monkeypatch.setattr(
        np,
        "memmap",
        lambda *args, make=np.memmap, **kwargs: (
            made.append(args[0]),
            make(*args, **kwargs),
        )[1],
    )
    mapped = frozen(SoftmaxClassifier, backbone).fit(*images)
    assert len(made) == 1
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(
        in_memory.predict_proba(images[0]), mapped.predict_proba(images[0])
    )


DETECTORS = [
    LGMOutlierDetector(cv=3, random_state=0),
    LGMOutlierDetector(score_kind="likelihood", cv=3, random_state=0),
    LGMOutlierDetector(score_kind="combined", cv=3, random_state=0),
    SelfConfidenceDetector(cv=3, random_state=0),
    DeepKNNDetector(cv=3, random_state=0),
    ClassMahalanobisDetector(cv=3, random_state=0),
    SpectralSignatureDetector(cv=3, random_state=0),
    ActivationClusteringDetector(cv=3, random_state=0),
]
names = [f"{type(d).__name__}{getattr(d, 'score_kind', '')}" for d in DETECTORS]


def whole(X):
    return X


def in_pipeline(classifier):
    return make_pipeline(FunctionTransformer(whole), classifier)


detectors = pytest.mark.parametrize(
    ("detector", "wrap"),
    [(detector, lambda classifier: classifier) for detector in DETECTORS]
    + [(DETECTORS[0], in_pipeline), (DETECTORS[-1], in_pipeline)],
    ids=[*names, f"{names[0]}-pipeline", f"{names[-1]}-pipeline"],
)


@pytest.mark.filterwarnings("ignore:false_alarm_rate")
@detectors
def test_detectors_pass_a_frozen_backbone_once_and_answer_alike(
    detector, wrap, backbone, images, monkeypatch
):
    X, y = images
    estimator = wrap(frozen(LGMClassifier, backbone))
    detector = detector.set_params(estimator=estimator, contamination=0.05)
    once = type(detector)(**detector.get_params(deep=False)).fit(X, y)
    assert each_once(90) == PASSES
    PASSES.clear()
    scores = once.score_samples(X, labels=y)
    assert each_once(90) == PASSES

    monkeypatch.setattr(FixedPart, "of", lambda estimator: None)
    often = type(detector)(**detector.get_params(deep=False)).fit(X, y)
    assert min(PASSES.values()) > 3
    np.testing.assert_allclose(
        once.train_scores_, often.train_scores_, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(once.train_p_values_, often.train_p_values_, atol=1e-3)
    np.testing.assert_allclose(
        scores, often.score_samples(X, labels=y), rtol=1e-3, atol=1e-3
    )


@pytest.mark.filterwarnings("ignore:false_alarm_rate")
@detectors
def test_detectors_pass_a_fitted_network_once_and_answer_alike(
    detector, wrap, backbone, images, monkeypatch
):
    X, y = images
    classifier = frozen(LGMClassifier, backbone, normalize_features=True)
    given = FrozenEstimator(wrap(classifier).fit(X, y))
    PASSES.clear()
    detector = detector.set_params(estimator=given, contamination=0.05)
    once = type(detector)(**detector.get_params(deep=False)).fit(X, y)
    assert each_once(90) == PASSES
    PASSES.clear()
    scores = once.score_samples(X, labels=y)
    assert each_once(90) == PASSES
    assert {id(getattr(e, "estimator", e)) for e in once.estimators_} <= {
        id(given), id(given.estimator)
    }  # fmt: skip

    monkeypatch.setattr(FixedPart, "of", lambda estimator: None)
    often = type(detector)(**detector.get_params(deep=False)).fit(X, y)
    np.testing.assert_allclose(
        once.train_scores_, often.train_scores_, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        scores, often.score_samples(X, labels=y), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("wrap", [lambda clf: clf, in_pipeline], ids=["", "pipeline"])
def test_estimators_of_folds_take_rows_as_they_were_given(wrap, backbone, images):
    X, y = images
    estimator = wrap(frozen(LGMClassifier, backbone, normalize_features=True))
    detector = LGMOutlierDetector(estimator, contamination=0.05, cv=3, random_state=0)
    detector.fit(X, y)
    kept = pickle.loads(pickle.dumps(detector))
    for model, again in zip(detector.estimators_, kept.estimators_, strict=True):
        assert type(model) is type(estimator)
        last = model[-1] if hasattr(model, "steps") else model
        assert last.input_shape_ == (1, 4, 4)
        assert isinstance(last.backbone, Counting)
        np.testing.assert_array_equal(model.predict(X), again.predict(X))
        assert model.score(X, y) > 0.5
    assert isinstance(
        estimator[-1] if wrap is in_pipeline else estimator, LGMClassifier
    )
    np.testing.assert_array_equal(
        kept.score_samples(X, labels=y), detector.score_samples(X, labels=y)
    )


def test_trusted_rows_pass_once(backbone, images):
    X, y = images
    estimator = frozen(LGMClassifier, backbone)
    detector = LGMOutlierDetector(estimator, false_alarm_rate=0.1, cv=3, random_state=0)
    detector.fit(X[:60], y[:60], trusted=(X[60:], y[60:]))
    assert each_once(90) == PASSES
    PASSES.clear()
    audit(
        X[:60], y[:60], estimator=estimator, trusted=(X[60:], y[60:]),
        false_alarm_rate=0.1, cv=3, random_state=0,
    )  # fmt: skip
    assert each_once(90) == PASSES


@both
def test_audit_passes_a_frozen_backbone_once_and_answers_alike(
    classifier, backbone, images, monkeypatch
):
    estimator = frozen(classifier, backbone)
    stages = []
    once = audit(
        *images, estimator=estimator, cv=3, random_state=0,
        progress=lambda stage, done, total: stages.append((stage, done, total)),
    )  # fmt: skip
    assert each_once(90) == PASSES
    assert ("pass the frozen backbone", 90, 90) in stages
    monkeypatch.setattr(FixedPart, "of", lambda estimator: None)
    often = audit(*images, estimator=estimator, cv=3, random_state=0)
    np.testing.assert_allclose(once.p_values, often.p_values, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(once.map_features, often.map_features, rtol=1e-4)
    assert once.settings == often.settings


def test_an_audit_that_goes_on_does_not_pass_again(backbone, images, tmp_path):
    settings = {
        "estimator": frozen(SoftmaxClassifier, backbone),
        "cv": 3,
        "random_state": 0,
        "resume_from": tmp_path,
    }

    def interrupt(stage, done, total):
        if stage != "pass the frozen backbone" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(*images, progress=interrupt, **settings)
    assert each_once(90) == PASSES
    audit(*images, **settings)
    assert each_once(90) == PASSES


def test_a_filter_passes_a_frozen_backbone_once(backbone, images):
    detector = LGMOutlierDetector(
        frozen(LGMClassifier, backbone), contamination=0.05, cv=3, random_state=0
    )
    PoisonFilter(detector).fit_resample(*images)
    assert each_once(90) == PASSES


def test_first_steps_that_are_frozen_are_applied_once(backbone, images):
    X, y = images
    extractor = FrozenEstimator(frozen(SoftmaxClassifier, backbone).fit(X, y))
    PASSES.clear()
    estimator = make_pipeline(
        extractor, StandardScaler(), LogisticRegression(max_iter=500)
    )
    detector = LGMOutlierDetector(estimator, contamination=0.05, cv=3, random_state=0)
    detector.fit(X, y)
    assert each_once(90) == PASSES
    model = detector.estimators_[0]
    assert [name for name, _ in model.steps] == [name for name, _ in estimator.steps]
    assert model.score(X, y) > 0.5


def test_columns_are_known_by_name(images):
    X = pd.DataFrame(images[0].reshape(90, 16), columns=[f"p{i}" for i in range(16)])
    estimator = frozen(LGMClassifier, nn.Sequential(nn.Linear(16, 8)))
    detector = LGMOutlierDetector(estimator, contamination=0.05, random_state=0)
    detector.fit(X, images[1])
    assert detector.estimators_[0].feature_names_in_[0] == "p0"
    with pytest.raises(ValueError, match="feature names"):
        detector.score_samples(X.rename(columns={"p0": "q"}), labels=images[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda module: SoftmaxClassifier(module),
        lambda module: SoftmaxClassifier("mlp", freeze_backbone=True),
        lambda module: frozen(SoftmaxClassifier, module, augment="flip"),
        lambda module: make_pipeline(
            StandardScaler(), frozen(SoftmaxClassifier, module)
        ),
        lambda module: make_pipeline(FunctionTransformer(), LogisticRegression()),
        lambda module: LogisticRegression(),
        lambda module: None,
    ],
    ids=[
        "trained", "drawn anew", "augmented", "after steps that learn", "stateless",
        "plain", "none",
    ],
)  # fmt: skip
def test_what_depends_on_training_has_no_fixed_part(make, backbone):
    assert FixedPart.of(make(backbone)) is None


def test_parameters_are_checked_before_rows_pass(backbone, images):
    estimator = frozen(SoftmaxClassifier, backbone, max_epochs=-1)
    with pytest.raises(ValueError, match="max_epochs"):
        LGMOutlierDetector(estimator).fit(*images)
    assert not PASSES


@pytest.fixture(scope="module")
def stamped():
    """Rows whose last column, a time in seconds, float32 would lose."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = np.column_stack([rng.normal(size=60), 1.7e9 + 3 * y + rng.normal(size=60)])
    return X, y


@both
def test_models_of_folds_see_columns_as_the_backbone_did(classifier, stamped):
    X, y = stamped
    clf = classifier(
        nn.Linear(2, 4), freeze_backbone=True, max_epochs=20, lr=0.05, random_state=0
    )
    detector = SelfConfidenceDetector(clf, cv=2, random_state=0).fit(X, y)
    alone = classifier(**clf.get_params()).fit(X, y)
    for model in detector.estimators_:
        np.testing.assert_array_equal(model._column_offsets, alone._column_offsets)
        assert model.score(X, y) > 0.6


def frozen_network(module, X, y):
    return FrozenEstimator(
        LGMClassifier(module, max_epochs=5, lr=0.02, random_state=0).fit(X, y)
    )


def frozen_step(module, X, y):
    return make_pipeline(
        frozen_network(module, X, y), LogisticRegression(max_iter=1000)
    )


def frozen_module(module, X, y):
    return frozen(LGMClassifier, module)


def module_in_pipeline(module, X, y):
    return make_pipeline(FunctionTransformer(), frozen(SoftmaxClassifier, module))


@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row")
@pytest.mark.parametrize(
    ("detector", "make"),
    [
        (SelfConfidenceDetector, frozen_network),
        (SelfConfidenceDetector, frozen_step),
        (SelfConfidenceDetector, frozen_module),
        (SelfConfidenceDetector, module_in_pipeline),
        (DeepKNNDetector, frozen_network),
        (DeepKNNDetector, frozen_module),
        (DeepKNNDetector, module_in_pipeline),
    ],
)
def test_detectors_on_a_fixed_part_are_saved(detector, make, images, tmp_path):
    X, y = images
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())
    fitted = detector(
        make(module, X, y), cv=2, false_alarm_rate=0.1, random_state=0
    ).fit(X, y)
    fitted.save(tmp_path / "detector.sklgm")
    loaded = load(tmp_path / "detector.sklgm", backbone=module)
    np.testing.assert_array_equal(
        loaded.score_samples(X, y), fitted.score_samples(X, y)
    )
    for own, other in zip(loaded.estimators_, fitted.estimators_, strict=True):
        assert type(own) is type(other)


@both
def test_partial_fit_stays_on_the_device_of_the_network(classifier, backbone, images):
    X, y = images
    clf = frozen(classifier, backbone).fit(X, y)
    clf.set_params(device="cuda")
    clf.partial_fit(X, y)  # there is none: a loaded network may be elsewhere
    assert torch.device(clf.net_.device).type == "cpu"
    clf.predict(X)
