"""Fine-tuning of all layers on poisoned rows."""

import dataclasses
import inspect
import json
import pickle

import jsonschema
import numpy as np
import pytest

from sklgm._running import Runner
from sklgm.datasets import load_npz
from sklgm.experiments import ExperimentConfig, run
from sklgm.experiments import _end_to_end as end_to_end
from sklgm.experiments._attack import attacks_of
from sklgm.experiments._backbones import train_backbones, warm_started
from sklgm.experiments._end_to_end import (
    FILTERED,
    PROTOCOL,
    fine_tune,
    fine_tune_control,
    make_starts,
    run_end_to_end,
)
from sklgm.experiments._judging import (
    head_on_features,
)
from sklgm.experiments._partition import fine_tuning_rows, make_partition
from sklgm.experiments._victims import head_variances, make_victims
from sklgm.poisoning._craft import ATTACKS
from sklgm.results import MODELS, results_schema
from tests.experiments.conftest import KINDS, tiny_config

N_TARGETS = 3


def tuning_config(path, **overrides):
    settings = {
        "protocols": (PROTOCOL,),
        "n_end_to_end_targets": N_TARGETS,
        "n_end_to_end_rows": 150,
        "end_to_end_epochs": 1,
        **overrides,
    }
    return tiny_config(path, **settings)


def chosen(records, **values):
    return [
        record
        for record in records
        if all(getattr(record, name) == value for name, value in values.items())
    ]


def weights(clf):
    return {k: v.clone().numpy() for k, v in clf.net_.module_.state_dict().items()}


ALONE = Runner(n_jobs=1)


@pytest.fixture(scope="module")
def trained(tiny_npz):
    """Config, partition and backbones; do not fit them again."""
    config = tuning_config(tiny_npz)
    partition = make_partition(config, load_npz(tiny_npz))
    return config, partition, train_backbones(config, partition, ALONE.progress)


