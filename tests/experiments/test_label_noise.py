from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from sklgm import AuditResult
from sklgm.experiments import RunSettings, run
from sklgm.experiments._protocol import Context
from sklgm.experiments.label_noise import (
    LabelNoiseSettings,
    _claimed,
    _metrics,
    _rival_metrics,
)
from tests.experiments.conftest import chosen


def digits_run(**settings):
    return run(RunSettings(), {"label-noise": LabelNoiseSettings(cv=2, **settings)})[0]


@pytest.fixture(scope="module")
def noise_table():
    return digits_run(shares=(0.0, 0.1), max_epochs=25).table


def row(table, metric, share, detector="audit"):
    rows = chosen(table, metric=metric, share=share, detector=detector)
    return rows.row(0, named=True)


@pytest.mark.slow
def test_flipped_rows_are_found_on_the_digits(noise_table):
    assert row(noise_table, "flipped_flagged", 0.1)["value"] > 0.8
    assert row(noise_table, "flipped_among_most_suspect", 0.1)["value"] > 0.8
    assert row(noise_table, "auroc", 0.1)["value"] > 0.95
    assert row(noise_table, "clean_flagged", 0.0)["value"] < 0.05
    assert row(noise_table, "false_discoveries", 0.1)["value"] < 0.2


@pytest.mark.slow
def test_metrics_of_flips_are_not_recorded_where_there_are_none(noise_table):
    without = noise_table.filter(share=0.0)
    assert set(without["attack"]) == {None}
    assert set(without["n_poisons"]) == {0}
    metrics = set(without["metric"])
    assert "flipped_flagged" not in metrics
    assert "auroc" not in metrics
    assert "clean_flagged" in metrics


@pytest.mark.slow
def test_rates_come_with_counts_and_intervals(noise_table):
    n_rows = row(noise_table, "estimated_noise_share", 0.1)["n"]
    found = row(noise_table, "flipped_flagged", 0.1)
    assert found["n"] == found["n_poisons"] == round(0.1 * n_rows)
    assert found["low"] < found["value"] < found["high"]
    assert row(noise_table, "clean_flagged", 0.1)["n"] == n_rows - found["n"]
    flips = noise_table.filter(pl.col("share") > 0)
    assert set(flips["attack"]) == {"flip_labels"}
    detectors = {("lgm", "audit"), ("lgm", "audit, level 0.01")}
    assert set(noise_table.select("victim", "detector").rows()) == detectors


@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row")
@pytest.mark.filterwarnings("ignore:The model of right and wrong labels")
def test_no_network_is_trained_for_the_audits_alone(monkeypatch):
    def refuse(self, name, clf):
        raise AssertionError("networks were trained")

    monkeypatch.setattr(Context, "trained", refuse)
    assert len(digits_run(shares=(0.0,), max_epochs=1).table) > 0


@pytest.fixture
def toy():
    """Labels, and an audit of them in which two of eight were flipped."""
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    claimed = np.array([1, 1, 0, 0, 1, 1, 1, 1])  # rows 0 and 1 were flipped
    p_values = np.array([0.001, 0.5, 0.005, 0.9, 0.8, 0.7, 0.6, 0.95])
    q_values = np.array([0.01, 0.9, 0.05, 1, 1, 1, 1, 1])
    audited = AuditResult(
        claimed_labels=claimed,
        likely_labels=np.array([0, 1, 0, 0, 1, 1, 1, 0]),
        scores=np.log(p_values),
        p_values=p_values,
        q_values=q_values,
        folds=np.zeros(8, dtype=int),
        classes=np.array([0, 1]),
        false_alarm_rate=None,
        fdr=0.1,
        threshold=-4.0,
        score_kind="posterior",
        n_trusted=0,
        noise_share=0.25,
        power=1.0,
        temperature=1.0,
        map_rows=np.arange(8),
        map_features=np.zeros((8, 0)),
        typical_rows=np.full((2, 4), -1),
        settings={},
        environment={},
        log_proba=np.log(
            [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3], *[[0.05, 0.95]] * 4]
        ),
    )
    return y, audited


def test_metrics_count_what_the_audit_says(toy):
    found = {(d, m): c for d, m, c in _metrics(*toy, rivals=(), seed=0)}
    values = {
        metric: (columns["value"], columns["n"])
        for (detector, metric), columns in found.items()
        if detector == "audit"
    }
    # q is at most 0.1 for rows 0 and 2, of which row 0 was flipped.
    assert values["clean_flagged"] == (1 / 6, 6)
    assert values["flipped_flagged"] == (0.5, 2)
    assert values["flipped_among_most_suspect"] == (0.5, 2)
    assert values["false_discoveries"] == (0.5, 2)
    assert values["cross_validated_accuracy"] == (6 / 8, 8)
    assert values["estimated_noise_share"] == (0.25, 8)
    # Row 0 is before all six clean ones, row 1 before five of them.
    assert values["auroc"][0] == pytest.approx((6 + 5) / 12)
    # p is at most 0.01 for the same rows.
    assert found["audit, level 0.01", "flipped_flagged"]["value"] == 0.5


