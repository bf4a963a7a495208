"""Protocol search: settings of L-GM training, one at a time."""

import dataclasses

import numpy as np
import pytest
from jsonschema import validate

from sklgm.experiments import ExperimentConfig, run
from sklgm.experiments import _search as search
from sklgm.experiments._search import AS_SET, Setting, list_settings
from sklgm.results import results_schema
from tests.experiments.conftest import tiny_config

SETTINGS = ("attack", "normalize_features=True", "means_lr_factor=10")
METRICS = ("attack_success_rate", "auroc", "tpr_at_1pct_fpr")


def few_settings(config):
    return [setting for setting in list_settings(config) if setting.name in SETTINGS]


@pytest.fixture(scope="module")
def search_run(tiny_npz):
    config = tiny_config(tiny_npz, protocols=("search",), search_seeds=(3, 4), seed=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "list_settings", few_settings)
        return run(config, n_jobs=1)[0]


def test_settings_differ_from_the_runs_in_one_value():
    config = ExperimentConfig()
    settings = list_settings(config)
    assert settings[0] == Setting(AS_SET, config)
    names = [setting.name for setting in settings]
    assert len(set(names)) == len(names)
    for setting in settings[1:]:
        name, value = setting.name.split("=")
        own = {**dataclasses.asdict(setting), **dataclasses.asdict(setting.config)}
        default = {**dataclasses.asdict(settings[0]), **dataclasses.asdict(config)}
        skipped = ("config", "name")
        changed = [k for k in own if own[k] != default[k] and k not in skipped]
        assert changed == [name]
        assert str(own[name]).removesuffix(".0") == value


def test_every_factor_that_the_design_names_is_tried():
    factors = {
        setting.name.split("=")[0] for setting in list_settings(ExperimentConfig())
    }
    assert factors == {
        AS_SET,
        "variance_scale",
        "likelihood_weight",
        "margin",
        "margin_warmup",
        "means_lr_factor",
        "normalize_features",
        "feature_dim",
        "covariance_type",
    }


@pytest.mark.slow
def test_every_setting_is_recorded_for_every_seed(search_run):
    validate(search_run.to_dict(), results_schema())
    keys = {(r.model, r.arm, r.metric, r.seed) for r in search_run.records}
    expected = set()
    for seed in (3, 4):
        expected |= {("lgm", arm, "backbone_accuracy", seed) for arm in SETTINGS}
        expected |= {("lgm_trim", arm, m, seed) for arm in SETTINGS for m in METRICS}
        for arm in (AS_SET, "normalize_features=True"):  # softmax has that one, too
            expected |= {("softmax", arm, "backbone_accuracy", seed)}
            expected |= {("softmax_trimmed_gaussians", arm, m, seed) for m in METRICS}
    assert keys == expected
    assert len(keys) == len(search_run.records)


@pytest.mark.slow
def test_settings_are_scored_on_training_rows(search_run):
    # 300 training rows, of which a sixth stands in for the 120 of the test set.
    accuracies = [r for r in search_run.records if r.metric == "backbone_accuracy"]
    assert {r.n for r in accuracies} == {50}
    assert {r.attack for r in accuracies} == {"none"}
    assert search_run.config["evaluation"] == "validation"
    assert search_run.config["n_test_used"] == 50


def test_a_search_stands_alone():
    with pytest.raises(ValueError, match="'search' chooses on rows of its own"):
        ExperimentConfig(protocols=("transfer", "search"))


def test_an_interrupted_search_goes_on_after_the_last_factor(tiny_npz, tmp_path):
    config = tiny_config(tiny_npz, protocols=("search",), search_seeds=(3,))
    tried = []

    def interrupted(settings, *arguments):
        if len(tried) == 1:
            raise KeyboardInterrupt
        tried.append([setting.name for setting in settings])
        return []

    def counted(settings, *arguments):
        tried.append([setting.name for setting in settings])
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "list_settings", few_settings)
        patch.setattr(search, "_search", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config, n_jobs=1, resume_from=tmp_path)
        patch.setattr(search, "_search", counted)
        run(config, n_jobs=1, resume_from=tmp_path)
    assert tried == [["attack"], ["means_lr_factor=10"], ["normalize_features=True"]]


