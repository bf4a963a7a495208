"""Protocol contamination: growing shares of poisons, trimmed by each rule."""

import pytest

from sklgm.experiments import run
from sklgm.experiments._victims import make_victims
from sklgm.experiments.contamination import ORACLE, _trim_rules
from tests.experiments.conftest import chosen, tiny, tiny_run, tiny_settings

TRIMMED = ("lgm_trim", "softmax_trimmed_gaussians")
RULES = (None, "auto", ORACLE)
KEYS = {(victim, rule) for victim in TRIMMED for rule in RULES} | {
    ("softmax", None),
    ("lgm", None),
}


@pytest.fixture(scope="module")
def contamination_run(tiny_npz):
    return tiny_run(tiny_npz, "contamination", shares=(0.1, 0.2), n_targets=2)[0]


def test_every_rule_has_a_head_and_an_oracle_knows_the_share(tiny_context):
    rules = [
        rule
        for victim in make_victims(tiny_context, 1)
        for rule in _trim_rules(victim, (2, 25), n_of_class=250)
    ]
    trims = {(v.name, v.variant, v.meets): v.head.trim for v in rules[2:]}
    expected = {}
    for name in TRIMMED:
        expected |= {
            (name, None, "all"): 0.25,
            (name, "auto", "all"): "auto",
            (name, ORACLE, 2): 2 / 250,
            (name, ORACLE, 25): 25 / 250,
        }
    assert trims == expected
    assert [v.name for v in rules[:2]] == ["softmax", "lgm"]
    assert {v.scores for v in rules} == {("posterior",)}


def test_every_rule_is_recorded_at_every_share(contamination_run):
    table = contamination_run.table.drop_nulls("attack")
    assert set(table.select("share", "n_poisons").rows()) == {(0.1, 3), (0.2, 6)}
    for metric in ("attack_success_rate", "clean_accuracy", "auroc", "tpr_at_1pct_fpr"):
        for n in (3, 6):
            rows = chosen(table, metric=metric, n_poisons=n)
            assert set(rows.select("victim", "variant").rows()) == KEYS
    assert set(chosen(table, metric="auroc")["score"]) == {"posterior"}
    numbers = contamination_run.table.drop("value", "low", "high", "n")
    assert numbers.is_duplicated().sum() == 0


def test_an_oracle_knows_nothing_without_poisons(contamination_run):
    clean = chosen(contamination_run.table, attack=None)
    assert ORACLE not in set(clean["variant"])
    assert set(clean["share"]) == {None}


def test_what_is_kept_is_recorded_for_every_rule(contamination_run):
    kept = chosen(contamination_run.table, metric="kept_share")
    assert set(kept.select("n_poisons", "victim", "variant").rows()) == {
        (n, victim, rule) for n in (3, 6) for victim in TRIMMED for rule in RULES
    }
    assert kept["value"].is_between(0, 1).all()


def test_trials_say_the_share(contamination_run):
    trials = contamination_run.trials
    assert set(trials.select("share", "n_poisons").rows()) == {(0.1, 3), (0.2, 6)}


def test_classes_that_are_too_small_are_an_error_before_any_training(tiny_npz):
    stages = []
    with pytest.raises(ValueError, match="at least 3 training rows of each class"):
        run(
            tiny_settings(tiny_npz, n_refit=6),
            {"contamination": tiny("contamination")},
            progress=lambda stage, n_done, n: stages.append(stage),
        )
    assert set(stages) == {"load data"}
