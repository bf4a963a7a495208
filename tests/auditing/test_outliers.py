"""Rows that fit no class, and classes that overlap."""

import csv
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from sklgm import audit
from sklgm.auditing import _outliers
from sklgm.auditing._outliers import outlier_p_values
from sklgm.auditing._overlap import class_overlap
from sklgm.datasets import fetch_mnist, make_stripe_images
from sklgm.outliers._right_claims import RightClaimModel
from sklgm.poisoning import flip_labels

LINEAR = LogisticRegression(max_iter=500)
FDR = 0.1


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def planted(X, kind, n_planted=30, random_state=0):
    """Rows of noise, or of shuffled pixels, after the others."""
    rng = np.random.default_rng(random_state)
    foreign = rng.random((n_planted, X.shape[1]))
    if kind == "shuffled":
        foreign = rng.permuted(X[rng.choice(len(X), n_planted)], axis=1)
    return np.concatenate([X, foreign]), np.arange(len(X) + n_planted) >= len(X)


def outliers_of(X, seed=0):
    return stats.false_discovery_control(outlier_p_values(X, seed)) <= FDR


def test_p_values_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1, 1, 2)) ** 3
    distances = np.sort(cdist(X.reshape(300, -1), X.reshape(300, -1)), axis=1)[:, 10]
    s = np.log(distances)
    m, near, far = np.quantile(s, [0.5, 0.75, 0.95])
    z_near, z_far = stats.norm.isf([0.25, 0.05])
    c = np.log(z_far / z_near) / np.log((far - m) / (near - m))
    assert 0.3 < c < 0.95
    expected = stats.norm.sf(z_far * (np.maximum(s - m, 0) / (far - m)) ** c)
    np.testing.assert_allclose(outlier_p_values(X, 0), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["noise", "shuffled"])
@pytest.mark.parametrize("as_images", [True, False], ids=["images", "columns"])
@pytest.mark.parametrize("random_state", [0, 1, 2])
def test_foreign_rows_are_found_and_others_are_not(
    digits, kind, as_images, random_state
):
    X, is_foreign = planted(digits[0], kind, random_state=random_state)
    rows = X.reshape(-1, 1, 8, 8) if as_images else X
    found = outliers_of(rows)
    assert found[is_foreign].mean() > 0.9
    assert np.count_nonzero(found & ~is_foreign) <= 3


@pytest.mark.data
def test_noise_among_handwritten_digits():
    X = fetch_mnist().X_train[:3000]
    rng = np.random.default_rng(0)
    rows = np.concatenate([X, rng.random((30, 1, 28, 28), dtype=np.float32)])
    assert outliers_of(X).sum() <= 2
    found = outliers_of(rows)
    assert found[3000:].all()
    assert found[:3000].sum() <= 3


@pytest.mark.parametrize(
    "load", [load_iris, load_wine, load_breast_cancer, load_digits]
)
def test_few_rows_of_clean_tables_are_named(load):
    X, _ = load(return_X_y=True)
    p_values = outlier_p_values(X, 0)
    assert outliers_of(X).sum() <= 0.005 * len(X)
    assert np.mean(p_values <= 0.01) <= 0.03


@pytest.mark.parametrize("law", ["gaussian", "t", "lognormal"])
def test_tails_of_columns_make_no_outliers(law):
    rng = np.random.default_rng(0)
    size = (2000, 10)
    X = {
        "gaussian": rng.normal(size=size),
        "t": rng.standard_t(3, size=size),
        "lognormal": rng.lognormal(size=size),
    }[law]
    assert outliers_of(X).sum() == 0
    far = np.concatenate([X, X[:5] + 8 * X.std(axis=0) * rng.choice([-1, 1], (5, 10))])
    if law != "lognormal":
        assert outliers_of(far)[2000:].sum() >= 4


def test_missing_numbers_and_units_do_not_matter(digits):
    X, is_foreign = planted(digits[0], "noise")
    X = X * np.logspace(-3, 6, 64) + 1e6
    X[::7, 3] = np.nan
    assert outliers_of(X)[is_foreign].mean() > 0.9


def test_many_rows_are_compared_with_some(digits, monkeypatch):
    monkeypatch.setattr("sklgm.auditing._outliers._MOST_REFERENCES", 600)
    X, is_foreign = planted(digits[0], "noise", n_planted=15)
    found = outliers_of(X.reshape(-1, 1, 8, 8))
    assert found[is_foreign].mean() > 0.9
    assert np.count_nonzero(found & ~is_foreign) <= 2


def test_large_images_are_made_smaller():
    rng = np.random.default_rng(0)
    flat = np.ones((200, 1, 90, 70)) * rng.random((200, 3, 1, 1))
    X = flat + 0.01 * rng.random(flat.shape)
    X[7, :, :45] = 1 - X[7, :, :45]
    assert outlier_p_values(X, 0).argmin() == 7


@pytest.mark.parametrize(
    "X",
    [
        np.random.default_rng(0).normal(size=(49, 3)),
        np.repeat(np.eye(4), 30, axis=0),
        np.full((60, 2), np.inf),
    ],
    ids=["few", "equal", "infinite"],
)
def test_rows_without_distances_are_not_judged(X):
    assert outlier_p_values(X, 0) is None