@pytest.mark.slow
def test_search_of_one_seed_gives_what_it_gives_among_others(search_run, tiny_npz):
    config = tiny_config(tiny_npz, protocols=("search",), search_seeds=(4,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "list_settings", lambda c: list_settings(c)[:1])
        alone = run(config, n_jobs=1)[0]
    among = {
        (r.model, r.metric): r.value
        for r in search_run.records
        if r.seed == 4 and r.arm == AS_SET
    }
    assert {(r.model, r.metric): r.value for r in alone.records} == among


def test_parameters_reach_the_classifier():
    config = ExperimentConfig(means_lr_factor=10.0)
    parameters = Setting("attack", config).parameters(n_rows=256, unit=0.5)
    assert parameters["variance"] == 8.0
    ((pattern, of_means),) = parameters["optimizer__param_groups"]
    assert (pattern, of_means["lr"]) == ("head.means", 10 * config.finetune_lr)
    schedule = parameters["callbacks"][0]
    assert schedule.kwargs["max_lr"] == [10 * config.finetune_lr, config.finetune_lr]


def test_the_means_learn_at_their_own_rate(tiny_npz):
    # One schedule, two groups: with a rate of 1000 times, the means leave the features.
    from sklgm.datasets import load_npz
    from sklgm.experiments._backbones import make_lgm, train_shared

    config = tiny_config(tiny_npz)
    splits = load_npz(tiny_npz)
    X, y = splits.X_train, splits.y_train
    shared = train_shared(config, X, y)
    moved = {}
    for factor in (1.0, 1000.0):
        own = dataclasses.replace(config, means_lr_factor=factor)
        start = np.array(
            [shared.transform(X)[y == k].mean(axis=0) for k in np.unique(y)]
        )
        lgm = make_lgm(own, shared, len(X), variance=1.0).fit(X, y)
        moved[factor] = np.abs(lgm.means_ - start).max()
    assert moved[1000.0] > 10 * moved[1.0]


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,), (0.5,), [1]])
def test_seeds_that_name_no_split_are_an_error(seeds):
    with pytest.raises(ValueError, match="search_seeds must"):
        ExperimentConfig(search_seeds=seeds)


def accuracies(result, model, arm):
    return [
        r.value
        for r in result.records
        if (r.model, r.arm, r.metric) == (model, arm, "backbone_accuracy")
    ]


@pytest.mark.slow
def test_report_ranks_settings_below_softmax(search_run):
    from sklgm.report import run_tables

    (table,) = run_tables(search_run)
    assert [row.header for row in table.rows] == 2 * ["softmax"] + 3 * ["L-GM"]
    arms = [
        row.detail.rpartition("defended by")[0].removesuffix(", ") or AS_SET
        for row in table.rows
    ]
    assert set(arms[:2]) == {AS_SET, "normalize_features=True"}
    assert set(arms[2:]) == set(SETTINGS)
    means = [np.mean(accuracies(search_run, "lgm", arm)) for arm in arms[2:]]
    assert means == sorted(means, reverse=True)
    index = table.columns.index("Minus softmax") - 1
    assert [row.cells[index] for row in table.rows[:2]] == [None, None]
    for arm, mean, row in zip(arms[2:], means, table.rows[2:], strict=True):
        rival = arm if arm == "normalize_features=True" else AS_SET
        difference = mean - np.mean(accuracies(search_run, "softmax", rival))
        assert row.cells[index].text == f"{100 * difference:+.1f} points"


@pytest.mark.slow
def test_a_search_is_no_result_that_limits_are_read_off(search_run):
    from sklgm.report._limits import RULES

    verdicts = [rule.apply(list(search_run.records)) for rule in RULES]
    assert [verdict.n_compared for verdict in verdicts] == [0] * len(RULES)
