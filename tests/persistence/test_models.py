"""Estimators come back from a file as they were, and from no other file."""

import copy
import json
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops import io as skops
from skorch.callbacks import EpochTimer
from torch import nn

import sklgm
from sklgm import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    DeepKNNDetector,
    FilteredClassifier,
    LGMClassifier,
    LGMOutlierDetector,
    PartitionedClassifier,
    PoisonCrafter,
    PoisonFilter,
    RobustGaussianClassifier,
    SelfConfidenceDetector,
    SoftmaxClassifier,
    SpectralSignatureDetector,
)

TINY = {"feature_dim": 4, "max_epochs": 2, "batch_size": 16, "random_state": 0}
LINEAR = LogisticRegression()
LEVEL = {"false_alarm_rate": 0.1, "random_state": 0}

TABLE = {
    "lgm": LGMClassifier(**TINY),
    "lgm, learned and trimmed": LGMClassifier(
        **TINY, covariance_type="diag", trim=0.1, dtype="float64"
    ),
    "lgm, frozen": LGMClassifier(
        "identity", location="median", variance="auto", random_state=0
    ),
    "lgm, stopped early": LGMClassifier(
        **TINY, early_stopping=True, validation_fraction=0.3
    ),
    "lgm, normalised": LGMClassifier(
        **TINY, normalize_features=True, covariance_type="tied_diag", lr_schedule="step"
    ),
    "softmax": SoftmaxClassifier(
        **TINY, optimizer=torch.optim.AdamW, optimizer__weight_decay=0.1
    ),
    "robust gaussian": RobustGaussianClassifier(location="median"),
    "partitioned": PartitionedClassifier(LINEAR, n_partitions=3, random_state=0),
    "partitioned networks": PartitionedClassifier(
        SoftmaxClassifier(**TINY), n_partitions=2, random_state=0
    ),
    "lgm detector": LGMOutlierDetector(**LEVEL),
    "lgm detector, combined": LGMOutlierDetector(
        LGMClassifier(**TINY), score_kind="combined", cv=2, **LEVEL
    ),
    "lgm detector, chi2": LGMOutlierDetector(
        score_kind="likelihood", calibration="chi2", cv=StratifiedKFold(3), **LEVEL
    ),
    "lgm detector of a forest": LGMOutlierDetector(
        RandomForestClassifier(n_estimators=5, random_state=0), cv=2, **LEVEL
    ),
    "neighbours": DeepKNNDetector(**LEVEL),
    "signatures": SpectralSignatureDetector(**LEVEL),
    "clustering": ActivationClusteringDetector(**LEVEL),
    "mahalanobis": ClassMahalanobisDetector(**LEVEL),
    "self-confidence": SelfConfidenceDetector(LINEAR, **LEVEL),
    "filter": PoisonFilter(LGMOutlierDetector(contamination=0.1, random_state=0)),
    "frozen in a pipeline": make_pipeline(
        FrozenEstimator(LGMClassifier(**TINY).fit(*load_iris(return_X_y=True))),
        RobustGaussianClassifier(),
    ),
    "filtered": FilteredClassifier(
        LINEAR, LGMOutlierDetector(contamination=0.1, random_state=0)
    ),
    "crafter": PoisonCrafter(
        SoftmaxClassifier(**TINY), max_iter=2, pixel_range=(-20, 20), random_state=0
    ),
    "pipeline": make_pipeline(StandardScaler(), LGMClassifier(**TINY)),
    "not fitted": LGMClassifier(**TINY, class_weight={0: 1.0, 1: 2.0, 2: 3.0}),
}
METHODS = (
    "decision_function",
    "predict",
    "predict_joint_log_proba",
    "predict_log_proba",
    "predict_proba",
    "score_samples",
    "transform",
)


def answers(model, X, y):
    """All that a fitted model says of rows, also of rows with claimed labels."""
    told = {}
    # A detector of a forest judges claimed labels only: its forest has no densities.
    needs_labels = hasattr(model, "p_values") and not hasattr(model, "offset_")
    for name in () if needs_labels else METHODS:
        if hasattr(model, name):
            told[name] = getattr(model, name)(X)
    if hasattr(model, "p_values"):
        told["p_values"] = model.p_values(X, y)
        told["flags"] = model.predict(X, labels=y)
        told["train_p_values_"] = model.train_p_values_
    return told


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert values.dtype == after[name].dtype
        np.testing.assert_array_equal(values, after[name], err_msg=name)


