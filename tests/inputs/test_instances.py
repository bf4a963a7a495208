"""sklgm._inputs and sklgm._random: checks with errors that name their cause."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator

from sklgm import LGMClassifier, LGMOutlierDetector, SoftmaxClassifier
from sklgm._inputs import (
    encode_labels,
    resolve_device,
    resolve_dtype,
    validate_instances,
)
from sklgm._random import draw_seed, forked_generator

CLASSIFIERS = [LGMClassifier, SoftmaxClassifier]
ESTIMATORS = [*CLASSIFIERS, LGMOutlierDetector]
IMAGES = np.zeros((6, 1, 4, 4), dtype=np.float32)


class Recorder(BaseEstimator):
    """An estimator to be validated for."""


# validate_instances


def test_images_set_their_shape_and_number_of_features():
    estimator = Recorder()
    X = validate_instances(estimator, IMAGES, reset=True)
    assert X.shape == (6, 1, 4, 4)
    assert estimator.input_shape_ == (1, 4, 4)
    assert estimator.n_features_in_ == 16


def test_flat_rows_are_folded_into_the_shape_of_fit():
    estimator = Recorder()
    images = np.arange(96.0).reshape(6, 1, 4, 4)
    validate_instances(estimator, images, reset=True)
    X = validate_instances(estimator, images.reshape(6, 16), reset=False)
    np.testing.assert_array_equal(X, images)


def test_input_shape_folds_flat_rows_in_fit():
    estimator = Recorder()
    X = validate_instances(
        estimator, IMAGES.reshape(6, 16), reset=True, input_shape=(1, 4, 4)
    )
    assert X.shape == (6, 1, 4, 4)
    assert estimator.input_shape_ == (1, 4, 4)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "bool"])
def test_numeric_type_is_kept(dtype):
    X = validate_instances(Recorder(), IMAGES.astype(dtype), reset=True)
    assert X.dtype == dtype


def test_nested_lists_are_instances():
    X = validate_instances(Recorder(), IMAGES.tolist(), reset=True)
    assert X.shape == (6, 1, 4, 4)


def test_input_shape_of_another_size_is_named():
    message = r"input_shape=\(1, 3, 5\) holds 15 values, but a row of X has 16"
    with pytest.raises(ValueError, match=message):
        validate_instances(
            Recorder(), IMAGES.reshape(6, 16), reset=True, input_shape=(1, 3, 5)
        )


# encode_labels


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([7, -3], [-3, 7], [1, 0]),
        ([True, False], [False, True], [1, 0]),
        ([], [0, 1], []),
    ],
)
def test_labels_become_indices_of_the_classes(labels, classes, indices):
    found = encode_labels(np.array(labels, dtype=type(classes[0])), np.array(classes))
    assert found.tolist() == indices
    assert found.dtype == np.int64


def test_unknown_labels_are_listed():
    message = r"claimed holds \[5, 6\], which are not among the known classes: \[0, 1\]"
    with pytest.raises(ValueError, match=message):
        encode_labels([0, 6, 5, 6], np.array([0, 1]), name="claimed")


# resolve_device, resolve_dtype


def test_auto_device_is_the_cpu_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")


def test_auto_device_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:1")
    assert resolve_device("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_cuda_that_is_not_there_is_named(estimator, device, monkeypatch, blobs):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch sees 0 CUDA devices here; use device="):
        estimator(device=device).fit(*blobs)


def test_cuda_index_beyond_the_devices_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="device='cuda:1' .* sees 1 CUDA devices"):
        resolve_device("cuda:1")


def test_device_that_torch_does_not_know_is_named():
    with pytest.raises(ValueError, match="device='gpu' is not a torch device"):
        resolve_device("gpu")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", torch.float32),
        ("float64", torch.float64),
        (torch.float64, torch.float64),
    ],
)
def test_dtype_is_torchs_own(dtype, expected):
    assert resolve_dtype(dtype) is expected


@pytest.mark.parametrize("dtype", ["float16", torch.float16, torch.int64])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got"):
        resolve_dtype(dtype)


# draw_seed, forked_generator


def test_the_same_random_state_draws_the_same_seed():
    assert draw_seed(3) == draw_seed(3) != draw_seed(4)
    random_state = np.random.RandomState(0)
    assert draw_seed(random_state) != draw_seed(random_state)


def test_fork_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    drawn = []
    for _ in range(2):
        with forked_generator(5, torch.device("cpu")) as generator:
            drawn.append((torch.rand(2), torch.rand(2, generator=generator)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])


# Bad input to the estimators


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(6, 3), (6, 1, 4, 4)], ids=["rows", "images"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_values_that_are_not_finite_are_refused(estimator, shape, value):
    X = np.zeros(shape)
    X[2, 0] = value
    expected = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=f"Input X contains {expected}"):
        estimator().fit(X, [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("shape", [(0, 3), (0, 1, 4, 4)], ids=["rows", "images"])
def test_empty_data_is_refused(estimator, shape):
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        estimator().fit(np.zeros(shape), [])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sparse_rows_are_refused(estimator):
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        estimator().fit(sparse.eye(6).tocsr(), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_unequal_lengths_are_refused(estimator):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator().fit(np.zeros((6, 3)), [0, 1])


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_another_number_of_columns_is_refused_at_predict(estimator, blobs):
    clf = estimator(max_epochs=0).fit(*blobs)
    with pytest.raises(ValueError, match="X has 3 features, but .* is expecting 4"):
        clf.predict(blobs[0][:, :3])


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_another_number_of_channels_is_refused_at_predict(estimator, tiny_images):
    X, y = tiny_images
    clf = estimator(max_epochs=0).fit(X, y)
    message = (
        rf"X holds instances of shape \(3, 8, 8\), but {estimator.__name__} expects "
        r"\(1, 8, 8\) or flat rows of 64 values"
    )
    with pytest.raises(ValueError, match=message):
        clf.predict(np.repeat(X, 3, axis=1))


def test_another_number_of_channels_is_refused_by_the_detector(tiny_images):
    X, y = tiny_images
    detector = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), but LGMOutlierDetector"):
        detector.predict(np.repeat(X, 3, axis=1))


@pytest.mark.parametrize("value", [3e38, 1e300])
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_rows_too_large_for_the_networks_type_are_refused(estimator, value, blobs):
    X, y = blobs
    clf = estimator(max_epochs=1, random_state=0).fit(X, y)
    # 1e300 overflows float32 itself, 3e38 the sums of the first layers.
    huge = np.full((2, 4), value)
    with pytest.raises(ValueError, match="too large for the network's float32"):
        clf.predict_proba(huge)


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_one_class_is_refused(estimator):
    message = f"{estimator.__name__} needs at least 2 classes in y, got one class: 'a'"
    with pytest.raises(ValueError, match=message):
        estimator().fit(np.zeros((3, 2)), ["a", "a", "a"])


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_continuous_targets_are_refused(estimator):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        estimator().fit(np.zeros((3, 2)), [0.1, 0.2, 0.3])


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_one_row_of_a_class_cannot_be_split_for_early_stopping(estimator, blobs):
    X, y = blobs
    labels = np.where(np.arange(60) == 59, 7, y)
    message = "early_stopping=True splits the rows .* class 7 has only 1 row"
    with pytest.raises(ValueError, match=message):
        estimator(early_stopping=True).fit(X, labels)


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_validation_fraction_too_small_for_the_classes_is_named(estimator, blobs):
    message = r"validation_fraction=0.01 cannot split 60 rows of 3 classes"
    with pytest.raises(ValueError, match=message):
        estimator(early_stopping=True, validation_fraction=0.01).fit(*blobs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variance", 0.0),
        ("variance", -1.0),
        ("margin", -1.0),
        ("margin_warmup", 1.1),
        ("likelihood_weight", -0.1),
        ("trim", 0.6),
        ("trim", 0.5),
        ("trim", -0.1),
        ("covariance_type", "full"),
    ],
)
def test_parameters_of_the_gaussians_out_of_range_are_named(name, value, blobs):
    message = f"The '{name}' parameter of LGMClassifier must be .* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        LGMClassifier(**{name: value}).fit(*blobs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature_dim", 0),
        ("max_epochs", -1),
        ("batch_size", 0),
        ("batch_size", "some"),
        ("lr", 0.0),
        ("optimizer", "lbfgs"),
        ("validation_fraction", 1.0),
        ("class_weight", "equal"),
        ("dtype", "float16"),
        ("backbone", 3),
    ],
)
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_parameters_out_of_range_are_named(estimator, name, value, blobs):
    message = f"The '{name}' parameter of {estimator.__name__} must be .* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        estimator(**{name: value}).fit(*blobs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_kind", "density"),
        ("contamination", 0.6),
        ("contamination", 0.0),
        ("false_alarm_rate", 0.0),
        ("calibration", "platt"),
        ("cv", 1),
        ("cv", None),
        ("estimator", "lgm"),
    ],
)
def test_parameters_of_the_detector_out_of_range_are_named(name, value, blobs):
    message = f"The '{name}' parameter of LGMOutlierDetector must be .* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        LGMOutlierDetector(**{name: value}).fit(*blobs)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("trim", [0.0, 0.2])
def test_diverging_training_names_lr(trim, early_stopping, blobs):
    clf = LGMClassifier(
        lr=1e30, trim=trim, early_stopping=early_stopping, random_state=0
    )
    with pytest.raises(ValueError, match="training diverged: .* lr=1e\\+30"):
        clf.fit(*blobs)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_diverging_softmax_training_names_lr(early_stopping, blobs):
    # At 1e6 the weights stay finite; the loss is useless but no overflow.
    clf = SoftmaxClassifier(lr=1e15, early_stopping=early_stopping, random_state=0)
    with pytest.raises(ValueError, match="training diverged: .* lr=1000000000000000.0"):
        clf.fit(*blobs)


@pytest.mark.parametrize("n_channels", [1, 3, 4])
@pytest.mark.parametrize(
    "estimator", [LGMClassifier(), SoftmaxClassifier(), LGMOutlierDetector()]
)
def test_channels_last_are_refused_and_named(estimator, n_channels):
    # Regression (issue 1 of 6): they were flattened into an mlp without a word.
    X, y = np.zeros((20, 12, 8, n_channels)), np.arange(20) % 2
    message = rf"shape \(12, 8, {n_channels}\): images with the channels last"
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)


@pytest.mark.parametrize("shape", [(3, 12, 8), (1, 8, 8), (16, 4, 3), (12, 8, 2)])
def test_other_shapes_of_images_are_taken(shape):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, *shape)).astype(np.float32)
    clf = LGMClassifier("mlp", max_epochs=1, random_state=0)
    assert clf.fit(X, np.arange(20) % 2).input_shape_ == shape


def test_an_input_shape_says_that_channels_last_are_meant():
    X = np.random.default_rng(0).normal(size=(20, 12, 8, 3))
    clf = LGMClassifier("mlp", max_epochs=1, input_shape=(12, 8, 3), random_state=0)
    assert clf.fit(X, np.arange(20) % 2).input_shape_ == (12, 8, 3)
