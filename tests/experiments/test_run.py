import dataclasses
import json

import jsonschema
import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone

import sklgm
from sklgm import LGMClassifier
from sklgm._running import Runner, stage_key
from sklgm.datasets import load_npz
from sklgm.experiments import _transfer as transfer
from sklgm.experiments import run
from sklgm.experiments._arena import make_arena
from sklgm.experiments._attack import attack_name, plan_attack
from sklgm.experiments._backbones import train_backbones
from sklgm.experiments._cells import Cell, Outcome
from sklgm.experiments._judging import (
    claimed_distances,
)
from sklgm.experiments._partition import make_partition
from sklgm.experiments._targets import Targets, draw_targets, scaled_poison_counts
from sklgm.experiments._transfer import refit_head, run_attacks
from sklgm.experiments._victims import make_victims, strongest_defence
from sklgm.experiments._white_box import draw_pairs
from sklgm.metrics import attack_success_rate
from sklgm.poisoning._craft import ATTACKS
from sklgm.results import MODELS, RunResult, results_schema
from tests.experiments.conftest import KINDS, tiny_config

ALL_ATTACKS = (*ATTACKS, "watermark")


def chosen(records, **values):
    return [
        record
        for record in records
        if all(getattr(record, name) == value for name, value in values.items())
    ]


def test_results_validate_against_the_shipped_schema(tiny_run, tmp_path):
    result, _ = tiny_run
    result.save(tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, results_schema())
    assert RunResult.load(tmp_path / "results.json").records == result.records


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_rates_by_number_of_poisons_and_a_control(tiny_run, model):
    transfer = chosen(tiny_run[0].records, protocol="transfer", model=model)
    rates = chosen(transfer, metric="attack_success_rate")
    assert {r.n_poisons for r in chosen(rates, arm="attack")} == {1, 3}
    assert {r.n_poisons for r in chosen(rates, arm="common")} == {1, 3}
    assert [r.n_poisons for r in chosen(rates, arm="control")] == [0]
    assert chosen(transfer, metric="clean_accuracy", arm="clean")
    assert chosen(transfer, metric="backbone_accuracy")
    assert chosen(transfer, metric="auroc")


@pytest.mark.parametrize(
    ("model", "arms"),
    [
        ("softmax", {"posterior"}),
        ("softmax_trimmed_gaussians", KINDS | {"diag"}),
        ("lgm", KINDS),
        ("lgm_trim", KINDS),
    ],
)
def test_white_box_scores_every_kind_with_an_interval(tiny_run, model, arms):
    found = chosen(tiny_run[0].records, protocol="white-box", model=model)
    for metric in ("auroc", "tpr_at_1pct_fpr"):
        records = chosen(found, metric=metric)
        assert {r.arm for r in records} == arms
        assert all(0 <= r.low <= r.value <= r.high <= 1 for r in records)
        assert all(r.n == 8 for r in records)


def test_rates_count_only_targets_that_the_control_gets_right(tiny_run):
    result, _ = tiny_run
    for model in MODELS:
        trials = [
            trial
            for trial in result.trials
            if trial.protocol == "transfer"
            and trial.model == model
            and trial.n_poisons == 3
            and trial.attack == "feature_collision"
        ]
        counted = [trial for trial in trials if trial.counted]
        assert all(t.control_label == t.target_label for t in counted)
        rate = attack_success_rate(
            [t.predicted_label for t in counted], [t.base_label for t in counted]
        )
        (record,) = chosen(
            result.records,
            metric="attack_success_rate",
            attack="feature_collision",
            model=model,
            arm="attack",
            n_poisons=3,
        )
        assert (record.value, record.n) == (rate.value, rate.n_targets)


@pytest.mark.slow
def test_same_seed_gives_the_same_records_in_any_number_of_processes(
    tiny_npz, tiny_run
):
    config = tiny_config(tiny_npz)
    again, _ = run(config, command="sklgm reproduce stripes.npz", n_jobs=2)
    assert again.records == tiny_run[0].records
    assert again.trials == tiny_run[0].trials


