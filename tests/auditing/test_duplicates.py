"""Rows that are there twice, with one label or with two."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sklgm import audit
from sklgm.auditing._duplicates import find_duplicates
from sklgm.datasets import make_gaussian_classes

LINEAR = LogisticRegression(max_iter=300)


def pairs_of(X):
    found = find_duplicates(X)
    return {
        (*map(int, pair), "exact" if exact else "near")
        for pair, exact in zip(found.pairs, found.is_exact, strict=True)
    }


@pytest.mark.parametrize("kind", ["array", "images", "sparse", "texts", "objects"])
def test_equal_rows_are_found(kind):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, size=(60, 16)).astype(np.float64)
    X[[17, 40]] = X[3]
    if kind == "images":
        X = X.reshape(-1, 1, 4, 4)
    elif kind == "sparse":
        X = sparse.csr_array(X)
    elif kind == "texts":
        X = [" ".join(map(str, row)) for row in X.tolist()]
    elif kind == "objects":
        X = X.astype(object)
    assert pairs_of(X) == {(3, 17, "exact"), (3, 40, "exact")}


def photographs(n=150):
    """Smooth random images of 32 x 32 in [0, 1]."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(n, 6, 6, 3), dtype=np.uint8)
    return [
        Image.fromarray(c).resize((32, 32), Image.Resampling.BICUBIC) for c in coarse
    ]


def as_rows(images):
    return np.stack([np.asarray(i) for i in images]).transpose(0, 3, 1, 2) / np.float32(
        255
    )


@pytest.mark.parametrize("change", ["quality", "size", "brightness"])
def test_copies_of_images_are_near_duplicates(change):
    images = photographs()
    copies = []
    for image in images[:20]:
        if change == "size":
            image = image.resize((24, 24)).resize((32, 32))
        stream = io.BytesIO()
        image.save(stream, "jpeg", quality=75 if change == "quality" else 90)
        copies.append(Image.open(stream))
    copied = as_rows(copies) * np.float32(0.8 if change == "brightness" else 1)
    X = np.concatenate([as_rows(images), copied])
    assert pairs_of(X) == {(i, 150 + i, "near") for i in range(20)}


@pytest.mark.parametrize("n_columns", [3, 6, 32])
def test_near_rows_are_found(n_columns):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, n_columns))
    X = np.concatenate([X, X[:10] + 1e-4 * rng.normal(size=(10, n_columns))])
    assert pairs_of(X) == {(i, 400 + i, "near") for i in range(10)}


@pytest.mark.parametrize("shape", [(200, 5_000), (1_500, 2_000), (4_000, 96)])
def test_near_rows_are_found_where_no_direction_parts_them(shape):
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape)
    X = np.concatenate([X, X[:10] + 1e-2 * rng.normal(size=(10, shape[1]))])
    assert pairs_of(X) == {(i, shape[0] + i, "near") for i in range(10)}


def test_missing_values_hide_no_near_rows():
    rng = np.random.default_rng(0)
    X = 1e9 + rng.normal(size=(400, 6))
    X[::7, 2], X[3, 4] = np.nan, np.inf
    X = np.concatenate([X, X[:10] + 1e-4 * rng.normal(size=(10, 6))])
    assert pairs_of(X) == {(i, 400 + i, "near") for i in range(10)}


def test_near_rows_of_small_classes_are_found():
    rng = np.random.default_rng(0)
    X = 2 * rng.normal(size=(10, 300)).repeat(200, axis=0) + rng.normal(
        size=(2000, 300)
    )
    X[5], X[77] = X[6] + 1e-3, X[100] + 1e-3 * rng.normal(size=300)
    assert pairs_of(X) == {(5, 6, "near"), (77, 100, "near")}


def test_columns_whose_values_begin_late_count():
    rng = np.random.default_rng(0)
    X = np.zeros((2_200, 2_000))  # of several parts
    X[:, :3] = rng.normal(size=(2_200, 3))
    X[:1_100, 3], X[1_100:, 3] = np.nan, np.arange(1_100) % 7
    X[1_500:1_600, :3] = X[1_400:1_500, :3]
    X[1_500:1_600, 3] += 10
    assert not any((row, row + 100, "near") in pairs_of(X) for row in (1_400, 1_499))
    X[1_500:1_600, 3] -= 10
    X[1_500:1_600, 3] += 1e-4
    X[1_400:1_500, 3] = X[1_500:1_600, 3] - 1e-4
    assert {(row, row + 100, "near") for row in range(1_400, 1_500)} <= pairs_of(X)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1e-300, 1e160, 1.7e308])
