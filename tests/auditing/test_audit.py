import csv
import dataclasses
import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars
import pytest
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    train_test_split,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklgm import (
    FilteredClassifier,
    LGMClassifier,
    LGMOutlierDetector,
    PoisonFilter,
    audit,
)
from sklgm.auditing._fold_models import default_estimator
from sklgm.auditing._judgement import typical_rows
from sklgm.persistence._lists import write_csv
from sklgm.poisoning import flip_labels

LINEAR = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))


@pytest.fixture(scope="module")
def audited(flipped):
    X, claimed, _ = flipped
    return audit(X, claimed, estimator=LINEAR, random_state=0)


class Interrupted(Exception):
    pass


def test_flipped_rows_are_flagged_and_others_rarely(flipped, audited):
    _, _, is_wrong = flipped
    assert np.mean(audited.is_suspect[is_wrong]) > 0.85
    n_suspects = np.count_nonzero(audited.is_suspect)
    n_right = np.count_nonzero(audited.is_suspect & ~is_wrong)
    assert n_right <= 0.1 * n_suspects + 3 * np.sqrt(0.1 * n_suspects)
    assert audited.n_expected_right <= 0.1 * n_suspects


def test_detector_filters_and_audit_flag_the_same_rows(flipped):
    X, claimed, is_wrong = flipped
    estimator = LogisticRegression(max_iter=1000)
    is_suspect = audit(
        X, claimed, estimator=estimator, false_alarm_rate=0.01, random_state=0
    ).is_suspect
    detector = LGMOutlierDetector(estimator, cv=5, random_state=0)
    np.testing.assert_array_equal(detector.fit_predict(X, claimed) == -1, is_suspect)
    for judge in (PoisonFilter(detector), FilteredClassifier(estimator, detector)):
        kept = judge.fit(X, claimed).sample_indices_
        np.testing.assert_array_equal(kept, np.flatnonzero(~is_suspect))
    assert is_wrong.sum() == 90
    assert is_suspect[is_wrong].sum() >= 85
    n_right = np.count_nonzero(~is_wrong)
    error = 3 * np.sqrt(0.01 * 0.99 / n_right)
    assert np.mean(is_suspect[~is_wrong]) <= 0.01 + error


@pytest.mark.parametrize("seed", [1, 2])
def test_detector_and_audit_draw_the_same_folds(flipped, seed):
    X, claimed, _ = flipped
    tree = DecisionTreeClassifier(max_depth=6, random_state=0)
    result = audit(X, claimed, estimator=tree, cv=3, random_state=seed)
    detector = LGMOutlierDetector(tree, cv=3, random_state=seed).fit(X, claimed)
    np.testing.assert_array_equal(detector.train_p_values_, result.p_values)
    np.testing.assert_array_equal(detector.train_scores_, result.scores)
    assert detector.noise_share_ == result.noise_share


def test_share_of_wrong_claims_is_estimated(flipped, audited):
    assert audited.noise_share == pytest.approx(flipped[2].mean(), abs=0.02)


def test_likely_labels_are_the_right_ones(digits, flipped, audited):
    _, y = digits
    is_wrong = flipped[2]
    assert np.mean(audited.likely_labels[is_wrong] == y[is_wrong]) > 0.9


def test_without_wrong_rows_few_are_flagged(digits):
    result = audit(*digits, estimator=LINEAR, random_state=0)
    error = 3 * np.sqrt(0.01 * 0.99 / len(digits[1]))
    assert np.mean(result.is_suspect) < 0.01 + error


def test_more_wrong_rows_give_more_suspects(digits):
    # A threshold by rank among the audited rows would flag the same share of each.
    X, y = digits
    n_suspects = [
        np.count_nonzero(
            audit(
                X, flip_labels(y, share, 0), estimator=LINEAR, cv=3, random_state=0
            ).is_suspect
        )
        for share in (0.0, 0.05, 0.2)
    ]
    assert n_suspects[1] > n_suspects[0] + 0.03 * len(y)
    assert n_suspects[2] > n_suspects[1] + 0.1 * len(y)