@pytest.fixture(scope="module")
def fitted(blobs):
    X, y = blobs
    return {
        name: copy.deepcopy(model) if name == "not fitted" else model.fit(X, y)
        for name, model in TABLE.items()
    }


def test_the_table_holds_every_public_estimator():
    public = {getattr(sklgm, name) for name in sklgm.__all__}
    estimators = {
        c for c in public if isinstance(c, type) and issubclass(c, BaseEstimator)
    }
    assert estimators <= {type(model) for model in TABLE.values()}
    assert all(hasattr(cls, "save") for cls in estimators)


@pytest.mark.parametrize("name", TABLE)
def test_a_model_comes_back_with_the_same_bits(name, fitted, blobs, tmp_path):
    X, y = blobs
    model, path = fitted[name], tmp_path / "model.sklgm"
    sklgm.save(model, path)

    loaded = sklgm.load(path)

    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    if name != "not fitted":
        assert_same(answers(model, X, y), answers(loaded, X, y))
    assert set(vars(loaded)) == set(vars(model))
    assert os.listdir(tmp_path) == ["model.sklgm"]


def test_labels_that_are_text_and_names_of_columns_come_back(blobs, tmp_path):
    pandas = pytest.importorskip("pandas")
    X, y = blobs
    frame = pandas.DataFrame(X, columns=["a", "b", "ç", "\U0001f600"])
    names = np.array(["cat", "dog", "Ünder"])[y]
    model = LGMClassifier(**TINY).fit(frame, names)
    model.save(tmp_path / "model")
    loaded = sklgm.load(tmp_path / "model")
    assert loaded.predict(frame).tolist() == model.predict(frame).tolist()
    assert loaded.feature_names_in_.tolist() == ["a", "b", "ç", "\U0001f600"]


@pytest.mark.parametrize("backbone", ["cnn", "resnet18"])
def test_a_network_of_images_comes_back_with_the_same_bits(
    backbone, tiny_images, tmp_path
):
    X, y = tiny_images
    model = LGMClassifier(backbone, **TINY).fit(X, y)
    model.save(tmp_path / "model")
    loaded = sklgm.load(tmp_path / "model")
    assert_same(answers(model, X, y), answers(loaded, X, y))
    assert loaded.history_.to_list() == model.history_.to_list()
    before, after = model.net_.module_.backbone, loaded.net_.module_.backbone
    for ours, theirs in zip(before.parameters(), after.parameters(), strict=True):
        assert ours.stride() == theirs.stride()


def test_whitening_and_mirror_images_come_back(tmp_path):
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(20, 3, 16, 16)).astype(np.float32)
    y = np.arange(20) % 2
    model = SoftmaxClassifier("airbench", test_time_flip=True, **TINY).fit(X, y)
    model.save(tmp_path / "model")
    loaded = sklgm.load(tmp_path / "model")
    assert_same(answers(model, X, y), answers(loaded, X, y))


def test_another_process_loads_it_without_importing_anything_first(
    fitted, blobs, tmp_path
):
    X, _ = blobs
    fitted["lgm detector, combined"].save(tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np, sklgm\n"
        "model = sklgm.load(sys.argv[1])\n"
        "print(model.score_samples(np.load(sys.argv[2])).tobytes().hex())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model", tmp_path / "X.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = fitted["lgm detector, combined"].score_samples(X)
    assert bytes.fromhex(run.stdout) == expected.tobytes()


@pytest.mark.parametrize("name", ["partial_fit", "fit"])
@pytest.mark.parametrize("data", ["blobs", "tiny_images"])
def test_training_goes_on_as_if_it_had_not_been_saved(name, data, request, tmp_path):
    X, y = request.getfixturevalue(data)
    models = []
    for is_saved in (False, True):
        model = LGMClassifier(**TINY, warm_start=True)
        if name == "fit":
            model.fit(X, y)
        else:
            model.partial_fit(X, y, classes=[0, 1, 2])
        if is_saved:
            model.save(tmp_path / "model")
            model = sklgm.load(tmp_path / "model")
        models.append(getattr(model, name)(X, y))
    plain, saved = models
    np.testing.assert_array_equal(plain.predict_proba(X), saved.predict_proba(X))
    assert plain.n_iter_ == saved.n_iter_


def test_shared_parts_are_stored_once(blobs, tmp_path):
    X, y = blobs
    detector = LGMOutlierDetector(LGMClassifier(**TINY), cv=2, **LEVEL).fit(X, y)
    detector.save(tmp_path / "model")
    loaded = sklgm.load(tmp_path / "model")
    assert loaded.estimators_[0] is loaded._models_[0].estimator


def test_loading_draws_nothing_from_global_generators(fitted, tmp_path):
    fitted["lgm"].save(tmp_path / "model")
    before = torch.get_rng_state(), random.getstate()
    sklgm.load(tmp_path / "model")
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


# Objects of the user's own


class Doubled(nn.Module):
    """A module of which the file has no word."""

    def __init__(self, n_columns=4, feature_dim=3):
        super().__init__()
        self.linear = nn.Linear(n_columns, feature_dim)

    def forward(self, X):
        return 2.0 * self.linear(X)


def make_doubled(input_shape, feature_dim):
    return Doubled(*input_shape, feature_dim)


@pytest.mark.parametrize("backbone", [Doubled(), make_doubled], ids=["module", "call"])
def test_a_backbone_of_ones_own_is_given_again(backbone, blobs, tmp_path):
    X, y = blobs
    model = LGMClassifier(backbone, **TINY).fit(X, y)
    model.save(tmp_path / "model")
    with pytest.raises(TypeError, match=r"backbone=tests\.\S+oubled, which is not in"):
        sklgm.load(tmp_path / "model")
    given = Doubled() if isinstance(backbone, nn.Module) else make_doubled
    loaded = sklgm.load(tmp_path / "model", backbone=given)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_a_backbone_of_other_weights_is_refused(blobs, tmp_path):
    model = LGMClassifier(Doubled(), **TINY).fit(*blobs)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"backbone=Doubled has other weights"):
        sklgm.load(tmp_path / "model", backbone=Doubled(feature_dim=2))
    with pytest.raises(ValueError, match="backbone must be the nn.Module or the call"):
        sklgm.load(tmp_path / "model", backbone=3)


