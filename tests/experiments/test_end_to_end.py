"""Fine-tuning of all layers on poisoned rows."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from sklgm.experiments import _comparison as engine
from sklgm.experiments._victims import make_victims
from sklgm.experiments.end_to_end import PROTOCOL as END_TO_END
from sklgm.experiments.end_to_end import (
    EndToEndSettings,
    _fine_tuning_rows,
    _watermarked,
)
from sklgm.experiments.end_to_end import (
    _make_trainings as trainings_of,
)
from sklgm.poisoning._craft import ATTACKS
from sklgm.results import Row, Trial
from tests.experiments.conftest import KINDS, VICTIMS, chosen, tiny, tiny_run

N_TARGETS = 2


def settings_of(**changes):
    return tiny("end-to-end", n_targets=N_TARGETS, max_epochs=1, **changes)


def make_trainings(context, settings):
    return trainings_of(context, settings, make_victims(context))


def weights(clf):
    return {k: v.clone().numpy() for k, v in clf.net_.module_.state_dict().items()}


def recorded(context, settings):
    """Rows, trials, and the arguments of every fine-tuning."""
    calls = []

    def spy(*args):
        calls.append(inspect.signature(real).bind(*args).arguments)
        return real(*args)

    real = engine.measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "measure", spy)
        items = list(END_TO_END.measure(context, settings))
    rows = [item for item in items if isinstance(item, Row)]
    return rows, [item for item in items if isinstance(item, Trial)], calls


@pytest.fixture(scope="module")
def calls(tiny_context):
    return recorded(tiny_context, settings_of(n_poisons=(50,)))


@pytest.fixture(scope="module")
def result(tiny_npz):
    return tiny_run(
        tiny_npz, "end-to-end", n_targets=N_TARGETS, max_epochs=1, n_poisons=(50,)
    )[0]


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_victim_has_rates_and_a_control(result, victim):
    table = chosen(result.table, victim=victim)
    own = chosen(table, variant=None)
    for metric in ("attack_success_rate", "attack_success_rate_common"):
        rates = chosen(own, metric=metric).drop_nulls("attack")
        assert rates["n_poisons"].to_list() == [5]
    control = chosen(own, metric="attack_success_rate", attack=None)
    assert control["n_poisons"].to_list() == [0]
    assert chosen(table, variant="filtered").is_empty() == (victim != "softmax")
    accuracies = chosen(own, metric="clean_accuracy")
    assert set(accuracies["attack"]) == {None, "feature_collision"}
    assert set(accuracies["n"]) == {120}


@pytest.mark.parametrize(
    ("victim", "scores"),
    [
        ("softmax", {(None, "posterior"), ("filtered", "posterior")}),
        (
            "softmax_trimmed_gaussians",
            {(None, kind) for kind in KINDS} | {("diag", "likelihood")},
        ),
        ("lgm", {(None, kind) for kind in KINDS}),
        ("lgm_trim", {(None, kind) for kind in KINDS}),
    ],
)
def test_poisons_are_scored_by_the_victims_own_scores(result, victim, scores):
    rows = chosen(result.table, victim=victim, metric="auroc")
    assert set(rows.select("variant", "score").rows()) == scores
    assert rows["value"].is_between(0, 1).all()


def test_share_of_poisons_that_were_kept_is_recorded_where_rows_are_left_out(result):
    shares = chosen(result.table, metric="kept_share")
    assert set(shares.select("victim", "variant").rows()) == {
        ("lgm_trim", None),
        ("softmax", "filtered"),
        ("softmax_trimmed_gaussians", None),
        ("softmax_trimmed_gaussians", "diag"),
    }


def test_no_number_is_recorded_twice(result):
    assert result.table.drop("value", "low", "high", "n").is_duplicated().sum() == 0


def test_networks_are_not_changed(tiny_context):
    before = {name: weights(clf) for name, clf in tiny_context.networks.items()}
    parameters = {n: clf.get_params() for n, clf in tiny_context.networks.items()}
    list(END_TO_END.measure(tiny_context, settings_of(n_poisons=(1,))))
    for name, clf in tiny_context.networks.items():
        assert clf.get_params() == parameters[name]
        for key, value in weights(clf).items():
            np.testing.assert_array_equal(value, before[name][key])


def test_all_layers_are_trained_from_the_weights_of_the_network(tiny_context):
    X, y = tiny_context.partition.X_refit, tiny_context.partition.y_refit
    start = tiny_context.networks["softmax"]
    still, moved = (
        weights(copy.deepcopy(make_trainings(tiny_context, s)[0].model).fit(X, y))
        for s in (settings_of(lr=1e-9), settings_of())
    )
    for name, _ in start.net_.module_.named_parameters():
        np.testing.assert_allclose(still[name], weights(start)[name], atol=1e-6)
        assert not np.array_equal(moved[name], weights(start)[name])


@pytest.mark.parametrize("position", [1, 2])
def test_fine_tuning_gives_all_parameters_one_rate(tiny_context, position):
    settings = settings_of()
    training = make_trainings(tiny_context, settings)[position]
    clf = copy.deepcopy(training.model)
    clf.fit(tiny_context.partition.X_refit, tiny_context.partition.y_refit)
    rates = {group["lr"] for group in clf.net_.optimizer_.param_groups}
    assert rates == {settings.lr}


def test_trimmed_network_is_another_than_the_untrimmed(tiny_context):
    X, y = tiny_context.partition.X_refit, tiny_context.partition.y_refit
    _, plain, trimmed, _ = make_trainings(tiny_context, settings_of())
    assert (plain.model.trim, trimmed.model.trim) == (0.0, 0.25)
    fitted = [copy.deepcopy(t.model).fit(X, y).means_ for t in (plain, trimmed)]
    assert not np.allclose(*fitted)


def test_growing_shares_are_met_by_the_automatic_trim_too(tiny_context):
    *_, automatic = make_trainings(tiny_context, settings_of(shares=(0.1,)))
    assert automatic.model.trim == "auto"
    (victim,) = automatic.victims
    assert (victim.name, victim.variant) == ("lgm_trim", "auto")
    assert len(make_trainings(tiny_context, settings_of())) == 4


def test_a_filtered_network_does_not_see_what_the_filter_drops(
    tiny_context, monkeypatch
):
    partition = tiny_context.partition
    X, y = partition.X_refit.copy(), partition.y_refit
    (filtered,) = [
        t for t in make_trainings(tiny_context, settings_of()) if t.row_filter
    ]
    seen = []
    fit = type(filtered.model).fit

    def recorded_fit(self, X, y, **settings):
        seen.append(X)
        return fit(self, X, y, **settings)

    monkeypatch.setattr(type(filtered.model), "fit", recorded_fit)
    X[:2] = 0.0  # nothing like its class
    (measured,) = engine.measure(
        filtered,
        (X, y, np.arange(len(y)) < 2),
        partition.X_test,
        partition.y_test,
        (0, y[0], y[0]),
        True,
    )
    counts = np.unique(y, return_counts=True)[1]
    assert len(seen) == 1
    assert len(seen[0]) == np.ceil(0.75 * counts).sum()
    assert not (seen[0] == 0).all(axis=(1, 2, 3)).any()
    assert set(measured.detection) == {"posterior"}
    assert measured.kept_share == 0.0


def test_poisons_replace_unseen_rows_of_the_base_class(tiny_context, calls):
    _, trials, attacked = calls
    softmax = [trial for trial in trials if trial.victim == "softmax"]
    unseen = {row.tobytes() for row in tiny_context.partition.X_refit}
    for call, trial in zip(attacked[: len(softmax)], softmax, strict=True):
        X, y, is_poison = call["rows"]
        assert is_poison.sum() == trial.n_poisons
        assert set(map(str, y[is_poison])) == {trial.base_label}
        assert trial.base_label != trial.target_label
        assert not {row.tobytes() for row in X[is_poison]} & unseen
        assert len(unseen - {row.tobytes() for row in X}) == trial.n_poisons


@pytest.mark.slow
@pytest.mark.parametrize("opacity", [0.0, 0.3])
def test_poisons_are_watermarked_with_their_target(tiny_context, opacity):
    """With so strong a penalty a poison stays at the blend where its search starts."""
    settings = settings_of(
        watermark_opacity=opacity, similarity_weight=1e6, n_poisons=(2,)
    )
    _, trials, calls = recorded(tiny_context, settings)
    X, _, is_poison = calls[0]["rows"]
    partition = tiny_context.partition
    X_target = partition.X_test[trials[0].target_index]
    bases = partition.X_refit[np.flatnonzero(is_poison)]
    blend = (1 - opacity) * bases + opacity * X_target
    np.testing.assert_allclose(X[is_poison], blend, atol=1e-3)


def test_a_fine_tuning_can_be_sent_to_another_process(calls):
    arguments = list(calls[2][-1].values())
    here = engine.measure(*arguments)
    there = engine.measure(*pickle.loads(pickle.dumps(arguments)))
    assert [vars(m) for m in here] == [vars(m) for m in there]


@pytest.mark.parametrize(
    ("n_rows", "n_used", "n_seen"), [(60, 60, 0), (150, 150, 60), (10_000, None, None)]
)
def test_rows_are_balanced_and_filled_up_from_the_backbone(
    tiny_context, n_rows, n_used, n_seen
):
    partition = tiny_context.partition
    refit_rows, backbone_rows = _fine_tuning_rows(
        n_rows, partition.y_refit, partition.y_backbone
    )
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


def test_too_few_rows_for_the_classes_are_an_error(tiny_context):
    with pytest.raises(ValueError, match="n_rows=2 of end-to-end gives none of the 3"):
        _fine_tuning_rows(2, np.arange(3), np.arange(3))


def test_all_attacks_are_watermarked_and_none_is_there_twice():
    settings = EndToEndSettings(attacks=(*ATTACKS, "watermark"))
    planned = _watermarked(settings, has_images=True)
    assert {a.name for a in planned} == set(ATTACKS)
    assert all(a.is_watermarked for a in planned)
    assert {a.matched_parameters for a in planned} == {"all"}
    alone = _watermarked(EndToEndSettings(attacks=("watermark",)), has_images=True)
    assert [a.name for a in alone] == ["watermark"]


@pytest.mark.slow
def test_every_attack_is_a_row(tiny_npz):
    table = tiny_run(
        tiny_npz, "end-to-end", attacks=tuple(ATTACKS), n_targets=1, max_epochs=1,
        n_poisons=(2,),
    )[0].table  # fmt: skip
    rates = chosen(table, metric="attack_success_rate", variant=None)
    assert set(rates.drop_nulls("attack").select("victim", "attack").rows()) == {
        (victim, attack) for victim in VICTIMS for attack in ATTACKS
    }


# Growing shares


@pytest.fixture(scope="module")
def shares_run(tiny_context):
    return recorded(tiny_context, settings_of(shares=(0.05, 0.2)))


@pytest.mark.slow
def test_every_share_of_poisons_is_trained_on(shares_run):
    rows, trials, calls = shares_run
    rates = [r for r in rows if r.metric == "attack_success_rate" and r.attack]
    # Of 50 rows of a class, 30 of them possible bases.
    assert {(r.share, r.n_poisons) for r in rates} == {(0.05, 2), (0.2, 10)}
    keys = {(r.victim, r.variant) for r in rates}
    assert ("lgm_trim", "auto") in keys
    assert len(rates) == 2 * len(keys)
    assert {t.share for t in trials} == {0.05, 0.2}
    assert {int(call["rows"][2].sum()) for call in calls} == {2, 10}


@pytest.mark.slow
def test_fewer_poisons_are_the_first_of_the_most(shares_run):
    few, many = (
        [call["rows"] for call in shares_run[2] if call["rows"][2].sum() == n]
        for n in (2, 10)
    )
    assert len(few) == len(many) > 0
    for (X, _, is_poison), (X_more, _, is_more) in zip(few, many, strict=True):
        assert set(np.flatnonzero(is_poison)) < set(np.flatnonzero(is_more))
        np.testing.assert_array_equal(X[is_poison], X_more[is_poison])