def test_tiny_and_huge_numbers_are_compared(factor):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 6))
    X = np.concatenate([X, X[:10] + 1e-4 * rng.uniform(-1, 1, size=(10, 6))])
    X[:, 0] *= 0.9 * factor
    assert pairs_of(X) == {(i, 300 + i, "near") for i in range(10)}
    images = X[:, :4].reshape(-1, 1, 2, 2)
    images[3, 0, 0, 0] = np.inf
    find_duplicates(images)


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
def test_missing_values_are_equal_whatever_their_sign(kind):
    X, y = make_gaussian_classes(200, n_features=6, separation=6.0, random_state=0)
    X = np.concatenate([X, X[:20]])
    X[:20, 0], X[200:, 0] = np.nan, -np.float64(np.nan)
    settings = {"max_epochs": 1, "cv": 2, "random_state": 0}
    with pytest.warns(UserWarning, match="duplicate in another fold"):
        result = audit(kind(X), np.concatenate([y, y[:20]]), **settings)
    assert result.is_exact_pair.sum() == 20


@pytest.mark.filterwarnings("ignore:.*duplicate in another fold")
def test_texts_for_the_default_network_have_near_duplicates():
    texts = [f"word{row % 7} and word{row} or word{row * row}" for row in range(60)]
    texts += [text.upper() + "!" for text in texts[:9]]
    y = np.arange(69) % 2
    result = audit(texts, y, max_epochs=1, cv=2, random_state=0)
    assert result.duplicate_pairs.tolist() == [[row, 60 + row] for row in range(9)]


def test_it_is_said_why_near_rows_are_not_looked_for():
    rng = np.random.default_rng(0)
    often = np.repeat(rng.normal(size=(20, 9)), 100, axis=0)
    often += 1e-6 * rng.normal(size=often.shape)
    assert "too many possible" in find_duplicates(often).note
    assert "two columns" in find_duplicates(rng.normal(size=(20, 1))).note
    assert "not arrays" in find_duplicates(sparse.eye_array(20).tocsr()).note
    many = np.arange(200_001.0)[:, np.newaxis]
    assert "200,000" in find_duplicates(many).note
    assert find_duplicates(rng.normal(size=(60, 9))).note is None
    X, y = make_gaussian_classes(120, random_state=0)
    result = audit(sparse.csr_array(X), y, estimator=LINEAR, random_state=0)
    assert "Near duplicates were not looked for" in result.notes[-1]


def test_frames_of_numbers_have_near_duplicates():
    rng = np.random.default_rng(0)
    X, y = make_gaussian_classes(300, n_features=6, separation=6.0, random_state=0)
    X = np.concatenate([X, X[:20] + 1e-4 * rng.normal(size=(20, 6))])
    y = np.concatenate([y, y[:20]])
    frame = pd.DataFrame(X).add_prefix("x")
    with pytest.warns(UserWarning, match="near duplicate in another fold"):
        result = audit(frame, y, estimator=LINEAR, random_state=0)
    expected = [[i, 300 + i] for i in range(20)]
    assert result.duplicate_pairs.tolist() == expected
    assert not result.is_exact_pair.any()


def test_texts_that_differ_by_signs_are_near():
    texts = ["Good, really!", "bad", "good really", "Bad.", "other", "!", "?"]
    assert pairs_of(texts) == {(0, 2, "near"), (1, 3, "near")}


def test_different_rows_are_no_duplicates():
    X, y = load_digits(return_X_y=True)
    assert pairs_of(X) == set()
    assert pairs_of(X.reshape(-1, 1, 8, 8)) == set()
    for n_columns in (1, 2, 3, 5):  # close by chance
        low = np.random.default_rng(0).normal(size=(500, n_columns))
        assert pairs_of(low) == set()
    assert pairs_of(np.zeros((3, 1, 8, 8))) == {(0, 1, "exact"), (0, 2, "exact")}