def test_callbacks_may_be_left_out_when_they_are_asked_for(blobs, tmp_path):
    X, y = blobs
    model = SoftmaxClassifier(**TINY, callbacks=[EpochTimer()]).fit(X, y)
    model.save(tmp_path / "model")
    loaded = sklgm.load(tmp_path / "model", callbacks=None)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_what_the_file_holds_is_not_given_again(fitted, tmp_path):
    fitted["lgm"].save(tmp_path / "model")
    with pytest.raises(TypeError, match="holds 'backbone' itself; load takes no para"):
        sklgm.load(tmp_path / "model", backbone="mlp")


def test_a_backbone_that_was_changed_since_fit_is_not_saved(blobs, tmp_path):
    model = LGMClassifier(**TINY).fit(*blobs).set_params(backbone="identity")
    with pytest.raises(TypeError, match="backbone='identity' is not what was fitted"):
        model.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


class Own(RobustGaussianClassifier):
    """A class of the user's own."""


def test_what_has_no_word_is_named(blobs, tmp_path):
    X, y = blobs
    boosted = FilteredClassifier(
        HistGradientBoostingClassifier(max_iter=2),
        LGMOutlierDetector(contamination=0.1, random_state=0),
    ).fit(X, y)
    with pytest.raises(TypeError, match=r"FilteredClassifier\.estimator_\._\w+.* is a"):
        boosted.save(tmp_path / "model")
    with pytest.raises(TypeError, match=r"Own is a tests\.\S+\.Own, which cannot be"):
        Own().fit(X, y).save(tmp_path / "model")


def test_a_pipeline_with_a_cache_of_pickles_is_not_saved(tmp_path):
    model = make_pipeline(StandardScaler(), LGMClassifier(), memory=str(tmp_path))
    with pytest.raises(TypeError, match="Pipeline.memory is a cache of pickles"):
        sklgm.save(model, tmp_path / "model")


# pickle and skops


@pytest.mark.parametrize("name", ["lgm", "lgm, stopped early", "softmax"])
def test_pickles_and_copies_hold_no_pickle_of_their_own(name, fitted, blobs):
    X, y = blobs
    model = fitted[name]
    pickled = pickle.dumps(model)
    assert b"LossNet" not in pickled
    for again in (pickle.loads(pickled), copy.deepcopy(model)):
        assert_same(answers(model, X, y), answers(again, X, y))


def test_a_classifier_with_a_module_of_ones_own_pickles(blobs):
    X, y = blobs
    model = LGMClassifier(Doubled(), **TINY, callbacks=[EpochTimer()]).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert isinstance(again.callbacks[0], EpochTimer)


# Of scikit-learn what skops does not trust by itself; all else is of this package.
SKOPS_ALSO = {
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
}


