"""Audits of given probabilities or features, with decisions on some rows."""

import csv
import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import audit
from sklgm.auditing import read_decisions
from sklgm.metrics import wilson_rate

LINEAR = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))


@pytest.fixture(scope="module")
def probabilities(flipped):
    X, claimed, _ = flipped
    proba = cross_val_predict(
        LogisticRegression(max_iter=300), X, claimed, cv=3, method="predict_proba"
    )
    proba.setflags(write=False)
    return proba


def test_given_probabilities_need_no_rows(flipped, probabilities):
    _, claimed, is_wrong = flipped
    result = audit(None, claimed, pred_probs=probabilities)
    assert np.mean(result.is_suspect[is_wrong]) > 0.85
    np.testing.assert_array_equal(result.likely_labels, probabilities.argmax(axis=1))
    np.testing.assert_allclose(np.exp(result.log_proba), probabilities, rtol=1e-6)


def test_given_probabilities_and_own_folds_answer_alike(flipped):
    X, claimed, _ = flipped
    model = LogisticRegression(max_iter=300)
    proba = cross_val_predict(model, X, claimed, cv=KFold(3), method="predict_proba")
    given = audit(None, claimed, pred_probs=proba)
    trained = audit(X, claimed, estimator=model, cv=KFold(3))
    np.testing.assert_allclose(given.p_wrong, trained.p_wrong, atol=1e-6)
    np.testing.assert_array_equal(given.is_suspect, trained.is_suspect)


def test_given_probabilities_may_be_scaled_and_hold_zeros():
    claimed = np.array(["b", "a"] * 30)
    proba = np.tile([[0.0, 8.0], [7.0, 1.0]], (30, 1))
    proba[0] = [8.0, 0.0]
    result = audit(None, claimed, pred_probs=proba)
    assert result.ranking[0] == 0
    assert np.isfinite(result.log_proba).all()
    assert result.likely_labels[:2].tolist() == ["a", "a"]


def test_columns_of_classes_that_no_row_claims_are_taken_by_number():
    proba = np.full((40, 3), 0.05)
    claimed = np.arange(40) % 2
    proba[np.arange(40), claimed] = 0.9
    result = audit(None, claimed, pred_probs=proba)
    assert result.classes.tolist() == [0, 1, 2]
    assert result.noise_matrix.shape == (3, 3)


def test_features_stand_for_the_rows(flipped):
    X, claimed, _ = flipped
    result = audit(None, claimed, features=X, estimator=LINEAR, random_state=0)
    expected = audit(X, claimed, estimator=LINEAR, random_state=0)
    np.testing.assert_array_equal(result.p_values, expected.p_values)


def test_features_beside_probabilities_draw_the_map(flipped, probabilities):
    X, claimed, _ = flipped
    result = audit(None, claimed, pred_probs=probabilities, features=X)
    assert result.map_features.shape == X.shape
    np.testing.assert_array_equal(result.map_rows, np.arange(len(X)))


def test_decisions_correct_the_probabilities(flipped, probabilities):
    _, claimed, is_wrong = flipped
    rows = np.random.default_rng(0).choice(len(claimed), 100, replace=False)
    decisions = {int(row): "relabel" if is_wrong[row] else "keep" for row in rows}
    decisions[int(np.setdiff1d(np.arange(len(claimed)), rows)[0])] = "unsure"
    result = audit(None, claimed, pred_probs=probabilities, decisions=decisions)
    np.testing.assert_array_equal(result.p_wrong[rows], is_wrong[rows])
    np.testing.assert_array_equal(result.is_suspect[rows], is_wrong[rows])
    low, high = result.noise_share_interval
    assert low <= is_wrong.mean() <= high
    assert high - low < 0.15
    review = result.review
    assert (review.n_checked, review.n_wrong) == (100, is_wrong[rows].sum())
    assert np.intersect1d(result.rows_to_check, rows).size == 0
    json.dumps(result.summary())


def test_rows_to_check_are_a_list_to_fill_in(flipped, probabilities, tmp_path):
    _, claimed, is_wrong = flipped
    names = [f"row-{row}.png" for row in range(len(claimed))]
    result = audit(None, claimed, pred_probs=probabilities, random_state=3)
    assert result.settings["random_state"] == 3
    assert result.asks_for_checks
    result.save(tmp_path, names)
    path = tmp_path / "rows_to_check.csv"
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [int(line["row"]) for line in lines]
    assert rows == result.rows_to_check.tolist()
    assert [line["name"] for line in lines] == [names[row] for row in rows]
    labels = [str(label) for label in claimed[rows].tolist()]
    assert [line["claimed_label"] for line in lines] == labels
    assert read_decisions(path) == {}
    for line, row in zip(lines, rows, strict=True):
        line["decision"] = "relabel" if is_wrong[row] else "keep"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    decisions = read_decisions(path)
    again = audit(None, claimed, pred_probs=probabilities, decisions=decisions)
    assert again.review.n_checked == len(rows)
    assert not again.asks_for_checks
    filled_in = path.read_bytes()
    for other in (again, result):
        other.save(tmp_path, names)
        assert path.read_bytes() == filled_in
    again.save(tmp_path / "elsewhere", names)
    assert not (tmp_path / "elsewhere" / "rows_to_check.csv").exists()