def recorded(config, partition, backbones):
    """Records, trials, and the arguments of every fine-tuning of a run."""
    calls = []

    def spy(*args, **kwargs):
        bound = inspect.signature(fine_tune).bind(*args, **kwargs)
        calls.append(bound.arguments)
        return fine_tune(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(end_to_end, "fine_tune", spy)
        records, trials = run_end_to_end(config, partition, backbones, ALONE)
    return records, trials, calls


@pytest.fixture(scope="module")
def calls(trained):
    return recorded(*trained)


@pytest.fixture(scope="module")
def outcome(tiny_npz):
    stages = {}
    result, data = run(
        tuning_config(tiny_npz),
        progress=lambda stage, n_done, n: stages.update({stage: (n_done, n)}),
        n_jobs=1,
    )
    return result, data, stages


@pytest.mark.slow
def test_only_the_asked_protocol_runs(outcome):
    result, data, stages = outcome
    assert {item.protocol for item in (*result.records, *result.trials)} == {PROTOCOL}
    assert data.scatter is None
    assert not any("white-box" in s or "two-feature" in s for s in stages)


def test_results_validate_against_the_shipped_schema(outcome, tmp_path):
    outcome[0].save(tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, results_schema())
    assert document["config"]["n_end_to_end_used"] == 150


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_an_attack_a_common_and_a_control_arm(outcome, model):
    records = chosen(outcome[0].records, model=model)
    rates = chosen(records, metric="attack_success_rate")
    n_poisons = {r.arm: r.n_poisons for r in rates if r.attack != "none"}
    assert n_poisons["attack"] == n_poisons["common"] == 5
    (control,) = chosen(rates, arm="control")
    assert (control.n_poisons, control.attack) == (0, "none")
    assert all(0 <= r.low <= r.value <= r.high <= 1 for r in rates)
    (attack,) = chosen(rates, arm="attack")
    assert attack.n == N_TARGETS
    assert bool(chosen(rates, arm=FILTERED)) == (model == "softmax")
    accuracies = chosen(records, metric="clean_accuracy")
    assert {"attack", "clean"} <= {r.arm for r in accuracies}
    assert all(r.n == 120 for r in accuracies)


@pytest.mark.parametrize(
    ("model", "arms"),
    [
        ("softmax", {"posterior", FILTERED}),
        ("softmax_trimmed_gaussians", KINDS | {"diag"}),
        ("lgm", KINDS),
        ("lgm_trim", KINDS),
    ],
)
def test_poisons_are_scored_by_the_victims_own_scores(outcome, model, arms):
    for metric in ("auroc", "tpr_at_1pct_fpr"):
        records = chosen(outcome[0].records, model=model, metric=metric)
        assert {r.arm for r in records} == arms
        assert all(0 <= r.value <= 1 and r.n >= N_TARGETS for r in records)


@pytest.mark.parametrize("name", ["softmax", "lgm"])
def test_effort_is_recorded_for_the_poisons_of_each_backbone(outcome, name):
    for metric in ("l2", "linf", "collision_ratio"):
        (record,) = chosen(outcome[0].records, model=name, metric=metric)
        assert record.n % 5 == 0
        assert record.value > 0


def test_rates_are_those_of_the_trials_that_count(outcome):
    result, _, _ = outcome
    for model in MODELS:
        counted = [t for t in result.trials if t.model == model and t.counted]
        assert all(t.control_label == t.target_label for t in counted)
        assert all(
            t.success == (t.predicted_label == t.base_label) for t in result.trials
        )
        (record,) = chosen(
            result.records, metric="attack_success_rate", model=model, arm="attack"
        )
        assert record.value == np.mean([t.success for t in counted])


def test_share_of_poisons_that_were_kept_is_recorded_where_rows_are_left_out(outcome):
    shares = chosen(outcome[0].records, metric="kept_share")
    assert {(r.model, r.arm) for r in shares} == {
        ("lgm_trim", "attack"),
        ("softmax", FILTERED),
        ("softmax_trimmed_gaussians", "attack"),
        ("softmax_trimmed_gaussians", "diag"),
    }
    assert all(0 <= r.value <= 1 for r in shares)


def test_progress_reaches_the_end_of_every_stage(outcome):
    stages = outcome[2]
    assert sum(stage.startswith("fine-tune") for stage in stages) == 5
    assert all(n_done == n for n_done, n in stages.values())


@pytest.mark.slow
def test_same_seed_gives_the_same_records_in_any_number_of_processes(outcome, tiny_npz):
    again, _ = run(tuning_config(tiny_npz), n_jobs=2)
    assert again.records == outcome[0].records
    assert again.trials == outcome[0].trials


def test_backbones_are_not_changed(trained):
    config, partition, backbones = trained
    config = dataclasses.replace(config, n_end_to_end_targets=1)
    before = {name: weights(clf) for name, clf in backbones.items()}
    settings = {name: clf.get_params() for name, clf in backbones.items()}
    run_end_to_end(config, partition, backbones, ALONE)
    for name, clf in backbones.items():
        assert clf.get_params() == settings[name]
        for key, value in weights(clf).items():
            np.testing.assert_array_equal(value, before[name][key])


def test_all_layers_are_trained_from_the_backbones_weights(trained):
    config, partition, backbones = trained
    slow = dataclasses.replace(config, end_to_end_lr=1e-9)
    X, y = partition.X_refit, partition.y_refit
    start = weights(backbones["softmax"])
    parameters = dict(backbones["softmax"].net_.module_.named_parameters())
    still = weights(warm_started(slow, backbones)["softmax"].fit(X, y))
    moved = weights(warm_started(config, backbones)["softmax"].fit(X, y))
    for name in parameters:
        np.testing.assert_allclose(still[name], start[name], atol=1e-6)
        assert not np.array_equal(moved[name], start[name])


def test_the_control_is_the_same_training_without_poisons(trained):
    config, partition, backbones = trained
    X, y = partition.X_refit, partition.y_refit
    for start in make_starts(config, partition, backbones):
        controls = fine_tune_control(start, X, y, partition.X_test)
        as_they_are = fine_tune(
            start, X, y, partition.X_test, np.arange(3), X[:3], (0, y[0], y[0])
        )
        for control, judged in zip(controls, as_they_are, strict=True):
            np.testing.assert_array_equal(control.predicted, judged.predicted)


def test_a_filtered_network_does_not_see_what_the_sieve_drops(trained, monkeypatch):
    config, partition, backbones = trained
    X, y = partition.X_refit, partition.y_refit
    (filtered,) = [
        start
        for start in make_starts(config, partition, backbones)
        if start.sieve is not None
    ]
    seen = []
    fit = type(filtered.model).fit

    def recorded_fit(self, X, y, **settings):
        if self.max_epochs > 0:
            seen.append(X)
        return fit(self, X, y, **settings)

    monkeypatch.setattr(type(filtered.model), "fit", recorded_fit)
    X_poison = np.zeros_like(X[:2])  # nothing like its class
    (judged,) = fine_tune(
        filtered, X, y, partition.X_test, np.arange(2), X_poison, (0, y[0], y[0])
    )
    counts = np.unique(y, return_counts=True)[1]
    assert len(seen) == 1
    assert len(seen[0]) == np.ceil((1 - config.trim) * counts).sum()
    assert not (seen[0] == 0).all(axis=(1, 2, 3)).any()
    assert set(judged.detection) == {"posterior"}
    assert judged.kept_share == 0.0


def test_poisons_replace_unseen_rows_of_the_base_class(trained, calls):
    _, partition, _ = trained
    _, trials, attacked = calls
    softmax = [trial for trial in trials if trial.model == "softmax"]
    unseen = {row.tobytes() for row in partition.X_refit}
    for call, trial in zip(attacked[: len(softmax)], softmax, strict=True):
        rows = call["poisoned_rows"]
        assert len(set(rows)) == len(call["X_poison"]) == trial.n_poisons
        assert set(call["y"][rows]) == {trial.base_label}
        assert trial.base_label != trial.target_label
        assert {row.tobytes() for row in call["X"][rows]} <= unseen


@pytest.mark.slow
@pytest.mark.parametrize("opacity", [0.0, 0.3])
def test_poisons_are_watermarked_with_their_target(trained, opacity):
    """With so strong a penalty a poison stays at the blend where its search starts."""
    config, partition, backbones = trained
    config = dataclasses.replace(
        config,
        watermark_opacity=opacity,
        similarity_weight=1e6,
        n_end_to_end_targets=1,
    )
    _, trials, calls = recorded(config, partition, backbones)
    X, rows, X_poison = (calls[0][name] for name in ("X", "poisoned_rows", "X_poison"))
    X_target = partition.X_test[trials[0].target_index]
    blend = (1 - opacity) * X[rows] + opacity * X_target
    np.testing.assert_allclose(X_poison, blend, atol=1e-3)


def test_a_fine_tuning_can_be_sent_to_another_process(trained, calls):
    call = calls[2][-1]
    here = fine_tune(**call)
    there = fine_tune(**pickle.loads(pickle.dumps(call)))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.predicted, other.predicted)
        assert one.detection == other.detection