@pytest.mark.parametrize("name", TABLE)
def test_skops_works_as_well(name, fitted, blobs):
    X, y = blobs
    model = fitted[name]
    content = skops.dumps(model)
    types = skops.get_untrusted_types(data=content)
    assert {t for t in types if not t.startswith("sklgm.")} <= SKOPS_ALSO
    loaded = skops.loads(content, trusted=types)
    if name != "not fitted":
        assert_same(answers(model, X, y), answers(loaded, X, y))


# Files that are none


@pytest.fixture(scope="module")
def small(blobs):
    """A detector, and the content of its file."""
    detector = LGMOutlierDetector(
        LGMClassifier("identity", location="kept_mean", random_state=0), cv=2, **LEVEL
    ).fit(*blobs)
    return detector, sklgm.persistence.pack(detector)


def assert_refused(content, path, match):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        sklgm.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x00" * 100, pickle.dumps([1, 2]), b"PK\x03\x04" + b"1" * 90],
    ids=["empty", "text", "zeros", "pickle", "zip"],
)
def test_a_foreign_file_is_refused(content, tmp_path):
    assert_refused(
        content, tmp_path / "m", "is not a model file of sklgm, or is cut off"
    )


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    from safetensors.numpy import save

    for metadata in (None, {"format": "pt"}):
        content = save({"x": np.zeros(3)}, metadata)
        assert_refused(content, tmp_path / "m", "but no model file of sklgm")


def test_a_file_that_is_cut_off_is_refused(small, tmp_path):
    _, content = small
    for n_bytes in np.linspace(0, len(content) - 1, 40).astype(int):
        assert_refused(content[:n_bytes], tmp_path / "m", "cut off|damaged")
    assert_refused(content + b"\x00", tmp_path / "m", "cut off")