@pytest.mark.parametrize("score_kind", ["posterior", "likelihood"])
def test_trusted_rows_set_the_level(digits, score_kind):
    X, y = digits
    X, X_trusted, y, y_trusted = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=0
    )
    claimed = flip_labels(y, 0.1, random_state=0)
    is_wrong = claimed != y
    result = audit(
        X,
        claimed,
        estimator=LGMClassifier(max_epochs=8, lr=0.01, random_state=0),
        trusted=(X_trusted, y_trusted),
        score_kind=score_kind,
        false_alarm_rate=0.02,
        cv=3,
        random_state=0,
    )
    assert result.n_trusted == len(y_trusted)
    assert result.noise_share is None
    assert np.mean(result.is_suspect[is_wrong]) > 0.7
    # Chance in the rows, and as much in the trusted ones.
    error = 3 * np.sqrt(0.02 * 0.98 * (1 / np.sum(~is_wrong) + 1 / len(y_trusted)))
    assert np.mean(result.is_suspect[~is_wrong]) < 0.02 + error


def test_trusted_p_values_match_the_formula(flipped):
    X, claimed, _ = flipped
    frozen = FrozenEstimator(LINEAR.fit(X[:300], claimed[:300]))
    X, claimed, X_trusted, trusted = (
        X[300:900],
        claimed[300:900],
        X[900:],
        claimed[900:],
    )
    result = audit(X, claimed, estimator=frozen, trusted=(X_trusted, trusted))
    own = frozen.predict_log_proba(X)[np.arange(len(claimed)), claimed]
    known = frozen.predict_log_proba(X_trusted)[np.arange(len(trusted)), trusted]
    for row in range(0, len(claimed), 50):
        p = (1 + np.sum(known <= own[row])) / (len(known) + 1)
        assert result.p_values[row] == pytest.approx(p)


def test_default_estimator_learns_rows_of_numbers_on_any_scale():
    X, y = load_iris(return_X_y=True)
    y[:3] = 2
    result = audit(X * [1e3, 1, 1e-3, 1], y, cv=3, max_epochs=30, random_state=0)
    assert set(result.suspects.tolist()) >= {0, 1, 2}
    assert result.map_features.shape == (50, 64)


@pytest.mark.slow
def test_default_estimator_takes_images(digits):
    X, y = digits
    X = X[:400].reshape(-1, 1, 8, 8)
    result = audit(X, y[:400], cv=2, max_epochs=80, random_state=0)
    assert result.map_features.shape == (200, 64)
    assert result.p_values.shape == (400,)


@pytest.mark.parametrize(
    ("shape", "backbone", "expected"),
    [
        ((3, 32, 32), "auto", "airbench"),
        ((3, 32, 32), "airbench_narrow", "airbench_narrow"),
        ((1, 16, 16), "airbench", "airbench"),
        ((3, 32, 32), "small", "small"),
        ((1, 32, 32), "auto", "auto"),
        ((3, 16, 32), "auto", "auto"),
    ],
)
def test_default_estimator_trains_natural_images_by_a_preset(shape, backbone, expected):
    rows = np.zeros((40, *shape), dtype=np.float32)
    splits = [(np.arange(30), np.arange(30, 40))]
    made = default_estimator(rows, splits, backbone, None, "cpu", 3, None)
    assert (made.backbone, made.random_state, made.device) == (expected, 3, "cpu")
    assert made.test_time_flip == expected.startswith("airbench")
    assert made.max_epochs == 150  # of one step
    assert default_estimator(rows, splits, backbone, 2, "cpu", 3, None).max_epochs == 2
    many = [(np.arange(30_000), np.arange(30, 40))]
    epochs = 20 if expected.startswith("airbench") else 8
    made = default_estimator(rows, many, backbone, None, "cpu", 3, None)
    assert made.max_epochs == epochs


def test_flat_rows_are_no_images_to_a_network_for_images():
    with pytest.raises(ValueError, match="backbone='airbench' needs images of shape"):
        audit(np.zeros((40, 768)), np.arange(40) % 2, backbone="airbench", max_epochs=1)


