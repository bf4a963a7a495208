"""Whatever holds rows is audited: frames, texts, sparse rows, data sets."""

import datetime
import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
)
from torch.utils.data import TensorDataset

from sklgm import LGMClassifier, audit
from sklgm._running import _scratch
from sklgm.auditing import _fold_models
from sklgm.datasets import make_gaussian_classes, make_stripe_images
from sklgm.poisoning import flip_labels

# Few rows: the model of right labels is rough, and says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The model of right and wrong labels"),
    pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row"),
]

LINEAR = LogisticRegression(max_iter=500)
WORDS = {
    "sport": "goal team match player league score coach win".split(),
    "food": "soup bread cook taste butter spice oven salt".split(),
    "law": "court judge trial appeal law clause guilty sue".split(),
}


def found(result, is_wrong):
    """Share of the wrong rows among as many most suspect."""
    most = result.ranking[: is_wrong.sum()]
    return np.isin(np.flatnonzero(is_wrong), most).mean()


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    y = np.array(list(WORDS))[np.arange(300) % 3]
    rows = [
        " ".join([*rng.choice(WORDS[label], 6), *rng.choice(["the", "a", "of"], 4)])
        for label in y
    ]
    claimed = flip_labels(y, 0.05, random_state=0)
    return rows, claimed, claimed != y


@pytest.fixture(scope="module")
def passengers():
    """A table like that of the Titanic: text, categories, dates, missing values."""
    rng = np.random.default_rng(0)
    n = 400
    y = np.arange(n) % 2
    sex = np.where(rng.random(n) < 0.9, y, 1 - y)
    age = np.where(rng.random(n) < 0.2, np.nan, 20 + 15 * y + rng.normal(0, 5, n))
    frame = pd.DataFrame(
        {
            "name": [f"{['Mr', 'Mrs'][s]} {rng.integers(9999)}" for s in sex],
            "sex": pd.Categorical(np.array(["male", "female"])[sex]),
            "age": age,
            "fare": 10 + 20 * y + rng.gamma(2, 3, n),
            "deck": [None if rng.random() < 0.5 else "ABC"[k] for k in y + sex],
            "born": [
                datetime.datetime(1890, 1, 1) + datetime.timedelta(int(d))
                for d in 3000 * y + rng.integers(0, 4000, n)
            ],
        }
    )
    claimed = flip_labels(y, 0.05, random_state=0)
    return frame, np.array(["lost", "saved"])[claimed], claimed != y


def test_frame_passes_to_a_column_transformer(passengers):
    frame, claimed, is_wrong = passengers
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "fare"]),
        (OneHotEncoder(handle_unknown="ignore"), ["sex", "deck"]),
        (TfidfVectorizer(), "name"),
    )
    model = make_pipeline(columns, LINEAR)
    result = audit(frame, claimed, estimator=model, random_state=0)
    assert found(result, is_wrong) > 0.7
    labelled = frame.assign(label=claimed)
    again = audit(labelled, estimator=model, random_state=0)
    np.testing.assert_array_equal(again.p_values, result.p_values)
    again = audit(labelled, "label", estimator=model, random_state=0)
    np.testing.assert_array_equal(again.p_values, result.p_values)


def test_missing_values_pass_to_an_estimator():
    X, y = make_gaussian_classes(400, n_features=5, separation=6.0, random_state=0)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    claimed = flip_labels(y, 0.05, random_state=0)
    model = HistGradientBoostingClassifier(max_iter=30, random_state=0)
    cv = StratifiedKFold(5, shuffle=True, random_state=0)
    result = audit(X, claimed, estimator=model, cv=cv, random_state=0)
    proba = cross_val_predict(model, X, claimed, cv=cv, method="predict_proba")
    np.testing.assert_allclose(np.exp(result.log_proba), proba, rtol=1e-6)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pl.Series])
def test_texts_pass_to_a_vectorizer(texts, kind):
    rows, claimed, is_wrong = texts
    model = make_pipeline(TfidfVectorizer(), LINEAR)
    result = audit(kind(rows), claimed, estimator=model, random_state=0)
    assert found(result, is_wrong) > 0.9


def test_sparse_rows_pass(texts):
    rows, claimed, is_wrong = texts
    X = TfidfVectorizer().fit_transform(rows)
    for each in (X, X.tocoo()):
        result = audit(each, claimed, estimator=LINEAR, random_state=0)
        assert found(result, is_wrong) > 0.9


