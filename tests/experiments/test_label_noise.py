import dataclasses

import numpy as np
import pytest

from sklgm import AuditResult
from sklgm.experiments import preset_config, run
from sklgm.experiments._label_noise import cleanlab_records, label_noise_records


@pytest.fixture(scope="module")
def noise_run():
    config = preset_config(
        "digits",
        protocols=("label-noise",),
        noise_shares=(0.0, 0.1),
        audit_folds=2,
        audit_epochs=25,
    )
    return run(config)[0]


def value(result, metric, attack):
    (record,) = [r for r in result.records if r.metric == metric and r.attack == attack]
    return record


@pytest.mark.slow
def test_flipped_rows_are_found_on_the_digits(noise_run):
    flips = "flip_labels_10_percent"
    assert value(noise_run, "flipped_flagged", flips).value > 0.8
    assert value(noise_run, "flipped_among_most_suspect", flips).value > 0.8
    assert value(noise_run, "auroc", flips).value > 0.95
    assert value(noise_run, "clean_flagged", "none").value < 0.05


@pytest.mark.slow
def test_metrics_of_flips_are_not_recorded_where_there_are_none(noise_run):
    metrics = {r.metric for r in noise_run.records if r.attack == "none"}
    assert "flipped_flagged" not in metrics
    assert "auroc" not in metrics
    assert "clean_flagged" in metrics


@pytest.mark.slow
def test_rates_come_with_counts_and_intervals(noise_run):
    flips = "flip_labels_10_percent"
    n_rows = value(noise_run, "estimated_noise_share", flips).n
    record = value(noise_run, "flipped_flagged", flips)
    assert record.n == record.n_poisons == round(0.1 * n_rows)
    assert record.low < record.value < record.high
    assert value(noise_run, "clean_flagged", flips).n == n_rows - record.n


@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row")
def test_no_backbone_is_trained_for_the_audits_alone(monkeypatch):
    def refuse(*args):
        raise AssertionError("backbones were trained")

    monkeypatch.setattr("sklgm.experiments._run.train_backbones", refuse)
    config = preset_config(
        "digits",
        protocols=("label-noise",),
        noise_shares=(0.0,),
        audit_folds=2,
        audit_epochs=1,
    )
    assert run(config)[0].records


@pytest.fixture
def toy():
    """Labels, and an audit of them in which two of eight were flipped."""
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    claimed = np.array([1, 1, 0, 0, 1, 1, 1, 1])  # rows 0 and 1 were flipped
    p_values = np.array([0.001, 0.5, 0.005, 0.9, 0.8, 0.7, 0.6, 0.95])
    q_values = np.array([0.01, 0.9, 0.05, 1, 1, 1, 1, 1])
    found = AuditResult(
        claimed_labels=claimed,
        likely_labels=np.array([0, 1, 0, 0, 1, 1, 1, 0]),
        scores=np.log(p_values),
        p_values=p_values,
        q_values=q_values,
        folds=np.zeros(8, dtype=int),
        classes=np.array([0, 1]),
        false_alarm_rate=0.01,
        threshold=-4.0,
        score_kind="posterior",
        n_trusted=0,
        noise_share=0.25,
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
    return y, found


def test_records_count_what_the_audit_says(toy):
    y, found = toy
    config = preset_config("digits", protocols=("label-noise",))
    records = label_noise_records(config, "toy", 0.25, y, found)
    values = {r.metric: (r.value, r.n) for r in records}
    assert values["clean_flagged"] == (1 / 6, 6)
    assert values["flipped_flagged"] == (0.5, 2)
    assert values["flipped_among_most_suspect"] == (0.5, 2)
    assert values["false_discoveries"] == (0.5, 2)
    assert values["cross_validated_accuracy"] == (6 / 8, 8)
    assert values["estimated_noise_share"] == (0.25, 8)
    # Row 0 is before all six clean ones, row 1 before five of them.
    assert values["auroc"][0] == pytest.approx((6 + 5) / 12)
    assert {r.attack for r in records} == {"flip_labels_25_percent"}


def test_cleanlab_ranks_by_the_same_probabilities(toy, monkeypatch):
    calls = []

    class Rank:
        @staticmethod
        def get_label_quality_scores(labels, pred_probs):
            calls.append((labels, pred_probs))
            # What its default, self-confidence, is.
            return pred_probs[np.arange(len(labels)), labels]

    monkeypatch.setattr(
        "sklgm.experiments._label_noise.import_extra", lambda *names: Rank
    )
    y, found = toy
    config = preset_config("digits", protocols=("label-noise",))
    records = cleanlab_records(config, "toy", 0.25, y, found)
    ((labels, pred_probs),) = calls
    np.testing.assert_array_equal(labels, found.claimed_labels)
    np.testing.assert_allclose(pred_probs.sum(axis=1), 1.0)
    by_arm = {r.arm: r for r in records}
    # p(claim) is 0.1, 0.8, 0.6, 0.7, 0.95...: rows 0 and 2 come first.
    assert by_arm["cleanlab"].value == 0.5
    assert by_arm["audit minus cleanlab"].value == 0.0
    assert by_arm["audit minus cleanlab"].low == 0.0


def test_rival_that_is_missing_is_named_before_the_work(monkeypatch):
    def missing(module, extra):
        raise ImportError(f"{module} is needed here: sklgm[{extra}]")

    monkeypatch.setattr("sklgm.experiments._label_noise.import_extra", missing)
    monkeypatch.setattr("sklgm.experiments._label_noise.audit", None)
    config = preset_config(
        "digits", protocols=("label-noise",), noise_rivals=("cleanlab",)
    )
    with pytest.raises(ImportError, match=r"cleanlab is needed here: sklgm\[bench\]"):
        run(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_shares": (1.0,)}, r"noise_shares must hold floats in \[0, 1\)"),
        ({"noise_shares": ()}, "noise_shares must be a tuple of at least 1"),
        ({"noise_shares": (0.1, 0.1)}, "noise_shares must hold different values"),
        ({"noise_rivals": ("art",)}, "noise_rivals must be some of"),
        ({"audit_folds": 1}, "audit_folds must be at least 2, got 1"),
        ({"audit_epochs": 0}, "audit_epochs must be at least 1 or None, got 0"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(preset_config("digits"), **changes)
