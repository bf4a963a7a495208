import dataclasses

import numpy as np
import pytest

from sklgm import AuditResult
from sklgm.experiments import preset_config, run
from sklgm.experiments._label_noise import label_noise_records


@pytest.fixture(scope="module")
def noise_run():
    config = preset_config(
        "digits",
        protocols=("label-noise",),
        noise_shares=(0.0, 0.1),
        audit_folds=2,
        audit_epochs=40,
    )
    return run(config)[0]


def value(result, metric, attack):
    (record,) = [r for r in result.records if r.metric == metric and r.attack == attack]
    return record


def test_flipped_rows_are_found_on_the_digits(noise_run):
    flips = "flip_labels_10_percent"
    assert value(noise_run, "flipped_flagged", flips).value > 0.8
    assert value(noise_run, "flipped_among_most_suspect", flips).value > 0.8
    assert value(noise_run, "auroc", flips).value > 0.95
    assert value(noise_run, "clean_flagged", "none").value < 0.05


def test_metrics_of_flips_are_not_recorded_where_there_are_none(noise_run):
    metrics = {r.metric for r in noise_run.records if r.attack == "none"}
    assert "flipped_flagged" not in metrics
    assert "auroc" not in metrics
    assert "clean_flagged" in metrics


def test_rates_come_with_counts_and_intervals(noise_run):
    flips = "flip_labels_10_percent"
    n_rows = value(noise_run, "estimated_noise_share", flips).n
    record = value(noise_run, "flipped_flagged", flips)
    assert record.n == record.n_poisons == round(0.1 * n_rows)
    assert record.low < record.value < record.high
    assert value(noise_run, "clean_flagged", flips).n == n_rows - record.n


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


def test_records_count_what_the_audit_says():
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
    )
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_shares": (1.0,)}, r"noise_shares must hold floats in \[0, 1\)"),
        ({"noise_shares": ()}, "noise_shares must be a tuple of at least 1"),
        ({"noise_shares": (0.1, 0.1)}, "noise_shares must hold different values"),
        ({"audit_folds": 1}, "audit_folds must be at least 2, got 1"),
        ({"audit_epochs": 0}, "audit_epochs must be at least 1 or None, got 0"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(preset_config("digits"), **changes)