def test_decisions_on_suspects_say_how_precise_they_are(flipped, probabilities):
    _, claimed, is_wrong = flipped
    first = audit(None, claimed, pred_probs=probabilities)
    rows = first.suspects[:30]
    decisions = {int(row): "drop" if is_wrong[row] else "keep" for row in rows}
    review = audit(None, claimed, pred_probs=probabilities, decisions=decisions).review
    assert review.precision == wilson_rate(int(is_wrong[rows].sum()), 30)
    all_rows = {
        row: "drop" if wrong else "keep" for row, wrong in enumerate(is_wrong.tolist())
    }
    review = audit(None, claimed, pred_probs=probabilities, decisions=all_rows).review
    assert review.n_worth_checking == 0
    assert review.n_wrong_beyond == 0


def test_share_may_be_set(flipped, probabilities):
    _, claimed, _ = flipped
    result = audit(None, claimed, pred_probs=probabilities, contamination=0.03)
    assert np.mean(result.is_suspect) == pytest.approx(0.03, abs=0.002)
    assert result.rule == {"contamination": 0.03}


def test_smaller_rate_flags_fewer(flipped, probabilities):
    _, claimed, _ = flipped
    flags = [
        audit(None, claimed, pred_probs=probabilities, fdr=fdr).is_suspect
        for fdr in (0.02, 0.1, 0.3)
    ]
    assert flags[0].sum() <= flags[1].sum() < flags[2].sum()
    assert not np.any(flags[0] & ~flags[1])


def test_noise_matrix_shows_which_classes_are_confused(digits):
    X, y = digits
    rng = np.random.default_rng(0)
    claimed = np.where((y == 3) & (rng.random(len(y)) < 0.25), 8, y)
    result = audit(X, claimed, estimator=LINEAR, random_state=0)
    off = result.noise_matrix - np.diag(np.diag(result.noise_matrix))
    assert np.unravel_index(off.argmax(), off.shape) == (3, 8)
    np.testing.assert_allclose(result.noise_matrix.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fdr": 1.0}, r"fdr must be a float in \(0, 1\), got 1.0"),
        ({"contamination": 0.6}, r"contamination must be a float in \(0, 0.5\]"),
        ({"false_alarm_rate": 0.1, "contamination": 0.1}, "exclude each other"),
        ({"estimator": LINEAR}, "estimator needs models, but pred_probs are given"),
        ({"trusted": (np.eye(2), [0, 1])}, "trusted needs models.*into decisions"),
        ({"pred_probs": np.eye(10)}, "a row for each of the 1797 labels"),
        ({"pred_probs": np.full((1797, 4), 0.25)}, "y has 10 classes, pred_probs 4"),
        ({"pred_probs": np.full((1797, 10), -1.0)}, "probabilities, not their log"),
        ({"pred_probs": np.zeros((1797, 10))}, "row 0 sums to 0"),
        ({"features": np.eye(3)}, "features must have a row for each of the 1797"),
        ({"decisions": {1797: "keep"}}, "decisions has row 1797: rows are 0 to 1796"),
        ({"decisions": {5: "wrong"}}, r"decisions\[5\] must be one of keep, relabel"),
    ],
)
def test_wrong_given_input_is_named(flipped, probabilities, settings, message):
    with pytest.raises(ValueError, match=message):
        audit(None, flipped[1], **{"pred_probs": probabilities} | settings)


def test_nothing_to_judge_by_is_named(flipped):
    with pytest.raises(ValueError, match="X=None: give the rows, or pred_probs"):
        audit(None, flipped[1])
    with pytest.raises(TypeError, match="decisions must be a dict"):
        audit(*flipped[:2], estimator=LINEAR, decisions=["keep"])


@pytest.fixture
def ten_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=600)
    P = rng.dirichlet(np.ones(10), size=600) + 4 * np.eye(10)[y]
    return y, P / P.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_a_frame_are_taken_by_their_names(library, ten_classes):
    y, P = ten_classes
    module = pytest.importorskip(library)
    order = np.random.default_rng(1).permutation(10)
    frame = module.DataFrame({str(k): P[:, k] for k in order})
    expected = audit(None, y, pred_probs=P)
    found = audit(None, y, pred_probs=frame)
    np.testing.assert_array_equal(found.p_wrong, expected.p_wrong)
    # Names that are no labels say nothing.
    named = module.DataFrame({f"p{k}": P[:, k] for k in range(10)})
    again = audit(None, y, pred_probs=named)
    np.testing.assert_array_equal(again.p_wrong, expected.p_wrong)


@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row")
def test_columns_in_another_order_are_noticed(ten_classes):
    y, P = ten_classes
    with pytest.warns(UserWarning, match="another order than the sorted labels of y"):
        audit(None, y, pred_probs=P[:, ::-1])
    texts = np.array([f"{k}" for k in range(12)])[np.arange(600) % 12]
    by_number = 0.01 + np.eye(12)[np.arange(600) % 12]
    with pytest.warns(UserWarning, match="named after the labels") as caught:
        audit(None, texts, pred_probs=by_number)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row")
def test_rows_that_sum_to_anything_are_noticed(ten_classes):
    y, P = ten_classes
    logits = np.log(P)
    with pytest.warns(UserWarning, match="rows of pred_probs sum to .* logits or sco"):
        audit(None, y, pred_probs=logits - logits.min() + 0.1)
    audit(None, y, pred_probs=100 * P)  # percentages


def test_votes_of_several_people_are_probabilities():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    votes = np.array([rng.multinomial(n, 0.1 + 0.7 * np.eye(3)[k]) for n, k in
                      zip(rng.choice([3, 6], 300), y, strict=True)])  # fmt: skip
    audit(None, y, pred_probs=votes)