@pytest.mark.parametrize("name", ["softmax", "lgm", "lgm_trim"])
def test_head_on_features_judges_as_its_network(trained, name):
    config, partition, backbones = trained
    X, y = partition.X_refit, partition.y_refit
    clf = warm_started(config, backbones)[name].fit(X, y)
    head = head_on_features(clf, clf.transform(X), y)
    features = clf.transform(partition.X_test)
    np.testing.assert_allclose(
        head.predict_log_proba(features),
        clf.predict_log_proba(partition.X_test),
        rtol=1e-4,
        atol=1e-4,
    )
    if name != "softmax":
        np.testing.assert_array_equal(head.means_, clf.means_)
        np.testing.assert_array_equal(head.covariances_, clf.covariances_)


def test_trimmed_network_is_another_than_the_untrimmed(trained):
    config, partition, backbones = trained
    starts = warm_started(config, backbones)
    assert starts["lgm"].trim == 0.0
    assert starts["lgm_trim"].trim == config.trim
    fitted = [
        starts[name].fit(partition.X_refit, partition.y_refit).means_
        for name in ("lgm", "lgm_trim")
    ]
    assert not np.allclose(*fitted)


@pytest.mark.parametrize("name", ["lgm", "lgm_trim"])
def test_fine_tuning_gives_all_parameters_one_rate(trained, name):
    config, partition, _ = trained
    config = dataclasses.replace(config, means_lr_factor=10.0)
    backbones = train_backbones(config, partition, lambda *_: None)
    clf = warm_started(config, backbones)[name]
    clf.fit(partition.X_refit, partition.y_refit)
    rates = {group["lr"] for group in clf.net_.optimizer_.param_groups}
    assert rates == {config.end_to_end_lr}


def test_gaussians_fitted_afterwards_cost_no_training(trained):
    config, partition, backbones = trained
    victims = make_victims(config, head_variances(config, partition, backbones))
    afterwards = [v for v in victims if v.model == "softmax_trimmed_gaussians"]
    assert {victim.head.max_epochs for victim in afterwards} == {0}


@pytest.mark.parametrize(
    ("n_rows", "n_used", "n_seen"), [(60, 60, 0), (150, 150, 60), (10_000, None, None)]
)
def test_rows_are_balanced_and_filled_up_from_the_backbone(
    trained, n_rows, n_used, n_seen
):
    config, partition, _ = trained
    config = dataclasses.replace(config, n_end_to_end_rows=n_rows)
    refit_rows, backbone_rows = fine_tuning_rows(config, partition)
    y = np.concatenate(
        [partition.y_refit[refit_rows], partition.y_backbone[backbone_rows]]
    )
    labels, counts = np.unique(y, return_counts=True)
    assert len(labels) == 3
    assert len(set(counts)) == 1
    assert len(set(refit_rows)) + len(set(backbone_rows)) == len(y)
    if n_used is None:  # all rows of the scarcest class
        every = np.concatenate([partition.y_refit, partition.y_backbone])
        assert counts[0] == np.unique(every, return_counts=True)[1].min()
    else:
        assert (len(y), len(backbone_rows)) == (n_used, n_seen)


def test_too_few_rows_for_the_classes_are_an_error(trained):
    config = dataclasses.replace(trained[0], n_end_to_end_rows=2)
    with pytest.raises(ValueError, match="n_end_to_end_rows=2 gives none of the 3"):
        fine_tuning_rows(config, trained[1])