def test_every_row_is_judged_by_the_model_of_its_fold(flipped):
    X, claimed, _ = flipped
    splitter = KFold(3)
    result = audit(X, claimed, estimator=LINEAR, cv=splitter, random_state=0)
    for fold, (_, rows) in enumerate(splitter.split(X)):
        assert np.all(result.folds[rows] == fold)
    train, rows = next(splitter.split(X))
    model = LINEAR.fit(X[train], claimed[train])
    np.testing.assert_array_equal(result.likely_labels[rows], model.predict(X[rows]))


def test_same_seed_same_result(flipped, audited):
    again = audit(*flipped[:2], estimator=LINEAR, random_state=0)
    np.testing.assert_array_equal(again.p_values, audited.p_values)
    other = audit(*flipped[:2], estimator=LINEAR, random_state=1)
    assert not np.array_equal(other.folds, audited.folds)


def test_labels_may_be_text_and_rows_a_data_frame(flipped, audited):
    X, claimed, _ = flipped
    names = np.array([f"class {k}" for k in range(10)])
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    result = audit(frame, names[claimed], estimator=LINEAR, random_state=0)
    np.testing.assert_array_equal(result.p_values, audited.p_values)
    assert result.likely_labels[0] == names[audited.likely_labels[0]]


def test_estimator_and_input_are_left_alone(flipped):
    X, claimed, _ = flipped
    before = claimed.copy()
    estimator = DecisionTreeClassifier(max_depth=3)
    audit(X, claimed, estimator=estimator, cv=2, random_state=0)
    assert not hasattr(estimator, "tree_")
    np.testing.assert_array_equal(claimed, before)


def test_probabilities_of_zero_are_the_lowest(flipped):
    X, claimed, is_wrong = flipped
    result = audit(
        X, claimed, estimator=RandomForestClassifier(50, random_state=0), random_state=0
    )
    assert np.isfinite(result.scores).all()
    assert np.mean(result.is_suspect[is_wrong]) > 0.85


def test_typical_rows_are_of_their_class_and_no_suspects(audited, flipped):
    for k, rows in enumerate(audited.typical_rows):
        shown = rows[rows >= 0]
        assert len(shown) == len(set(shown.tolist())) == 6
        assert np.all(audited.claimed_labels[shown] == k)
        assert np.all(audited.likely_labels[shown] == k)
        assert not audited.is_suspect[shown].any()


def test_typical_rows_are_close_to_the_mean_and_unlike_each_other():
    # Four copies beside the mean, two near it on either side, four far away.
    column = np.array([0.1, 0.1, 0.1, 0.1, 0.9, -0.9, 5.0, 5.0, -5.0, -5.4])
    features = np.column_stack([column, np.zeros(10)])
    rows = 10 + np.arange(10)
    groups, scores = np.zeros(10, dtype=int), np.zeros(10)
    typical = typical_rows(rows, features, groups, scores, 1)
    assert typical[0, :3].tolist() == [10, 15, 14]
    assert set(typical[0].tolist()) == set(range(10, 16))


def test_ranking_is_by_probability_then_score(audited):
    p_wrong = audited.p_wrong[audited.ranking]
    assert np.all(np.diff(p_wrong) <= 0)
    ties = np.flatnonzero(np.diff(p_wrong) == 0)
    assert np.all(np.diff(audited.scores[audited.ranking])[ties] >= 0)
    assert np.array_equal(np.sort(audited.ranking), np.arange(len(p_wrong)))


def test_suspects_and_clean_rows_are_all_rows(audited):
    rows = np.concatenate([audited.suspects, audited.clean_rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(audited.p_values)))
    assert "rows suspect at fdr=0.1" in repr(audited)


def test_q_values_control_the_false_discovery_share(flipped, audited):
    is_wrong = flipped[2]
    flagged = audited.q_values <= 0.1
    n_flagged = np.count_nonzero(flagged)
    false_share = np.mean(~is_wrong[flagged])
    assert n_flagged > 0.8 * is_wrong.sum()
    assert false_share < 0.1 + 3 * np.sqrt(0.1 * 0.9 / n_flagged)