def mutated(content, rng):
    """Content with a few bytes changed, removed or inserted somewhere."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(changed)))
        kind = rng.integers(0, 3)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 20))]
        else:
            changed[at:at] = rng.bytes(int(rng.integers(1, 20)))
    return bytes(changed)


@pytest.mark.parametrize("n_files", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_altered_file_is_loaded(n_files, small, tmp_path):
    _, content = small
    rng = np.random.default_rng(0)
    for _ in range(n_files):
        changed = mutated(content, rng)
        if changed != content:
            assert_refused(
                changed, tmp_path / "m", "cut off|damaged|altered|newer|update|but no"
            )


def test_a_newer_format_is_named(small, tmp_path):
    _, content = small
    newer = content.replace(b'"format_version":"1"', b'"format_version":"7"')
    assert_refused(newer, tmp_path / "m", "has version 7 of the format.*update sklgm")


def test_a_file_larger_than_allowed_is_not_read(small, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(small[1])
    with pytest.raises(ValueError, match=r"bytes, more than max_bytes=100$"):
        sklgm.load(path, max_bytes=100)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link"):
        with pytest.raises(ValueError, match=f"{name} is not a regular file"):
            sklgm.load(tmp_path / name)
    with pytest.raises(OSError, match="Is a directory"):
        sklgm.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        sklgm.load(tmp_path / "nothing")


def crafted(document):
    """A file of this format, with a right checksum, that holds a document."""
    import hashlib

    from safetensors.numpy import save

    metadata = {
        "format": "sklgm model",
        "format_version": "1",
        "sha256": "0" * 64,
        "document": document if isinstance(document, str) else json.dumps(document),
    }
    content = save({"0": np.arange(16, dtype=np.uint8)}, metadata)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest)


def of_value(value):
    return {"value": value, "given": {}, "versions": {}}


def an_object(name, **state):
    return {"type": "object", "class": name, "id": 0, "items": list(state.items())}


def an_array(**changes):
    whole = {"dtype": "|u1", "shape": [16], "is_fortran": False, "id": 0, "name": "0"}
    return {"type": "array", **whole, **changes}


HOSTILE = {
    "class of a module": an_object("os.system"),
    "class of builtins": an_object("builtins.eval"),
    "class outside": an_object("sklearn.externals._numpydoc.docscrape.Reader"),
    "private class": an_object("sklearn.pipeline._Pipeline"),
    "function": an_object("sklearn.datasets.load_files"),
    "module": an_object("sklgm.__main__.main"),
    "class of ours that is not an estimator": an_object(
        "sklgm._running._runner.Runner"
    ),
    "cache of pickles": an_object(
        "sklearn.pipeline.Pipeline", steps=[], memory="cache"
    ),
    "objects": an_array(dtype="|O"),
    "type that is parsed": an_array(dtype="(1,)u1"),
    "type that is a number": an_array(dtype="8"),
    "type that is none": an_array(dtype=None),
    "wrong shape": an_array(shape=[10**12]),
    "negative shape": an_array(shape=[-1, -1]),
    "no characters": an_array(dtype="<U4", shape=[1]),
    "no such array": an_array(name="1"),
    "unknown type": {"type": "function", "name": "eval"},
    "type that is a list": {"type": ["array"]},
    "no such number": {"type": "ref", "id": 99},
    "optimiser": {"type": "optimizer", "name": "Optimizer.__init__"},
    "source of bits": {
        "type": "generator",
        "id": 0,
        "state": {"type": "dict", "items": [["bit_generator", "seed"]]},
    },
    "record of other fields": {
        "type": "record",
        "class": "sklgm.outliers._decisions.Thresholds",
        "id": 0,
        "items": [["__class__", 1]],
    },
    "attribute without a name": {
        **an_object("sklgm.classifiers._softmax.SoftmaxClassifier"),
        "items": [[1, 2]],
    },
    "not given": {"type": "given", "name": "backbone"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_crafted_document_is_refused(name, tmp_path):
    content = crafted(of_value(HOSTILE[name]))
    assert_refused(content, tmp_path / "m", "is damaged")


@pytest.mark.parametrize(
    "document",
    [
        "[" * 100_000,
        "{}",
        "[]",
        "null",
        '{"value": NaN}',
        '{"value": 1, "given": 3}',
        '{"value": 1, "given": {}, "versions": {"sklearn": ["1.9"]}}',
        '{"value": 1, "given": {"backbone": 3}, "versions": {}}',
    ],
)
def test_a_document_of_another_form_is_refused(document, tmp_path):
    assert_refused(crafted(document), tmp_path / "m", "is damaged")


def test_deep_nesting_is_refused(tmp_path):
    nested = "[" * 900 + "]" * 900
    document = f'{{"value": {nested}, "given": {{}}, "versions": {{}}}}'
    assert_refused(crafted(document), tmp_path / "m", "is damaged")


def resigned(content, old, new):
    """Content with a part exchanged and the checksum made anew."""
    import hashlib
    import re

    n_header = int.from_bytes(content[:8], "little")
    assert content[8 : 8 + n_header].count(old) > 0
    header = content[8 : 8 + n_header].replace(old, new)
    header = re.sub(
        rb'"sha256":"[0-9a-f]{64}"', b'"sha256":"' + b"0" * 64 + b'"', header
    )
    empty = b'"sha256":"' + b"0" * 64
    whole = len(header).to_bytes(8, "little") + header + content[8 + n_header :]
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole.replace(empty, empty[:-64] + digest, 1)


def test_the_checksum_of_the_helper_is_right(small, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(resigned(small[1], b'"random_state', b'"random_state'))
    assert isinstance(sklgm.load(path), LGMOutlierDetector)


def test_a_large_network_is_not_built_before_its_weights_were_compared(
    fitted, tmp_path
):
    content = sklgm.persistence.pack(fitted["lgm"])
    old, new = rb"[\"n_features_in_\", 4]", rb"[\"n_features_in_\", 4]"
    shape = rb"[\"input_shape_\", {\"type\": \"tuple\", \"items\": [4]}]"
    vast = shape.replace(b"[4]", b"[4000000000000]")
    changed = resigned(resigned(content, old, new), shape, vast)
    assert_refused(changed, tmp_path / "m", "is damaged: has other weights")


def test_a_tree_that_leads_nowhere_is_refused(blobs, tmp_path):
    forest = RandomForestClassifier(n_estimators=1, random_state=0).fit(*blobs)
    tree = forest.estimators_[0].tree_
    content = bytearray(sklgm.persistence.pack(FrozenEstimator(forest)))
    children = tree.__getstate__()["nodes"]["left_child"].astype("<i8").tobytes()
    assert content.count(children) == 1
    at = content.index(children)
    content[at : at + 8] = (10**9).to_bytes(8, "little")
    changed = resigned(bytes(content), b"", b"")
    assert_refused(changed, tmp_path / "m", "branches that lead nowhere")


def test_other_versions_of_scikit_learn_are_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn.__version__", "0.1.2")
    path = tmp_path / "model"
    path.write_bytes(small[1])
    with pytest.warns(UserWarning, match=r"with scikit-learn 1\.\d+.* 0\.1\.2"):
        sklgm.load(path)


# Writing


def test_a_file_that_cannot_be_written_leaves_the_one_before(
    fitted, tmp_path, monkeypatch
):
    path = tmp_path / "model"
    fitted["robust gaussian"].save(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fitted["lgm"].save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]