@pytest.mark.parametrize(
    ("n_asked", "n_rows", "n_poisons"),
    [
        pytest.param(2, 150, 2, id="as many as asked"),
        pytest.param(50, 90, 3, id="a tenth of the class"),
    ],
)
def test_poisons_are_as_many_as_asked_and_at_most_a_tenth_of_their_class(
    trained, n_asked, n_rows, n_poisons
):
    config, partition, backbones = trained
    config = dataclasses.replace(
        config,
        n_end_to_end_poisons=n_asked,
        n_end_to_end_rows=n_rows,
        n_end_to_end_targets=1,
    )
    _, trials, calls = recorded(config, partition, backbones)
    assert {trial.n_poisons for trial in trials} == {n_poisons}
    assert {len(call["poisoned_rows"]) for call in calls} == {n_poisons}


@pytest.mark.slow
def test_every_attack_is_a_row(trained):
    config, partition, backbones = trained
    config = dataclasses.replace(config, attacks=tuple(ATTACKS), n_end_to_end_targets=1)
    records, _ = run_end_to_end(config, partition, backbones, ALONE)
    rates = chosen(records, metric="attack_success_rate", arm="attack")
    assert {(r.model, r.attack) for r in rates} == {
        (model, attack) for model in MODELS for attack in ATTACKS
    }


@pytest.mark.parametrize("matched", ["head", "all"])
def test_gradient_matching_matches_what_the_victims_train(matched):
    config = ExperimentConfig(attacks=("gradient_matching",))
    (planned,) = attacks_of(config, matched_parameters=matched)
    assert planned.attack.parameters == matched


def test_it_is_not_one_of_the_default_protocols():
    assert ExperimentConfig().protocols == ("white-box", "transfer")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_end_to_end_targets", 0),
        ("n_end_to_end_poisons", 0),
        ("n_end_to_end_rows", 0),
        ("end_to_end_epochs", 0),
        ("end_to_end_lr", 0.0),
        ("end_to_end_lr", float("nan")),
        ("watermark_opacity", 1.0),
        ("watermark_opacity", -0.1),
    ],
)
def test_bad_settings_name_the_field_and_the_value(field, value):
    with pytest.raises(ValueError, match=rf"{field} .*{value}"):
        ExperimentConfig(**{field: value})


def test_rows_without_images_run_too(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 60)
    X = rng.normal(size=(120, 5)) + 3.0 * (y == "b")[:, None]
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    result, data = run(tuning_config(tmp_path / "rows.npz"), n_jobs=1)
    rates = chosen(result.records, metric="attack_success_rate", arm="attack")
    assert {rate.model for rate in rates} == set(MODELS)
    assert {t.base_label for t in result.trials} <= {"a", "b"}
    assert data.images == ()


# Growing shares


@pytest.fixture(scope="module")
def shares_run(trained):
    config, partition, backbones = trained
    config = dataclasses.replace(
        config, end_to_end_shares=(0.05, 0.2), n_end_to_end_targets=2
    )
    return recorded(config, partition, backbones)


@pytest.mark.slow
def test_every_share_of_poisons_is_trained_on(shares_run):
    records, trials, calls = shares_run
    rates = {
        (r.model, r.arm, r.n_poisons)
        for r in records
        if r.metric == "attack_success_rate" and r.arm not in ("control", "common")
    }
    counts = {n for *_, n in rates}
    assert counts == {2, 10}  # of 50 rows a class, 30 of them possible bases
    models = {(model, arm) for model, arm, _ in rates}
    assert ("lgm_trim", "auto") in models
    assert rates == {(*key, n) for key in models for n in counts}
    for call in calls:
        assert len(call["poisoned_rows"]) == len(call["X_poison"])
    assert {len(call["poisoned_rows"]) for call in calls} == counts


def test_fewer_poisons_are_the_first_of_the_most(shares_run):
    _, _, calls = shares_run
    few, many = (
        [call for call in calls if len(call["poisoned_rows"]) == n] for n in (2, 10)
    )
    assert len(few) == len(many) > 0
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one["poisoned_rows"], other["poisoned_rows"][:2])
        np.testing.assert_array_equal(one["X_poison"], other["X_poison"][:2])


def test_the_automatic_share_trims_the_network_itself(trained):
    config, partition, backbones = trained
    config = dataclasses.replace(config, end_to_end_shares=(0.1,))
    starts = make_starts(config, partition, backbones)
    (automatic,) = [s for s in starts if s.victims[0].arm == "auto"]
    assert automatic.model.trim == "auto"
    (fixed,) = [s for s in starts if s.victims[0].model == "lgm_trim"][:1]
    assert fixed.model.trim == config.trim