def test_saved_files_hold_every_row_once(audited, tmp_path):
    names = [f"image {i}.png" for i in range(len(audited.p_values))]
    audited.save(tmp_path / "new", row_names=names)
    with (tmp_path / "new" / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    with (tmp_path / "new" / "clean_index.csv").open(newline="") as file:
        clean = list(csv.DictReader(file))
    rows = [int(line["row"]) for line in suspects + clean]
    assert sorted(rows) == list(range(len(names)))
    first = suspects[0]
    row = audited.suspects[0]
    assert int(first["row"]) == row
    assert first["name"] == names[row]
    assert first["claimed_label"] == str(audited.claimed_labels[row])
    assert first["likely_label"] == str(audited.likely_labels[row])
    assert float(first["p_value"]) == audited.p_values[row]
    assert float(first["q_value"]) == audited.q_values[row]
    assert float(first["score"]) == audited.scores[row]
    summary = json.loads((tmp_path / "new" / "audit.json").read_text())
    assert summary["n_suspects"] == len(suspects)
    assert sum(summary["suspects_by_class"].values()) == len(suspects)


def test_saved_files_without_names_have_no_name_column(audited, tmp_path):
    audited.save(tmp_path)
    header = (tmp_path / "suspects.csv").read_text().splitlines()[0]
    assert header == "row,claimed_label,likely_label,p_wrong,p_value,q_value,score"
    assert (tmp_path / "clean_index.csv").read_text().splitlines()[0] == "row"


@pytest.mark.parametrize("escapes", [True, False])
def test_names_and_labels_that_are_formulas_are_escaped(flipped, escapes, tmp_path):
    X, claimed, _ = flipped
    labels = np.array(["=1+1", "-2", "+cmd|' /C calc'!A0", "@x", *"efghij"])[claimed]
    result = audit(X, labels, estimator=LINEAR, random_state=0)
    names = [f"\t=HYPERLINK({i})" for i in range(len(X))]
    result.save(tmp_path, names, escape_formulas=escapes)
    with (tmp_path / "suspects.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(result.suspects)
    before = "'" if escapes else ""
    for line, row in zip(lines, result.suspects, strict=True):
        assert line["name"] == f"{before}{names[row]}"
        is_formula = labels[row][0] in "=+@"
        assert line["claimed_label"] == (before if is_formula else "") + labels[row]
        assert float(line["score"]) == result.scores[row]


def test_all_rows_are_a_table(audited):
    names = [f"f\udce9-{i}.png" for i in range(len(audited.p_values))]
    frame = audited.to_frame(names)
    assert frame["row"].to_list() == list(range(len(frame)))
    assert frame["name"][3] == "f\\udce9-3.png"
    assert frame["claimed_label"].to_list() == audited.claimed_labels.tolist()
    np.testing.assert_array_equal(frame["p_wrong"], audited.p_wrong)
    np.testing.assert_array_equal(frame["fold"], audited.folds)
    suspects = frame.filter("is_suspect").sort("p_wrong", descending=True)
    assert sorted(suspects["row"]) == sorted(audited.suspects)
    with pytest.raises(ValueError, match="row_names has 1 entries"):
        audited.to_frame(["a.png"])
    by_trusted = dataclasses.replace(audited, p_wrong=None, too_rare=np.array([2]))
    frame = by_trusted.to_frame()
    assert "name" not in frame.columns
    assert frame["p_wrong"].null_count() == len(frame)
    assert frame["p_wrong"].dtype == polars.Float64
    assert frame.filter("is_too_rare")["row"].to_list() == [2]


def test_a_notebook_shows_the_most_suspect_rows(audited):
    hostile = "<script>alert(1)</script>"
    labels = np.array([hostile, "b"])[audited.claimed_labels % 2]
    shown = dataclasses.replace(audited, claimed_labels=labels)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert f"{len(audited.suspects)} of {len(labels)} rows suspect at fdr=0.1" in shown
    assert "estimated share of wrong labels" in shown
    assert shown.count("<tr>") == 11
    assert f"and {len(audited.suspects) - 10} more" in shown
    assert f"<td>{audited.suspects[0]}</td>" in shown
    nothing = dataclasses.replace(audited, p_wrong=np.full(len(labels), 1e-9))
    nothing = dataclasses.replace(nothing, q_values=np.ones(len(labels)))
    assert "<table>" not in nothing._repr_html_()


def test_interrupted_audit_takes_finished_folds(flipped, audited, tmp_path):
    X, claimed, _ = flipped
    done = []

    def interrupt(stage, n_done, n_steps):
        done.append(n_done)
        if n_done == 3:
            raise Interrupted

    settings = {"estimator": LINEAR, "random_state": 0, "resume_from": tmp_path}
    with pytest.raises(Interrupted):
        audit(X, claimed, progress=interrupt, **settings)
    kept = list(tmp_path.rglob("*.sklgm"))
    assert len(kept) == 3
    before = [path.stat().st_mtime_ns for path in kept]
    result = audit(X, claimed, **settings)
    np.testing.assert_array_equal(result.p_values, audited.p_values)
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert len(list(tmp_path.rglob("*.sklgm"))) == 5


@pytest.mark.slow
def test_interrupted_audit_with_the_default_estimator_is_resumed_elsewhere(
    flipped, tmp_path
):
    # In another process, where nothing has the same address.
    script = (
        "import numpy as np, sys; from sklgm import audit\n"
        "d = np.load(sys.argv[1])\n"
        "def stop(stage, n_done, n_steps):\n"
        "    if (stage, n_done) == ('train and score folds', int(sys.argv[3])):\n"
        "        sys.exit(0)\n"
        "r = audit(d['X'], d['y'], cv=2, max_epochs=1, random_state=0, progress=stop,\n"
        "          resume_from=sys.argv[2])\n"
        "assert ' at 0x' not in r.settings['estimator'], r.settings\n"
    )
    np.savez(tmp_path / "d.npz", X=flipped[0][:200], y=flipped[1][:200])
    folder = tmp_path / "stages"
    for stop_after, n_stages in ((1, 1), (9, 2)):
        arguments = [tmp_path / "d.npz", folder, stop_after]
        command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
        subprocess.run(command, check=True)
        assert len(list(folder.rglob("*.sklgm"))) == n_stages


def test_estimator_that_cannot_be_pickled_is_named(flipped, tmp_path):
    steps = [FunctionTransformer(lambda X: X), LogisticRegression()]
    with pytest.raises(ValueError, match="resume_from needs an estimator and a cv"):
        audit(*flipped[:2], estimator=make_pipeline(*steps), resume_from=tmp_path)


def test_probabilities_that_are_nan_are_refused(flipped):
    class Diverged(GaussianNB):
        def predict_joint_log_proba(self, X):
            return np.full((len(X), 10), np.nan)

    X, claimed, _ = flipped
    for trusted in (None, (X + 1e-3, claimed)):
        with pytest.raises(ValueError, match="Did its training diverge"):
            audit(X, claimed, estimator=Diverged(), trusted=trusted, cv=2)


def test_trusted_rows_that_are_audited_too_are_told(flipped):
    X, claimed, _ = flipped
    with pytest.warns(UserWarning, match="400 trusted rows are rows of X too"):
        audit(X, claimed, estimator=LINEAR, trusted=(X[:400], claimed[:400]), cv=2)


def test_classifier_that_knows_nothing_is_told():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4000, 3)), rng.integers(2, size=4000)
    with pytest.warns(UserWarning, match="certain of hardly any row"):
        audit(X, y, estimator=LogisticRegression(), cv=2, random_state=0)