def test_frames_of_numbers_judge_as_arrays():
    X, y = make_gaussian_classes(200, n_features=3, separation=6.0, random_state=0)
    names = ["a", "b", "c"]
    expected = audit(X, y, estimator=LINEAR, random_state=0)
    for frame in (pd.DataFrame(X, columns=names), pl.DataFrame(X, schema=names)):
        result = audit(frame, y, estimator=LINEAR, random_state=0)
        np.testing.assert_allclose(result.p_values, expected.p_values, rtol=1e-3)


def test_table_is_prepared_for_the_default_estimator(passengers):
    frame, claimed, is_wrong = passengers
    result = audit(frame, claimed, max_epochs=30, cv=3, random_state=0)
    assert found(result, is_wrong) > 0.6
    (said,) = [note for note in result.notes if note.startswith("Columns were")]
    assert "age, fare (numbers" in said
    assert "born (dates" in said
    assert "sex, deck (categories" in said
    assert "name (text" in said
    as_polars = pl.DataFrame(
        {
            name: [None if value != value else value for value in frame[name]]
            for name in frame.columns
        }
    )
    again = audit(as_polars, claimed, max_epochs=30, cv=3, random_state=0)
    np.testing.assert_allclose(again.p_values, result.p_values, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("kind", ["missing", "objects", "texts", "sparse", "column"])
def test_other_rows_are_prepared_too(texts, kind):
    rows, claimed, is_wrong = texts
    if kind in ("missing", "objects"):
        X, y = make_gaussian_classes(300, n_features=4, separation=6.0, random_state=0)
        claimed = flip_labels(y, 0.05, random_state=0)
        is_wrong = claimed != y
        X = X.astype(object if kind == "objects" else np.float64)
        X[np.arange(0, 300, 7), 0] = None if kind == "objects" else np.nan
    elif kind == "sparse":
        X = TfidfVectorizer().fit_transform(rows)
    else:
        X = rows if kind == "texts" else np.array(rows, dtype=object)
    result = audit(X, claimed, max_epochs=30, cv=3, random_state=0)
    assert found(result, is_wrong) > 0.8
    assert len(result.notes) > 0


def test_column_that_tells_the_label_is_named():
    X, y = make_gaussian_classes(60, n_features=2, random_state=0)
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(copy=y * 2)
    with pytest.warns(UserWarning, match="tell nearly every label alone: 'copy'"):
        audit(frame, y, max_epochs=1, cv=2, random_state=0)


def test_trusted_tables_are_prepared_alike(passengers):
    frame, claimed, is_wrong = passengers
    right = ~is_wrong & (np.arange(400) < 150)
    rest = np.arange(400) >= 150
    settings = {"max_epochs": 20, "cv": 2, "random_state": 0}
    known = (frame[right][frame.columns[::-1]], claimed[right])
    result = audit(frame[rest], claimed[rest], trusted=known, **settings)
    assert result.n_trusted == right.sum()
    with pytest.raises(ValueError, match="only one of them has 'fare'"):
        audit(
            frame[rest],
            claimed[rest],
            trusted=(known[0].drop(columns="fare"), known[1]),
            **settings,
        )
    with pytest.warns(UserWarning, match=f"{right.sum()} trusted rows are rows of X"):
        audit(frame, claimed, trusted=known, **settings)


class HubFeature:
    """As those of the library datasets: of images, or of classes by number."""

    def __init__(self, names=None, decode=False):
        self.names, self.decode = names, decode


class HubDataset:
    """What is used of datasets.Dataset."""

    def __init__(self, columns, features):
        self.columns, self.features = columns, features
        self.column_names = list(columns)

    def __getitem__(self, name):
        return self.columns[name]


@pytest.mark.parametrize("kind", ["mapping", "hub"])
def test_columns_by_name_are_rows(texts, kind):
    rows, claimed, is_wrong = texts
    model = make_pipeline(TfidfVectorizer(), LINEAR)
    names = sorted(WORDS)
    if kind == "mapping":
        X = {"text": rows, "label": claimed.tolist()}
    else:
        numbers = [names.index(label) for label in claimed]
        X = HubDataset({"text": rows, "label": numbers}, {"label": HubFeature(names)})
    result = audit(X, estimator=model, random_state=0)
    assert found(result, is_wrong) > 0.9
    assert set(result.classes) == set(names)
    with pytest.raises(ValueError, match=r"holds the splits train: .* X\['train'\]"):
        audit({"train": HubDataset({}, {})}, estimator=model)


def test_embeddings_by_name_are_rows():
    X, y = make_gaussian_classes(200, n_features=9, separation=6.0, random_state=0)
    columns = {"embedding": X.tolist(), "y": y.tolist()}
    result = audit(columns, estimator=LINEAR, random_state=0)
    expected = audit(X, y, estimator=LINEAR, random_state=0)
    np.testing.assert_allclose(result.p_values, expected.p_values, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*duplicate in another fold")
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("further", [{}, {"word": ["a", "b", "c"] * 200}])
def test_lists_of_numbers_in_frames_are_rows(kind, further):
    X, y = make_gaussian_classes(600, n_features=9, separation=6.0, random_state=0)
    X[591:], y[591:] = X[:9] + 1e-4, y[:9]  # near duplicates
    claimed = flip_labels(y, 0.05, random_state=0)
    columns = {"embedding": X.tolist(), "label": claimed.tolist(), **further}
    settings = {"max_epochs": 20, "cv": 3, "random_state": 0}
    result = audit(kind(columns), "label", **settings)
    assert found(result, claimed != y) > 0.9
    assert result.notes[0].startswith("Columns were prepared so: embedding[0], ")
    pairs = [] if further else [[row, 591 + row] for row in range(9)]
    assert result.duplicate_pairs.tolist() == pairs
    others, labels = make_gaussian_classes(
        600, n_features=9, separation=6.0, random_state=0
    )
    trusted = {"embedding": (others + 0.01).tolist(), **further}
    again = audit(
        kind(columns),
        "label",
        trusted=(kind(trusted), labels),
        false_alarm_rate=0.01,
        **settings,
    )
    assert again.n_trusted == 600
    assert found(again, claimed != y) > 0.8


def mean_of_lists(frame):
    return np.array([[np.mean(list(values))] for values in frame["list"]])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_lists_of_any_length_pass_to_an_estimator(kind):
    X, y = make_gaussian_classes(200, n_features=3, separation=9.0, random_state=0)
    lists = [row[: 2 + number % 2].tolist() for number, row in enumerate(X)]
    model = make_pipeline(FunctionTransformer(mean_of_lists), LINEAR)
    lists[3] = lists[0]
    result = audit(kind({"list": lists}), y, estimator=model, random_state=0)
    assert result.duplicate_pairs.tolist() == [[0, 3]]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_lists_of_one_number_in_frames_are_rows(kind):
    X, y = make_gaussian_classes(200, n_features=2, separation=6.0, random_state=0)
    columns = {"e": X[:, :1].tolist(), "x": X[:, 1].tolist()}
    result = audit(kind(columns), y, max_epochs=1, cv=2, random_state=0)
    assert result.notes[0].startswith("Columns were prepared so: e[0], x ")
    with pytest.raises(ValueError, match=r"X has several columns of the name 'e\[0\]'"):
        audit(kind({"e": columns["e"], "e[0]": columns["x"]}), y)
    with pytest.raises(ValueError, match="column 'e' holds lists of something other"):
        audit(kind({"e": [["a"]] * 200, "x": columns["x"]}), y)


def test_columns_of_one_name_in_a_frame_are_refused():
    frame = pd.DataFrame(np.eye(6), columns=[*"abcabc"])
    with pytest.raises(ValueError, match="X has several columns of the name 'a'"):
        audit(frame, [0, 1] * 3)


def test_identifiers_in_frames_are_warned_of():
    X, y = make_gaussian_classes(200, n_features=4, separation=6.0, random_state=0)
    order = np.random.default_rng(0).permutation(len(X))
    frame = pd.DataFrame(X[order]).add_prefix("x").assign(id=7 * np.arange(len(X)))
    with pytest.warns(UserWarning, match="run with the order of the rows.* 'id'"):
        audit(frame, y[order], max_epochs=1, cv=2, random_state=0)


@pytest.mark.parametrize("kind", ["pillow", "bytes", "array"])
def test_images_by_name_are_rows(kind):
    X, y = make_stripe_images(30, 2, (1, 8, 8), noise=0.05, random_state=0)
    pixels = (255 * X.clip(0, 1)).astype(np.uint8)
    images = [Image.fromarray(image[0]) for image in pixels]
    if kind == "bytes":
        streams = [io.BytesIO() for _ in images]
        for image, stream in zip(images, streams, strict=True):
            image.save(stream, "png")
        images = [{"bytes": stream.getvalue(), "path": None} for stream in streams]
    elif kind == "array":
        images = pixels[:, 0]
    columns = {"image": images, "label": y.tolist()}
    result = audit(columns, max_epochs=2, cv=2, random_state=0)
    expected = audit(pixels / np.float32(255), y, max_epochs=2, cv=2, random_state=0)
    np.testing.assert_allclose(result.p_values, expected.p_values, rtol=1e-5)


def test_torch_data_sets_are_rows():
    X, y = make_gaussian_classes(200, n_features=3, separation=6.0, random_state=0)
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    model = LGMClassifier(max_epochs=15, lr=0.02, random_state=0)
    expected = audit(X, y, estimator=model, cv=2, random_state=0)
    for labels in (None, y):
        result = audit(dataset, labels, estimator=model, cv=2, random_state=0)
        np.testing.assert_allclose(result.p_values, expected.p_values, rtol=1e-5)
    result = audit(dataset, cv=2, max_epochs=1, random_state=0)
    assert len(result.p_values) == 200


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (pd.DataFrame({"a": [1, 2]}), None, "y=None: X has no column of the name"),
        (pd.DataFrame({"a": [1, 2]}), "b", "y='b': X has no column .* are a"),
        (np.zeros((4, 2)), None, "y=None needs X with columns, got ndarray"),
        (np.zeros((4, 2)), [0, 1, None, 1], "y lacks 1 of 4 labels, row 2 the first"),
        ({"a": [1, 2], "b": [1], "label": [0, 1]}, None, "columns of one length"),
    ],
    ids=["no column", "other column", "array", "missing", "ragged"],
)
def test_rows_without_labels_are_named(X, y, message):
    with pytest.raises(ValueError, match=message):
        audit(X, y, estimator=LINEAR)