def test_cleanlab_judges_by_the_same_probabilities(toy, monkeypatch):
    calls = []

    class Cleanlab:
        @staticmethod
        def get_label_quality_scores(labels, pred_probs):
            calls.append((labels, pred_probs))
            # What its default, self-confidence, is.
            return pred_probs[np.arange(len(labels)), labels]

        @staticmethod
        def find_label_issues(labels, pred_probs, n_jobs):
            calls.append((labels, pred_probs))
            return np.arange(len(labels)) < 3

    monkeypatch.setattr(
        "sklgm.experiments.label_noise.import_extra", lambda *names: Cleanlab
    )
    y, audited = toy
    found = dict(_rival_metrics(audited.claimed_labels != y, audited, seed=0))
    assert len(calls) == 2
    for labels, pred_probs in calls:
        np.testing.assert_array_equal(labels, audited.claimed_labels)
        np.testing.assert_allclose(pred_probs.sum(axis=1), 1.0)
    # p(claim) is 0.1, 0.8, 0.6, 0.7, 0.95...: rows 0 and 2 come first.
    assert found["flipped_among_most_suspect"]["value"] == 0.5
    difference = found["flipped_among_most_suspect_difference"]
    assert (difference["value"], difference["low"]) == (0.0, 0.0)
    assert found["flipped_flagged"]["value"] == 1.0
    assert found["false_discoveries"]["value"] == pytest.approx(1 / 3)
    # Row 0 is before all six right claims; row 1 (0.8) after those of 0.6 and 0.7.
    assert found["auroc"]["value"] == pytest.approx((6 + 4) / 12)


@pytest.fixture
def people(tmp_path):
    """A data home whose CIFAR-10N is all classes in turn, one label in ten wrong."""
    true = np.arange(50_000) % 10
    claimed = np.where(np.arange(50_000) % 100 < 10, (true + 1) % 10, true)
    (tmp_path / "human-labels").mkdir()
    arrays = {"true": true, "aggregate": claimed, "random1": (true + 2) % 10}
    np.savez(tmp_path / "human-labels" / "cifar10n.npz", **arrays)
    return SimpleNamespace(home=str(tmp_path), true=true, claimed=claimed)


@pytest.mark.parametrize("names", [np.arange(10), np.array(list("abcdefghij"))])
def test_labels_of_people_go_to_their_rows(people, names):
    rows = np.array([5, 3, 49_999, 100, 12, 27, 48, 36, 1104, 101])
    partition = SimpleNamespace(name="toy", backbone_rows=rows[:6], refit_rows=rows[6:])
    settings = RunSettings(data_home=people.home)
    y = names[people.true[rows]]
    claimed = _claimed("human", None, y, partition, settings)
    np.testing.assert_array_equal(claimed, names[people.claimed[rows]])
    claimed = _claimed("human-single", None, y, partition, settings)
    np.testing.assert_array_equal(claimed, names[(people.true[rows] + 2) % 10])


def test_labels_of_people_are_for_their_images_alone(people):
    with pytest.raises(ValueError, match=r"labels='human' are those of the training"):
        run(
            RunSettings(data_home=people.home),
            {"label-noise": LabelNoiseSettings(labels=("human",))},
        )


def test_missing_labels_of_people_are_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("sklgm.experiments.label_noise.audit", None)
    with pytest.raises(FileNotFoundError, match=r"cifar10n\.npz is missing"):
        run(
            RunSettings(data_home=str(tmp_path)),
            {"label-noise": LabelNoiseSettings(labels=("human",))},
        )


def test_people_made_no_shares():
    settings = LabelNoiseSettings(labels=("pair", "human"), shares=(0.1, 0.2))
    assert settings.plan == [("pair", 0.1), ("pair", 0.2), ("human", None)]


def test_rival_that_is_missing_is_named_before_the_work(monkeypatch):
    def missing(module, extra):
        raise ImportError(f"{module} is needed here: sklgm[{extra}]")

    monkeypatch.setattr("sklgm.experiments.label_noise.import_extra", missing)
    monkeypatch.setattr("sklgm.experiments.label_noise.audit", None)
    with pytest.raises(ImportError, match=r"cleanlab is needed here: sklgm\[bench\]"):
        digits_run(rivals=("cleanlab",))