def test_probabilities_of_zero_give_no_p_value_of_zero():
    # A tree says 0 or 1, and is often wrong: certain at any level it would be of none.
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=3000)
    X = rng.normal(size=(3000, 5)) + np.eye(3, 5)[y]
    tree = DecisionTreeClassifier(random_state=0)
    result = audit(X, y, estimator=tree, random_state=0)
    is_zero = result.log_proba[np.arange(3000), y] < -1.0
    assert np.mean(is_zero) > 0.2
    assert np.isfinite(result.scores).all()
    assert result.p_values[is_zero].min() > 1e-4


def test_folds_may_have_different_sizes():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    held_out = np.split(order, [75, 110])
    splits = [(np.setdiff1d(order, rows), rows) for rows in held_out]
    result = audit(X, y, cv=splits, max_epochs=3, random_state=0)
    assert np.bincount(result.folds).tolist() == [75, 35, 40]


def test_names_that_are_no_unicode_are_saved(audited, tmp_path):
    names = [f"f\udce9-{i}.png" for i in range(len(audited.p_values))]
    audited.save(tmp_path, row_names=names)
    assert "f\\udce9-" in (tmp_path / "suspects.csv").read_text(encoding="utf-8")
    assert not list(tmp_path.glob(".*.partial"))


def test_other_settings_take_no_finished_folds(flipped, tmp_path):
    X, claimed, _ = flipped
    for max_depth in (5, 6):
        tree = DecisionTreeClassifier(max_depth=max_depth, random_state=0)
        audit(X, claimed, estimator=tree, cv=2, random_state=0, resume_from=tmp_path)
    assert len(list(tmp_path.rglob("*.sklgm"))) == 4