def test_progress_reaches_the_end_of_every_stage(tiny_npz):
    last = {}
    config = tiny_config(tiny_npz, protocols=("white-box",))
    run(
        config,
        progress=lambda stage, n_done, n: last.update({stage: (n_done, n)}),
        n_jobs=1,
    )
    assert "train backbones" in last
    assert all(n_done == n for n_done, n in last.values())


def test_figure_data_match_the_records(tiny_run):
    result, data = tiny_run
    assert data.scatter.features.shape[1] == 2
    assert len(data.images) == 1
    assert {(s.model, s.arm) for s in data.detection} == {
        (r.model, r.arm)
        for r in chosen(result.records, protocol="white-box", metric="auroc")
    }


def test_rows_without_images_run_too(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 60)
    X = rng.normal(size=(120, 5)) + 3.0 * (y == "b")[:, None]
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    config = tiny_config(tmp_path / "rows.npz", backbone="auto", n_targets=2)
    result, data = run(config, n_jobs=1)
    assert chosen(result.records, metric="attack_success_rate", arm="attack")
    assert data.images == ()


def test_trim_on_fixed_features_does_not_depend_on_the_gradient():
    """`make_victims` skips the epochs that trimming would overwrite."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    features = rng.normal(size=(80, 3)) + y[:, None]
    victims = make_victims(tiny_config("unused"), {"softmax": 1.0, "lgm": 1.0})
    (trimmed,) = [victim for victim in victims if victim.model == "lgm_trim"]
    skipped = clone(trimmed.head).fit(features, y)
    trained = clone(trimmed.head).set_params(max_epochs=3).fit(features, y)
    assert isinstance(skipped, LGMClassifier)
    np.testing.assert_array_equal(skipped.means_, trained.means_)


@pytest.mark.parametrize(
    ("bound", "name"),
    [
        (None, "feature_collision"),
        (8 / 255, "feature_collision_linf_8_255"),
        (0.1, "feature_collision_linf_0.1"),
    ],
)
def test_attack_names_say_the_bound(bound, name):
    assert attack_name("feature_collision", bound) == name


def test_largest_number_of_poisons_is_a_tenth_of_the_class():
    asked = (1, 5, 25)
    assert scaled_poison_counts(asked, np.repeat(np.arange(10), 250)) == (1, 5, 25)
    assert scaled_poison_counts(asked, np.repeat(np.arange(10), 44)) == (1, 4)


class StubPartition:
    name = "stub"
    y_refit = np.repeat([0, 1, 2], 20)
    y_test = np.arange(300) % 3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_targets_are_drawn_until_every_control_has_enough(seed):
    rng = np.random.default_rng(seed)
    is_right = rng.random((2, 300)) < [[0.9], [0.5]]
    targets = draw_targets(
        is_right,
        StubPartition.y_test,
        StubPartition.y_refit,
        n_targets=10,
        n_bases=4,
        seed=seed,
    )
    n_right = is_right[:, targets.rows].sum(axis=1)
    assert n_right.min() == 10
    assert (targets.base_labels != targets.labels).all()
    np.testing.assert_array_equal(
        StubPartition.y_refit[targets.base_rows],
        np.repeat(targets.base_labels[:, None], 4, axis=1),
    )
    assert all(len(set(rows)) == 4 for rows in targets.base_rows)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_white_box_pairs_are_disjoint_and_of_two_classes(seed):
    y_test = np.arange(90) % 3
    base_rows, target_rows = draw_pairs(tiny_config("unused", seed=seed), y_test)
    assert len(base_rows) == 8
    assert len(set(base_rows) | set(target_rows)) == 16
    assert (y_test[base_rows] != y_test[target_rows]).all()


@pytest.mark.parametrize("model", ["softmax", "lgm"])
def test_converged_heads_are_an_arm_of_the_most_poisons(tiny_run, model):
    rates = chosen(
        tiny_run[0].records, model=model, metric="attack_success_rate", arm="converged"
    )
    assert [rate.n_poisons for rate in rates] == [3]


def test_no_target_that_counts_is_a_rate_of_nan_not_an_error():
    cell = Cell(
        "transfer",
        tiny_config("unused"),
        StubPartition,
        make_victims(tiny_config("unused"), {"softmax": 1.0, "lgm": 1.0})[0],
        "feature_collision",
        1,
    )
    targets = Targets(np.array([0]), np.array([0]), np.array([1]), np.array([[20]]), 4)
    records = cell.records(Outcome(predicted=[1]), targets, np.zeros((7, 300), bool), 0)
    assert [(r.arm, r.n) for r in records] == [("attack", 0), ("common", 0)]
    assert all(np.isnan(r.value) for r in records)


def test_pairs_are_fewer_where_one_class_is_most_of_the_test_rows():
    y_test = np.repeat([0, 1], [95, 5])
    base_rows, target_rows = draw_pairs(tiny_config("unused", n_pairs=20), y_test)
    assert 0 < len(base_rows) < 20
    assert (y_test[base_rows] != y_test[target_rows]).all()


def test_pairs_of_a_single_class_are_an_error():
    with pytest.raises(ValueError, match="no pair of a base and a target"):
        draw_pairs(tiny_config("unused"), np.zeros(40))


@pytest.fixture(scope="module")
def run_of_all_attacks(tiny_npz):
    config = tiny_config(tiny_npz, attacks=ALL_ATTACKS, max_perturbations=(0.2,))
    return run(config, command="sklgm reproduce stripes.npz", n_jobs=1)[0]


@pytest.mark.parametrize("attack", ALL_ATTACKS)
@pytest.mark.parametrize("protocol", ["white-box", "transfer"])
def test_every_attack_is_a_row_of_both_protocols(run_of_all_attacks, protocol, attack):
    found = chosen(
        run_of_all_attacks.records,
        protocol=protocol,
        attack=f"{attack}_linf_51_255",
    )
    assert {r.model for r in chosen(found, metric="auroc")} == set(MODELS)
    if protocol == "transfer":
        rates = chosen(found, metric="attack_success_rate", arm="attack")
        assert {(r.model, r.n_poisons) for r in rates} == {
            (model, n) for model in MODELS for n in (1, 3)
        }
    for record in chosen(found, metric="linf"):
        assert 0 < record.value <= 0.2


@pytest.mark.parametrize("model", MODELS)
def test_flipped_labels_are_the_dirty_label_reference(tiny_run, model):
    found = chosen(tiny_run[0].records, attack="flip_labels", model=model)
    assert {r.n_poisons for r in found} == {3}
    (rate,) = chosen(found, metric="attack_success_rate", arm="attack")
    assert rate.n == 4
    assert chosen(found, metric="clean_accuracy")
    trials = [t for t in tiny_run[0].trials if t.attack == "flip_labels"]
    assert {t.stop_reason for t in trials} == {None}  # nothing was crafted


def test_trials_say_the_auroc_behind_the_mean_of_the_model(tiny_run):
    result = tiny_run[0]
    for model in MODELS:
        (record,) = chosen(
            result.records,
            protocol="transfer",
            model=model,
            metric="auroc",
            arm="posterior",
            attack="feature_collision",
        )
        own = [
            trial
            for trial in result.trials
            if (trial.protocol, trial.model) == ("transfer", model)
            and trial.attack == "feature_collision"
        ]
        most = [t.auroc for t in own if t.n_poisons == record.n_poisons]
        assert len(most) == record.n
        assert np.mean(most) == pytest.approx(record.value)
        # Detection is asked for with the largest number of poisons only.
        assert {t.auroc for t in own if t.n_poisons != record.n_poisons} == {None}


def test_trials_say_the_margin_before_and_after(tiny_run):
    transfer = [t for t in tiny_run[0].trials if t.protocol == "transfer"]
    crafted = [t for t in transfer if t.attack == "feature_collision"]
    for trial in transfer:
        if trial.counted:
            assert trial.control_margin > 0
        if trial.success:
            assert trial.margin < 0
        if trial.predicted_label == trial.target_label:
            assert trial.margin > 0
    mean = {
        n: np.mean([t.margin - t.control_margin for t in crafted if t.n_poisons == n])
        for n in (1, 3)
    }
    assert mean[3] < 0  # poisons pull towards the base label


def test_share_of_poisons_that_trimming_keeps_is_recorded(run_of_all_attacks):
    shares = chosen(run_of_all_attacks.records, metric="kept_share")
    assert {r.model for r in shares} == {"softmax_trimmed_gaussians", "lgm_trim"}
    assert all(0 <= r.value <= 1 for r in shares)


# The attacker who knows the defence


@pytest.fixture(scope="module")
def defended(tiny_npz):
    config = tiny_config(tiny_npz, max_iter=60)
    partition = make_partition(config, load_npz(tiny_npz))
    runner = Runner(n_jobs=1)
    backbones = train_backbones(config, partition, runner.progress)
    return make_arena("transfer", config, partition, backbones, runner)


@pytest.mark.parametrize("backbone", ["softmax", "lgm"])
@pytest.mark.parametrize("reach", [0.5, 0.95])
def test_the_adaptive_attack_reaches_as_far_as_it_may(defended, backbone, reach):
    victim = strongest_defence(backbone, defended.victims)
    head = defended.heads[defended.victims.index(victim)]
    clf, features = defended.backbones[backbone], defended.features[backbone]
    y = defended.partition.y_refit
    planned = dataclasses.replace(
        plan_attack(defended.config, "adaptive_likelihood", None), reach=reach
    )
    surrogate, attack = planned.against(clf, head, features, y)
    own = claimed_distances(head, features, y)
    for z, label in enumerate(head.classes_):
        trimmed_from = np.quantile(own[y == label], 1 - head.trim)
        assert attack.max_distance[z] == pytest.approx(reach**2 * trimmed_from)
    found = surrogate.squared_distances(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(
        found[np.arange(len(y)), np.searchsorted(head.classes_, y)], own, rtol=1e-5
    )


@pytest.mark.parametrize("backbone", ["softmax", "lgm"])
def test_the_posterior_attack_knows_the_threshold_of_the_score(defended, backbone):
    victim = strongest_defence(backbone, defended.victims)
    head = defended.heads[defended.victims.index(victim)]
    clf, features = defended.backbones[backbone], defended.features[backbone]
    y = defended.partition.y_refit
    planned = plan_attack(defended.config, "adaptive_posterior", None)
    surrogate, attack = planned.against(clf, head, features, y)
    claimed = np.searchsorted(head.classes_, y)
    joint = head.predict_joint_log_proba(features).astype(np.float64)
    is_claimed = np.eye(len(head.classes_), dtype=bool)[claimed]
    others = logsumexp(np.where(is_claimed, -np.inf, joint), axis=1)
    surprisal = np.logaddexp(0.0, others - joint[is_claimed])
    flagged_from = np.quantile(surprisal, 0.99)
    assert attack.max_surprisal == pytest.approx(0.95 * flagged_from, rel=0.05)
    assert attack.likelihood_weight == 0.0
    found = surrogate.log_joint(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, joint, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["softmax", "lgm"])
def test_the_adaptive_attack_sees_the_features_of_the_network(defended, backbone):
    victim = strongest_defence(backbone, defended.victims)
    head = defended.heads[defended.victims.index(victim)]
    clf, features = defended.backbones[backbone], defended.features[backbone]
    planned = plan_attack(defended.config, "adaptive_likelihood", None)
    X, y = defended.partition.X_refit, defended.partition.y_refit
    surrogate, _ = planned.against(clf, head, features, y)
    np.testing.assert_allclose(
        surrogate.features(torch.from_numpy(X)).numpy(), features, rtol=1e-4, atol=1e-5
    )


class Pairing:
    """What the refits of an attack are given, in their order."""

    def __init__(self, arena, name, counts):
        self.calls = []
        config = dataclasses.replace(
            arena.config, similarity_weight=1e6, max_iter=5, watermark_opacity=0.5
        )
        planned = dataclasses.replace(
            plan_attack(config, name, None), watermark_opacity=0.5
        )
        arena = dataclasses.replace(arena, config=config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transfer, "refit_head", self.record)
            run_attacks("transfer", arena, [planned], counts, Runner(n_jobs=1))

    def record(self, *arguments):
        self.calls.append(arguments)
        return refit_head(*arguments)


@pytest.mark.parametrize("name", ["feature_collision", "bullseye_polytope"])
def test_every_refit_has_the_poisons_of_its_own_target(defended, name):
    """So strong a penalty leaves each poison at the blend of base and target."""
    counts, partition, targets = (1, 3), defended.partition, defended.targets
    assert len(targets.rows) >= 3
    calls = iter(Pairing(defended, name, counts).calls)
    for backbone, clf in defended.backbones.items():
        for victim in defended.victims:
            if victim.backbone != backbone:
                continue
            for n in counts[-1:] if victim.only_most else counts:
                for t, row in enumerate(targets.rows):
                    bases = targets.base_rows[t, :n]
                    blend = 0.5 * (partition.X_refit[bases] + partition.X_test[row])
                    found, features, y, is_poison, _, target, is_judged = next(calls)
                    assert found is victim
                    assert target == targets.of(t)
                    assert is_judged == (n == 3)
                    assert set(np.flatnonzero(is_poison)) == set(bases)
                    np.testing.assert_array_equal(y, partition.y_refit)
                    np.testing.assert_allclose(
                        features[bases], clf.transform(blend), atol=0.02
                    )
                    clean = ~is_poison
                    np.testing.assert_array_equal(
                        features[clean], defended.features[backbone][clean]
                    )
    assert next(calls, None) is None


def test_other_attacks_are_made_for_the_network_as_it_is(defended):
    planned = plan_attack(defended.config, "feature_collision", None)
    clf = defended.backbones["lgm"]
    assert planned.against(clf, None, None, None) == (clf, planned.attack)


# Frontier


@pytest.fixture(scope="module")
def frontier_run(tiny_npz):
    config = tiny_config(
        tiny_npz,
        protocols=("frontier",),
        frontier_bounds=(0.05, 0.2),
        frontier_reaches=(0.5, 1.5),
    )
    return run(config, n_jobs=1)[0]


@pytest.mark.slow
def test_the_frontier_sweeps_bounds_and_reaches(frontier_run):
    rates = chosen(frontier_run.records, metric="attack_success_rate", arm="attack")
    strengths = {
        "adaptive_likelihood_reach_0.5",
        "adaptive_likelihood_reach_1.5",
        "adaptive_posterior_reach_0.5",
        "adaptive_posterior_reach_1.5",
        *(
            f"{attack}{bound}"
            for attack in ("feature_collision", "bullseye_polytope")
            for bound in ("_linf_0.05", "_linf_51_255", "")
        ),
    }
    assert {(r.attack, r.model, r.n_poisons) for r in rates} == {
        (attack, model, 3) for attack in strengths for model in MODELS
    }
    assert {r.protocol for r in frontier_run.records} == {"frontier"}
    assert all(
        chosen(frontier_run.records, attack=attack, metric="tpr_at_1pct_fpr")
        for attack in strengths
    )


@pytest.mark.slow
def test_wider_bounds_collide_closer(frontier_run):
    (tight,), (wide,) = (
        chosen(
            frontier_run.records,
            attack=f"feature_collision{bound}",
            model="softmax",
            metric="collision_ratio",
        )
        for bound in ("_linf_0.05", "")
    )
    assert wide.value < tight.value


# Interrupted runs


@pytest.mark.parametrize(
    ("protocol", "interrupted", "finished"),
    [
        (
            "transfer",
            "refit feature_collision on lgm",
            {
                "control arm",
                "refit flipped labels",
                "refit feature_collision on softmax",
            },
        ),
        pytest.param(
            "end-to-end",
            "fine-tune lgm (attack), feature_collision, 3 poisons",
            {
                "fine-tune without poisons",
                "fine-tune softmax (attack), feature_collision, 3 poisons",
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "frontier",
            "craft bullseye_polytope on softmax",
            {"control arm", "refit feature_collision on lgm"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "white-box",
            "two-feature network",
            {"white-box, feature_collision"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_run_goes_on_where_it_stopped(
    tiny_npz, tmp_path, protocol, interrupted, finished
):
    config = tiny_config(
        tiny_npz,
        protocols=(protocol,),
        n_end_to_end_targets=2,
        n_end_to_end_rows=90,
        end_to_end_epochs=1,
        frontier_bounds=(),
        frontier_reaches=(),
    )
    seen = set()

    def interrupt(stage, n_done, n_steps):
        seen.add(stage)
        if stage == interrupted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, progress=interrupt, n_jobs=1, resume_from=tmp_path)
    assert finished < seen

    stages = set()
    found, _ = run(
        config,
        command="c",
        progress=lambda stage, n_done, n: stages.add(stage),
        n_jobs=1,
        resume_from=tmp_path,
    )
    expected, _ = run(config, command="c", n_jobs=1)
    assert found.records == expected.records
    assert found.trials == expected.trials
    assert interrupted in stages
    assert not stages & {"train backbones", *finished}


@pytest.mark.slow
def test_a_damaged_stage_is_carried_out_again(tiny_npz, tmp_path):
    config = tiny_config(tiny_npz, protocols=("transfer",))
    expected, _ = run(config, command="c", n_jobs=1, resume_from=tmp_path)
    kept = list(tmp_path.rglob("output.pkl"))
    assert len(kept) > 3
    for stage in kept:
        stage.write_bytes(stage.read_bytes()[:100])
    found, _ = run(config, command="c", n_jobs=1, resume_from=tmp_path)
    assert found.records == expected.records


def test_other_rows_do_not_take_what_is_unfinished(tiny_npz):
    config = tiny_config(tiny_npz)
    partition = make_partition(config, load_npz(tiny_npz))
    X = partition.X_test.copy()
    X[0, 0, 0, 0] += 0.5
    other = dataclasses.replace(partition, X_test=X)
    keys = {
        stage_key(config, partition, "cpu"),
        stage_key(config, other, "cpu"),
        stage_key(config, partition, "cuda:0 (one)"),
    }
    assert len(keys) == 3
    assert stage_key(config, partition, "cpu") in keys


@pytest.mark.parametrize("n_jobs", [0, 1.5, "two"])
def test_a_number_of_processes_that_is_none_is_an_error(tiny_npz, n_jobs):
    with pytest.raises(ValueError, match="n_jobs must be an int but 0"):
        run(tiny_config(tiny_npz), n_jobs=n_jobs)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"max_iter": 11}])
def test_other_settings_do_not_take_what_is_unfinished(tiny_npz, tmp_path, changed):
    def interrupt(stage, n_done, n_steps):
        if stage == "control arm":
            raise KeyboardInterrupt

    stages = set()
    for settings, progress in (
        ({}, interrupt),
        (changed, lambda stage, n_done, n: (stages.add(stage), interrupt(stage, 0, 0))),
    ):
        config = tiny_config(tiny_npz, protocols=("transfer",), **settings)
        with pytest.raises(KeyboardInterrupt):
            run(config, progress=progress, n_jobs=1, resume_from=tmp_path)
    assert "train backbones" in stages


@pytest.mark.parametrize("attacks", [(), ("frog",), ("feature_collision",) * 2])
def test_attacks_that_are_none_are_an_error(attacks):
    with pytest.raises(ValueError, match="attack"):
        tiny_config("unused", attacks=attacks)


def test_versions_are_those_at_the_start_of_the_run(tiny_npz, monkeypatch):
    # Another version installed while it runs is not what computed.
    def progress(stage, n_done, n_steps):
        if stage == "train backbones":
            monkeypatch.setattr(
                "sklgm._running._environment.installed_version", lambda name: "9.9"
            )

    config = tiny_config(tiny_npz, protocols=("transfer",))
    result, _ = run(config, progress=progress, n_jobs=1)
    assert result.sklgm_version == sklgm.__version__
    assert result.environment["packages"]["sklgm"] == sklgm.__version__
