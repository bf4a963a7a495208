"""Classes of too few rows do not keep the others from being judged."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from sklgm import audit
from sklgm.auditing._rare import similar_names
from sklgm.datasets import make_gaussian_classes
from sklgm.poisoning import flip_labels

LINEAR = LogisticRegression()


@pytest.fixture(scope="module")
def animals():
    X, y = make_gaussian_classes(600, n_features=6, separation=6.0, random_state=0)
    return X, np.array(["cat", "dog", "horse"])[y].astype("U8"), y


@pytest.mark.parametrize("n_rare", [1, 2, 4])
def test_rows_of_a_rare_class_are_named_and_the_rest_is_judged(animals, n_rare):
    X, names, y = animals
    flips = flip_labels(y, 0.05, random_state=0)
    claimed = np.array(["cat", "dog", "horse"])[flips].astype("U8")
    cats = np.flatnonzero((names == "cat") & (flips == y))
    rare = cats[:n_rare]
    claimed[rare] = "catt"
    message = f"Class 'catt' is too rare to judge: it has {n_rare} row.*of 'cat'"
    with pytest.warns(UserWarning, match=message):
        result = audit(X, claimed, estimator=LINEAR, random_state=0)
    np.testing.assert_array_equal(result.too_rare, rare)
    assert any("catt" in note for note in result.notes)
    assert (result.likely_labels[rare] == "cat").all()
    # The others as if it were not there.
    rest = np.setdiff1d(np.arange(len(X)), rare)
    without = audit(X[rest], claimed[rest], estimator=LINEAR, random_state=0)
    assert result.noise_share == pytest.approx(without.noise_share, abs=0.005)
    is_wrong = (flips != y)[rest]
    for flagged in (result.is_suspect[rest], without.is_suspect):
        assert flagged[is_wrong].mean() > 0.9
        assert flagged[~is_wrong].mean() < 0.02


def test_only_row_of_a_class_is_judged_by_a_model_without_it(animals):
    X, names, _ = animals
    claimed = names.copy()
    claimed[5] = "unicorn"
    with pytest.warns(UserWarning, match="'unicorn' .* 1 row, .* Look at row 5."):
        result = audit(
            X, claimed, estimator=LINEAR, false_alarm_rate=0.01, random_state=0
        )
    assert result.is_suspect[5]
    assert result.log_proba[5, 3] == pytest.approx(-np.log(480), abs=0.1)
    np.testing.assert_allclose(np.exp(result.log_proba).sum(axis=1), 1, rtol=1e-6)


def test_class_that_a_splitter_leaves_out_is_judged_too(animals):
    X, names, _ = animals
    claimed = names.copy()
    claimed[[3, 4]] = "emu"
    with pytest.warns(UserWarning, match="'emu'"):
        result = audit(
            X,
            claimed,
            estimator=LINEAR,
            cv=KFold(3),
            false_alarm_rate=0.01,
            random_state=0,
        )
    assert result.is_suspect[[3, 4]].all()


def test_small_data_are_judged_as_they_are():
    X, y = make_gaussian_classes(12, n_features=2, separation=8.0, random_state=0)
    result = audit(X, y, estimator=LINEAR, cv=5, random_state=0)
    assert len(result.too_rare) == 0


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"cat": 100, "catt": 2, "dog": 90}, [("catt", "cat")]),
        ({"dog": 100, "dgo": 2, "horse": 50}, [("dgo", "dog")]),
        ({"New York": 50, "new_york": 40, "Rome": 9}, [("new_york", "New York")]),
        ({"dog": 50, "dog ": 50}, [("dog", "dog ")]),
        ({"cat": 100, "car": 90, "bat": 95}, []),
        ({"class 1": 100, "class 11": 2, "class 2": 3}, []),
        ({"cat": 100, "unicorn": 1}, []),
        ({1: 100, 2: 1}, []),
        ({"horse": 400, "hourse": 15, "house": 300}, [("hourse", "horse")]),
    ],
    ids=lambda value: None if isinstance(value, list) else "-".join(map(str, value)),
)
def test_misspelt_names_are_recognised(counts, expected):
    assert similar_names(list(counts), np.array([*counts.values()])) == expected


@pytest.mark.filterwarnings("ignore:The model of right and wrong labels")
def test_misspelt_frequent_class_is_said(animals):
    X, names, _ = animals
    claimed = np.where(np.arange(600) % 2 & (names == "cat"), "Cat", names)
    with pytest.warns(UserWarning, match="'[Cc]at' looks like another spelling of"):
        result = audit(X, claimed, estimator=LINEAR, random_state=0)
    assert len(result.too_rare) == 0