def test_progress_counts_folds(flipped):
    calls = []
    audit(
        *flipped[:2],
        estimator=LINEAR,
        cv=3,
        random_state=0,
        progress=lambda *call: calls.append(call),
    )
    stage = "train and score folds"
    assert calls == [(stage, n_done, 3) for n_done in range(4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_kind": "density"}, "score_kind must be one of posterior, likelihood"),
        ({"score_kind": "likelihood"}, "score_kind='likelihood' needs trusted rows"),
        ({"false_alarm_rate": 0}, r"false_alarm_rate must be a float in \(0, 1\), got"),
        ({"false_alarm_rate": True}, "false_alarm_rate must be a float"),
        ({"max_epochs": 0}, "max_epochs must be an int of at least 1, or None, got 0"),
        ({"cv": 1}, "cv must be at least 2 folds, got cv=1"),
        ({"n_repeats": 0}, "n_repeats must be 'auto' or an int of at least 1, got 0"),
        ({"n_repeats": True}, "n_repeats must be 'auto' or an int of at least 1"),
        (
            {"n_repeats": 2, "cv": KFold(3)},
            "n_repeats=2, but repeats need cv as a number",
        ),
        ({"estimator": RidgeClassifier()}, "estimator must have predict_log_proba or"),
        ({"max_epochs": True}, "max_epochs must be an int of at least 1, or None"),
        ({"device": "gpu9"}, "device"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:30],
)
def test_bad_settings_are_named(flipped, settings, message):
    with pytest.raises(ValueError, match=message):
        audit(*flipped[:2], **settings)


def test_bad_trusted_rows_are_named(flipped):
    X, claimed, _ = flipped
    known = X + np.float32(1e-3)
    with pytest.raises(TypeError, match=r"trusted must be a tuple \(X_trusted, y_tr"):
        audit(X, claimed, trusted=X)
    level = {"false_alarm_rate": 0.01}
    with pytest.raises(ValueError, match="needs at least 99 trusted rows, got 50"):
        audit(X, claimed, trusted=(known[:50], claimed[:50]), **level)
    with pytest.raises(ValueError, match="trusted rows must have the shape"):
        audit(X, claimed, trusted=(X[:, :3], claimed))
    with pytest.raises(ValueError, match=r"y_trusted holds \[77\]"):
        audit(X, claimed, trusted=(known, np.where(claimed == 0, 77, claimed)))
    is_zero = claimed == 0
    with pytest.raises(ValueError, match="there are none of class 0"):
        audit(
            X,
            claimed,
            trusted=(known[~is_zero], claimed[~is_zero]),
            score_kind="likelihood",
        )


def test_bad_rows_are_named(flipped):
    X, claimed, _ = flipped
    with pytest.raises(ValueError, match="y must have at least 2 classes to audit"):
        audit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="y must have a label for each of the 1797"):
        audit(X, claimed[:-1])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        audit(np.where(X == X[0, 0], np.nan, X), claimed, estimator=LINEAR[1])
    with pytest.raises(ValueError, match="Input X contains infinity"):
        audit(np.where(X == X[0, 0], np.inf, X), claimed)
    with pytest.raises(ValueError, match="Unknown label type"):
        audit(X, claimed + 0.5)


