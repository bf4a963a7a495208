"""Protocol contamination: growing shares of poisons, trimmed by each rule."""

import dataclasses

import numpy as np
import pytest
from jsonschema import validate

from sklgm import LGMClassifier
from sklgm.experiments import ExperimentConfig, run
from sklgm.experiments._contamination import (
    AUTO,
    ORACLE,
    contamination_counts,
    make_trimmed_victims,
)
from sklgm.experiments._judging import rows_kept_by_trim
from sklgm.results import results_schema
from tests.experiments.conftest import tiny_config

VARIANCES = {"softmax": 1.0, "lgm": 1.0}
TRIMMED = ("lgm_trim", "softmax_trimmed_gaussians")


def config_of(path, **changes):
    settings = {"protocols": ("contamination",), "contamination_shares": (0.1, 0.2)}
    settings["n_targets"] = 2
    return tiny_config(path, **settings | changes)


@pytest.fixture(scope="module")
def contamination_run(tiny_npz):
    return run(config_of(tiny_npz), n_jobs=1)[0]


def victims():
    return make_trimmed_victims(
        ExperimentConfig(), VARIANCES, counts=(2, 25), n_of_class=250
    )


def test_every_rule_has_a_head_and_an_oracle_knows_the_share():
    trims = {(v.model, v.arm, v.only_count): v.head.trim for v in victims()[1:]}
    expected = {("lgm", "attack", None): 0.0}
    for model in TRIMMED:
        expected |= {
            (model, "attack", None): 0.25,
            (model, AUTO, None): "auto",
            (model, ORACLE, 2): 2 / 250,
            (model, ORACLE, 25): 25 / 250,
        }
    assert trims == expected
    assert victims()[0].model == "softmax"


def test_an_oracle_is_refitted_for_its_own_count_only():
    counts = {v.only_count: v.counts((2, 5, 25)) for v in victims()}
    assert counts == {None: [2, 5, 25], 2: [2], 25: [25]}
    main = victims()[0]
    assert dataclasses.replace(main, only_most=True).counts((2, 5, 25)) == [25]


def test_counts_are_shares_of_a_class():
    y = np.repeat([0, 1, 2], [40, 40, 60])
    assert contamination_counts((0.2, 0.01, 0.1), y) == (1, 4, 8)
    assert contamination_counts((0.001, 0.002), y) == (1,)
    assert contamination_counts((0.499,), y) == (19,)  # trim must be below one half
    with pytest.raises(ValueError, match=r"contamination_shares=.* at least 3 rows"):
        contamination_counts((0.1,), y[38:42])


@pytest.mark.parametrize("shares", [(0.0,), (0.5,), (-0.1, 0.2), ("a",)])
def test_a_share_that_no_class_survives_is_an_error(shares):
    with pytest.raises(ValueError, match=r"contamination_shares must hold floats in"):
        ExperimentConfig(contamination_shares=shares)


def test_every_model_and_rule_is_recorded_at_every_share(contamination_run):
    validate(contamination_run.to_dict(), results_schema())
    records = contamination_run.records
    assert {r.protocol for r in records} == {"contamination"}
    rates = {
        (r.n_poisons, r.model, r.arm)
        for r in records
        if r.metric == "attack_success_rate" and r.n_poisons
    }
    assert {n for n, *_ in rates} == {3, 6}  # of 30 rows a class
    for n_poisons in (3, 6):
        arms = {key[1:] for key in rates if key[0] == n_poisons}
        expected = {(m, a) for m in TRIMMED for a in ("attack", AUTO, ORACLE)}
        expected |= {("softmax", "attack"), ("lgm", "attack")}
        assert {key for key in arms if key[1] != "common"} == expected
    keys = [(r.n_poisons, r.model, r.arm, r.metric, r.attack) for r in records]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("metric", ["auroc", "tpr_at_1pct_fpr", "clean_accuracy"])
def test_accuracy_and_detection_are_recorded_at_every_share(contamination_run, metric):
    found = {
        (r.n_poisons, r.model, r.arm)
        for r in contamination_run.records
        if r.metric == metric and r.n_poisons
    }
    main = "attack" if metric == "clean_accuracy" else "posterior"
    for n_poisons in (3, 6):
        for model in TRIMMED:
            assert {(n_poisons, model, a) for a in (main, AUTO, ORACLE)} <= found
        assert {(n_poisons, m, main) for m in ("softmax", "lgm")} <= found


def test_what_is_kept_is_recorded_for_every_rule(contamination_run):
    kept = {
        (r.n_poisons, r.model, r.arm): r.value
        for r in contamination_run.records
        if r.metric == "kept_share"
    }
    arms = ("attack", AUTO, ORACLE)
    assert set(kept) == {(n, m, a) for n in (3, 6) for m in TRIMMED for a in arms}
    assert all(0 <= share <= 1 for share in kept.values())


@pytest.mark.parametrize("covariance_type", ["identity", "diag"])
def test_rows_kept_by_a_fixed_share_are_the_most_likely_ones(covariance_type):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 80)
    X = rng.normal(size=(240, 5)) + 3 * np.eye(5)[np.repeat([0, 1, 2], 80)]
    X[:8] += 10.0
    head = LGMClassifier(
        "identity",
        max_epochs=0,
        covariance_type=covariance_type,
        trim=0.2,
        dtype="float64",
        device="cpu",
    ).fit(X, y)
    is_kept = rows_kept_by_trim(head, X, y)
    # Nearest to the means in the end: 64 of 80 rows of each class.
    variances = np.broadcast_to(head.covariances_, head.means_.shape)
    encoded = np.searchsorted(head.classes_, y)
    distances = ((X - head.means_[encoded]) ** 2 / variances[encoded]).sum(axis=1)
    for k in range(3):
        of_class = distances[encoded == k]
        is_near = of_class <= np.sort(of_class)[63]
        np.testing.assert_array_equal(is_kept[encoded == k], is_near)
    assert not is_kept[:8].any()
    automatic = rows_kept_by_trim(head.set_params(trim="auto"), X, y)
    assert not automatic[:8].any()
    assert automatic.sum() > is_kept.sum()


def test_report_has_a_row_a_share_and_rule(contamination_run):
    from sklgm.report import run_tables

    tables = run_tables(contamination_run)
    (table,) = [t for t in tables if t.caption.endswith("growing shares of poisons")]
    names = [row.header for row in table.rows]
    assert names == 2 * [
        "softmax",
        "softmax + trimmed Gaussians",
        "softmax + trimmed Gaussians (auto)",
        "softmax + trimmed Gaussians (oracle)",
        "L-GM",
        "L-GM + trim",
        "L-GM + trim (auto)",
        "L-GM + trim (oracle)",
    ]
    assert [row.detail for row in table.rows] == 8 * ["3 poisons"] + 8 * ["6 poisons"]
    columns = ["Model", "Misled", "AUROC", "Found at 1 % false alarms"]
    assert table.columns == [*columns, "Poisons kept", "Clean accuracy"]
    # Softmax keeps all rows: it has no such number.
    assert [cell is None for cell in table.rows[0].cells] == 3 * [False] + [True, False]
    assert not any(cell is None for cell in table.rows[1].cells)
