import numpy as np
import polars as pl
import pytest

from sklgm.metrics import attack_success_rate
from sklgm.poisoning._craft import ATTACKS
from tests.experiments.conftest import VICTIMS, chosen, tiny_run, tiny_settings

ALL_ATTACKS = (*ATTACKS, "watermark")
FROG = {"attack": "feature_collision"}


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_victim_has_rates_by_number_of_poisons_and_a_control(
    transfer_run, victim
):
    table = chosen(transfer_run[0].table, victim=victim, variant=None)
    for metric in ("attack_success_rate", "attack_success_rate_common"):
        rates = chosen(table, metric=metric, **FROG)
        assert sorted(rates["n_poisons"]) == [1, 3]
    control = chosen(table, attack=None, metric="attack_success_rate")
    assert control["n_poisons"].to_list() == [0]
    assert len(chosen(table, attack=None, metric="clean_accuracy")) == 1
    assert len(chosen(table, metric="backbone_accuracy")) == 1
    assert set(chosen(table, metric="auroc", **FROG)["n_poisons"]) == {3}


def test_no_number_is_recorded_twice(transfer_run):
    table = transfer_run[0].table
    assert table.drop("value", "low", "high", "n").is_duplicated().sum() == 0
    assert set(table["protocol"]) == {"transfer"}
    assert table["share"].null_count() == len(table)


@pytest.mark.parametrize("victim", VICTIMS)
def test_rates_count_only_targets_that_the_control_gets_right(transfer_run, victim):
    result = transfer_run[0]
    trials = chosen(result.trials, victim=victim, n_poisons=3, **FROG)
    counted = trials.filter("counted")
    assert counted["control_label"].to_list() == counted["target_label"].to_list()
    rate = attack_success_rate(counted["predicted_label"], counted["base_label"])
    row = chosen(
        result.table, victim=victim, variant=None, n_poisons=3,
        metric="attack_success_rate", **FROG,
    ).row(0, named=True)  # fmt: skip
    assert (row["value"], row["n"]) == (rate.value, rate.n_targets)
    assert row["n"] == 4


def test_variants_meet_the_most_poisons(transfer_run):
    rates = chosen(transfer_run[0].table, metric="attack_success_rate", **FROG)
    variants = rates.drop_nulls("variant")
    assert set(variants.select("victim", "variant", "n_poisons").rows()) == {
        ("softmax", "converged", 3),
        ("lgm", "converged", 3),
        ("softmax_trimmed_gaussians", "diag", 1),
        ("softmax_trimmed_gaussians", "diag", 3),
    }


@pytest.mark.parametrize("victim", VICTIMS)
def test_flipped_labels_are_the_dirty_label_reference(transfer_run, victim):
    result = transfer_run[0]
    table = chosen(result.table, attack="flip_labels", victim=victim)
    assert set(table["n_poisons"]) == {3}
    assert chosen(table, metric="attack_success_rate")["n"].to_list() == [4]
    assert len(chosen(table, metric="clean_accuracy")) == 1
    trials = chosen(result.trials, attack="flip_labels")
    assert set(trials["stop_reason"]) == {None}  # nothing was crafted


@pytest.mark.parametrize("victim", VICTIMS)
def test_trials_say_the_auroc_behind_the_mean_of_the_victim(transfer_run, victim):
    result = transfer_run[0]
    row = chosen(
        result.table, victim=victim, variant=None, metric="auroc", score="posterior",
        **FROG,
    ).row(0, named=True)  # fmt: skip
    own = chosen(result.trials, victim=victim, **FROG)
    areas = own.filter(n_poisons=row["n_poisons"])["auroc"]
    assert len(areas) == row["n"]
    assert areas.mean() == pytest.approx(row["value"])
    # Detection is asked for with the largest number of poisons only.
    assert set(own.filter(n_poisons=1)["auroc"]) == {None}


def test_trials_say_the_margin_before_and_after(transfer_run):
    trials = transfer_run[0].trials
    assert (trials.filter("counted")["control_margin"] > 0).all()
    assert (trials.filter("success")["margin"] < 0).all()
    right = trials.filter(pl.col("predicted_label") == pl.col("target_label"))
    assert (right["margin"] > 0).all()
    moved = chosen(trials, n_poisons=3, **FROG)
    # Poisons pull towards the base label.
    assert (moved["margin"] - moved["control_margin"]).mean() < 0


def test_examples_of_poisons_are_those_of_the_softmax_network(transfer_run):
    (images,) = transfer_run[1]
    assert (images.protocol, images.attack) == ("transfer", "feature_collision")
    n_shown = len(images.X_poison)
    assert len(images.base_names) == len(images.target_names) == n_shown <= 6
    assert np.abs(images.X_poison - images.X_base).max() > 0


@pytest.fixture(scope="module")
def all_attacks(tiny_npz):
    return tiny_run(tiny_npz, "transfer", attacks=ALL_ATTACKS, bounds=(0.2,))[0].table


@pytest.mark.slow
@pytest.mark.parametrize("attack", ALL_ATTACKS)
def test_every_attack_is_a_row(all_attacks, attack):
    found = chosen(all_attacks, attack=attack, bound=0.2, variant=None, reach=None)
    rates = chosen(found, metric="attack_success_rate")
    assert set(rates.select("victim", "n_poisons").rows()) == {
        (victim, n) for victim in VICTIMS for n in (1, 3)
    }
    change = chosen(found, metric="linf")["value"]
    assert (change > 0).all()
    assert (change <= 0.2).all()


def test_share_of_poisons_that_trimming_keeps_is_recorded(transfer_run):
    shares = chosen(transfer_run[0].table, metric="kept_share")
    assert set(shares["victim"]) == {"softmax_trimmed_gaussians", "lgm_trim"}
    assert shares["value"].is_between(0, 1).all()


def test_rows_without_images_run_too(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 60)
    X = rng.normal(size=(120, 5)) + 3.0 * (y == "b")[:, None]
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    result, arrays = tiny_run(
        tmp_path / "rows.npz", "transfer", n_targets=2, bounds=(0.1,)
    )
    rates = chosen(result.table, metric="attack_success_rate", **FROG)
    assert len(rates) > 0
    assert set(rates["bound"]) == {None}
    assert arrays == ()
    assert set(result.trials["base_label"]) <= {"a", "b"}


@pytest.mark.slow
def test_same_seed_gives_the_same_rows_in_any_number_of_processes(
    tiny_npz, transfer_run
):
    from sklgm.experiments import run
    from tests.experiments.conftest import tiny

    again, _ = run(
        tiny_settings(tiny_npz), {"transfer": tiny("transfer")}, command="c", n_jobs=2
    )
    assert again.table.equals(transfer_run[0].table)
    assert again.trials.equals(transfer_run[0].trials)