def test_frozen_estimator_must_know_the_classes(flipped):
    X, claimed, _ = flipped
    is_known = claimed < 9
    frozen = FrozenEstimator(LINEAR.fit(X[is_known], claimed[is_known]))
    with pytest.raises(ValueError, match="estimator knows the classes"):
        audit(X, claimed, estimator=frozen)


def test_repeated_splits_give_the_geometric_mean_of_probabilities(flipped):
    X, claimed, _ = flipped
    X, claimed = X[:300], claimed[:300]
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=0)
    result = audit(X, claimed, estimator=tree, cv=3, n_repeats=2, random_state=0)
    seed = result.settings["seed"]
    log_proba = np.mean(
        [
            audit(
                X,
                claimed,
                estimator=tree,
                cv=StratifiedKFold(3, shuffle=True, random_state=each),
            ).log_proba
            for each in (seed, seed + 1)
        ],
        axis=0,
    )
    log_proba -= logsumexp(log_proba, axis=1, keepdims=True)
    np.testing.assert_allclose(result.log_proba, log_proba, atol=1e-9)
    assert result.settings["n_repeats"] == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_row_without_any_class_stays_one_in_repeated_splits():
    X, y = load_iris(return_X_y=True)
    fitted = FrozenEstimator(GaussianNB().fit(X, y))
    X[7] = 1e200  # infinitely far from all classes
    for n_repeats in (1, 3):
        result = audit(
            X,
            y,
            estimator=fitted,
            false_alarm_rate=0.01,
            n_repeats=n_repeats,
            random_state=0,
        )
        assert result.p_values[7] == 0.0
        assert result.is_suspect[7]


def test_few_rows_are_split_several_times_unless_networks_are_trained(flipped):
    X, claimed, _ = flipped
    few = slice(0, 200)
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)

    def n_repeats(*args, **settings):
        result = audit(*args, cv=2, max_epochs=1, random_state=0, **settings)
        return result.settings["n_repeats"]

    assert n_repeats(X[few], claimed[few], estimator=tree) == 5
    assert n_repeats(X[few], claimed[few], estimator=tree, n_repeats=1) == 1
    assert n_repeats(X, claimed, estimator=tree) == 1
    frozen = FrozenEstimator(tree.fit(X[few], claimed[few]))
    assert n_repeats(X[few], claimed[few], estimator=frozen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one epoch learns little
        assert n_repeats(X[few], claimed[few]) == 1
    known = (X[few] + np.float32(1e-3), claimed[few])
    level = {"false_alarm_rate": 0.01}
    assert n_repeats(X[few], claimed[few], estimator=tree, trusted=known, **level) == 1
    with pytest.raises(ValueError, match="n_repeats must be 'auto' or an int"):
        audit(None, claimed, pred_probs=np.eye(10)[claimed], n_repeats=True)
    with pytest.raises(ValueError, match="n_repeats needs models"):
        audit(None, claimed, pred_probs=np.eye(10)[claimed], n_repeats=2)
    with pytest.raises(ValueError, match="n_repeats=3, but trusted rows are compared"):
        audit(X, claimed, estimator=tree, trusted=known, n_repeats=3, **level)


def test_names_with_a_carriage_return_survive_a_list(tmp_path):
    path = tmp_path / "list.csv"
    lines = [["row", "name"], [0, "Icon\r"], [1, "plain"]]
    write_csv(path, lines, True)
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["row", "name"],
            ["0", "Icon\r"],
            ["1", "plain"],
        ]
    assert path.read_bytes().count(b"\r") == 1