def test_overlap_is_that_of_the_literal_loop():
    rng = np.random.default_rng(0)
    log_proba = np.log(rng.dirichlet(np.full(5, 0.3), size=200) + 1e-9)
    log_proba -= np.log(np.exp(log_proba).sum(axis=1, keepdims=True))
    model = RightClaimModel.fit(log_proba, log_proba.argmax(axis=1))
    q = model.class_proba(log_proba)
    np.testing.assert_allclose(q.sum(axis=1), 1)
    expected = np.eye(5)
    for j in range(5):
        for k in range(5):
            if j != k:
                shared = sum(min(row[j], row[k]) for row in q)
                expected[j, k] = shared / min(q[:, j].sum(), q[:, k].sum())
    np.testing.assert_allclose(class_overlap(model, log_proba), expected)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_two_names_of_one_class_overlap_and_digits_do_not(digits, share):
    X, y = digits
    names = np.array([f"digit {k}" for k in y])
    rng = np.random.default_rng(0)
    names[(y == 1) & (rng.random(len(y)) < share)] = "one"
    result = audit(X, names, estimator=LINEAR, random_state=0)
    ((first, second, overlap),) = result.overlapping_classes
    assert (first, second) == ("digit 1", "one")
    assert overlap > 0.5
    others = np.delete(result.class_overlap, list(result.classes).index("one"), axis=1)
    others = np.delete(others, -1, axis=0)[~np.eye(10, dtype=bool)]
    assert others.max() < 0.15
    (said,) = [note for note in result.notes if "overlap" in note]
    assert said.startswith("Classes 'digit 1' and 'one' overlap")


def test_of_many_overlaps_three_are_named():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(6), size=3000)
    claimed = np.array([rng.choice(6, p=p) for p in proba])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is certain of nothing
        result = audit(None, claimed, pred_probs=proba)
    assert len(result.overlapping_classes) == 15
    said = [note for note in result.notes if "overlap" in note]
    assert len(said) == 4
    assert said[-1].startswith("12 more pairs of classes overlap")
    pair = result.summary()["overlapping_classes"][0]
    assert json.loads(json.dumps(pair)) == pair


@pytest.mark.parametrize("noise", ["even", "of one class"])
def test_wrong_labels_are_no_overlap(digits, noise):
    X, y = digits
    rng = np.random.default_rng(0)
    claimed = flip_labels(y, 0.2, random_state=0)
    if noise == "of one class":
        claimed = np.where((y == 3) & (rng.random(len(y)) < 0.2), 5, y)
    result = audit(X, claimed, estimator=LINEAR, random_state=0)
    assert result.overlapping_classes == []


def test_audit_says_what_fits_no_class(digits, tmp_path):
    X, y = digits
    X, is_foreign = planted(X, "noise", n_planted=12)
    rng = np.random.default_rng(0)
    claimed = np.append(y, rng.integers(10, size=12))
    result = audit(X.reshape(-1, 64), claimed, estimator=LINEAR, random_state=0, cv=3)
    assert set(np.flatnonzero(is_foreign)) <= set(result.outliers.tolist())
    p_values = result.outlier_p_values[result.outliers]
    assert (np.diff(p_values) >= 0).all()
    (said,) = [note for note in result.notes if "unlike all others" in note]
    assert f"{len(result.outliers)} rows are" in said
    assert "and 2 more" in said or len(result.outliers) != 12
    result.save(tmp_path)
    with (tmp_path / "outliers.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == result.outliers.tolist()
    summary = json.loads((tmp_path / "audit.json").read_text())
    assert summary["outliers"] == result.outliers.tolist()
    frame = result.to_frame()
    np.testing.assert_array_equal(frame["outlier_p_value"], result.outlier_p_values)
    clean = audit(digits[0], y, estimator=LINEAR, random_state=0, cv=3)
    clean.save(tmp_path)
    assert not (tmp_path / "outliers.csv").exists()


def test_images_of_a_class_without_a_name_lie_among_the_others(digits):
    # What distances cannot tell: none of 30 is named, and none of the others.
    X, y = digits
    rng = np.random.default_rng(0)
    foreign = rng.choice(np.flatnonzero(y == 9), 30, replace=False)
    rows = np.concatenate([np.flatnonzero(y != 9), foreign])
    p_values = outlier_p_values(X[rows], 0)
    assert np.mean(p_values[-30:] <= 0.01) < 0.2
    assert outliers_of(X[rows]).sum() <= 3


def test_of_frames_numbers_are_compared_and_texts_are_not(digits):
    X, is_foreign = planted(digits[0], "noise", n_planted=5)
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(64)])
    claimed = np.append(digits[1], np.zeros(5, dtype=int))
    result = audit(frame, claimed, estimator=LINEAR, cv=2, random_state=0)
    assert set(np.flatnonzero(is_foreign)) <= set(result.outliers.tolist())
    proba = cross_val_predict(LINEAR, X, claimed, cv=2, method="predict_proba")
    given = audit(None, claimed, pred_probs=proba)
    assert given.outlier_p_values is None
    assert given.outliers.tolist() == []
    features = audit(None, claimed, pred_probs=proba, features=X)
    np.testing.assert_array_equal(features.outlier_p_values, result.outlier_p_values)


def test_images_are_averaged_further_where_there_are_many(monkeypatch):
    images, _ = make_stripe_images(40, random_state=0)
    few = _outliers._pooled(images)
    monkeypatch.setattr(_outliers, "_MOST_VALUES", 16 * len(images))
    many = _outliers._pooled(images)
    assert few.shape == (len(images), 64)
    assert many.shape == (len(images), 16)
    blocks = few.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(many, blocks.reshape(len(images), 16), rtol=1e-5)