def test_what_holds_no_rows_is_refused():
    with pytest.raises(TypeError, match="X must hold rows: an array, .* got generator"):
        audit((row for row in [[1], [2]]), [0, 1], estimator=LINEAR)


def test_interrupted_audit_of_a_table_is_resumed(passengers, tmp_path):
    frame, claimed, _ = passengers
    settings = {"max_epochs": 1, "cv": 2, "random_state": 0, "resume_from": tmp_path}
    first = audit(frame, claimed, **settings)
    kept = sorted(tmp_path.rglob("output*"))
    again = audit(frame.copy(), claimed, **settings)
    np.testing.assert_array_equal(again.p_values, first.p_values)
    assert sorted(tmp_path.rglob("output*")) == kept


def test_large_arrays_of_folds_are_files_and_change_nothing(monkeypatch, tmp_path):
    X, y = make_stripe_images(60, random_state=0)
    claimed = flip_labels(y, 0.1, random_state=0)
    clf = LGMClassifier("mlp", max_epochs=3, random_state=0)

    def audited():
        return audit(X, claimed, estimator=clf, cv=2, random_state=0)

    in_memory = audited()
    made = []
    memmap = np.memmap

    def noted(path, *args, **kwargs):
        made.append(kwargs["shape"])
        return memmap(path, *args, **kwargs)

    monkeypatch.setattr(_scratch, "_LARGE", 1)
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(np, "memmap", noted)
    in_files = audited()
    assert made.count((len(X) // 2, *X.shape[1:])) == 4  # to train and to judge, twice
    np.testing.assert_array_equal(in_files.p_wrong, in_memory.p_wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("score_kind", ["posterior", "likelihood"])
def test_models_are_asked_about_few_rows_at_a_time(score_kind, monkeypatch):
    X, y = make_gaussian_classes(100, n_features=4, separation=4.0, random_state=0)
    settings = {"score_kind": score_kind, "max_epochs": 3, "random_state": 0}
    if score_kind == "likelihood":
        trusted = make_gaussian_classes(
            200, n_features=4, separation=4.0, random_state=1
        )
        settings |= {"trusted": trusted, "false_alarm_rate": 0.05}
    claimed = flip_labels(y, 0.1, random_state=0)

    def audited():
        return audit(X, claimed, **settings)

    at_once = audited()
    monkeypatch.setattr(_fold_models, "_JUDGED_ROWS", 7)
    in_parts = audited()
    np.testing.assert_allclose(in_parts.scores, at_once.scores, rtol=1e-4)
    np.testing.assert_array_equal(in_parts.is_suspect, at_once.is_suspect)
    assert in_parts.map_features.shape == at_once.map_features.shape
    np.testing.assert_allclose(in_parts.map_features, at_once.map_features, rtol=1e-3)