@pytest.fixture
def doubled():
    X, y = make_gaussian_classes(300, n_features=9, separation=6.0, random_state=0)
    X, y = np.concatenate([X, X[:20]]), np.concatenate([y, y[:20]])
    y[300] = (y[300] + 1) % 3
    return X, y


def test_contradictory_labels_are_pairs(doubled, tmp_path):
    X, y = doubled
    with pytest.warns(UserWarning, match="40 of 320 rows|rows have a duplicate or"):
        result = audit(X, y, estimator=LINEAR, random_state=0)
    assert len(result.duplicate_pairs) == 20
    assert result.is_exact_pair.all()
    assert result.contradictory_pairs.tolist() == [[0, 300]]
    assert result.summary()["n_contradictory_pairs"] == 1
    result.save(tmp_path)
    with (tmp_path / "duplicates.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["other_row"]) for line in lines] == [
        (str(i), str(300 + i)) for i in range(20)
    ]
    assert lines[0]["claimed_label"] != lines[0]["other_label"]
    assert lines[0]["kind"] == "exact"


def test_equal_rows_of_few_columns_are_warned_of_unless_by_chance():
    X, y = make_gaussian_classes(300, n_features=4, separation=6.0, random_state=0)
    X, y = np.concatenate([X, X[:20]]), np.concatenate([y, y[:20]])
    with pytest.warns(UserWarning, match="rows have a duplicate or near duplicate"):
        audit(X, y, estimator=LINEAR, random_state=0)
    audit(np.round(X), y, estimator=LINEAR, random_state=0)


def test_groups_are_held_out_together(doubled):
    X, y = doubled
    groups = np.concatenate([np.arange(300), np.arange(20)])
    result = audit(X, y, estimator=LINEAR, groups=groups, random_state=0)
    for row in range(20):
        assert result.folds[row] == result.folds[300 + row]
    frame = pd.DataFrame(X).add_prefix("x").assign(scene=groups, label=y)
    again = audit(frame, estimator=LINEAR, groups="scene", random_state=0)
    np.testing.assert_allclose(again.p_values, result.p_values, rtol=1e-3)


def test_wrong_labels_of_copies_are_found_with_groups():
    rng = np.random.default_rng(0)
    X, y = make_gaussian_classes(200, n_features=9, separation=6.0, random_state=0)
    scenes = np.repeat(np.arange(200), 4)
    X = np.repeat(X, 4, axis=0) + 1e-3 * rng.normal(size=(800, 9))
    y = np.repeat(y, 4)
    is_wrong = np.isin(scenes, rng.choice(200, 10, replace=False))
    claimed = np.where(is_wrong, (y + 1) % 3, y)
    # Copies outweigh all other neighbours.
    model = KNeighborsClassifier(15, weights="distance")
    found = audit(X, claimed, estimator=model, groups=scenes, random_state=0)
    with pytest.warns(UserWarning, match="a wrong label that both have is learnt"):
        missed = audit(X, claimed, estimator=model, random_state=0)
    with_groups = np.mean(is_wrong[found.ranking[:40]])
    assert with_groups > 0.8
    assert np.mean(is_wrong[missed.ranking[:40]]) < with_groups - 0.2


def test_class_of_one_group_is_too_rare(doubled):
    X, y = doubled
    groups = np.where(y == 0, -1, np.arange(len(y)))
    groups[300:] = groups[:20]
    with pytest.warns(UserWarning, match="Class 0 is too rare to judge: it has"):
        result = audit(X, y, estimator=LINEAR, groups=groups, random_state=0)
    np.testing.assert_array_equal(result.too_rare, np.flatnonzero(y == 0))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(320), "groups must hold at least 2 groups, got 1"),
        (np.zeros(3), "groups must have a group for each of the 320 rows of X, got 3"),
        ("scene", "groups='scene' needs X with columns"),
    ],
    ids=["one", "length", "column"],
)
def test_bad_groups_are_named(doubled, groups, message):
    with pytest.raises(ValueError, match=message):
        audit(*doubled, estimator=LINEAR, groups=groups)
