import numpy as np
import pytest

from sklgm.experiments.white_box import _draw_pairs
from sklgm.poisoning._craft import ATTACKS
from sklgm.results import DetectionScores, FeatureScatter
from tests.experiments.conftest import KINDS, VICTIMS, chosen, tiny_run


@pytest.mark.parametrize(
    ("victim", "scores"),
    [
        ("softmax", {(None, "posterior")}),
        (
            "softmax_trimmed_gaussians",
            {(None, kind) for kind in KINDS} | {("diag", "likelihood")},
        ),
        ("lgm", {(None, kind) for kind in KINDS}),
        ("lgm_trim", {(None, kind) for kind in KINDS}),
    ],
)
def test_every_score_of_a_victim_has_an_interval(white_box_run, victim, scores):
    table = chosen(white_box_run[0].table, victim=victim)
    for metric in ("auroc", "tpr_at_1pct_fpr"):
        rows = chosen(table, metric=metric)
        assert set(rows.select("variant", "score").rows()) == scores
        assert set(rows["n"]) == {8}
        for low, value, high in rows.select("low", "value", "high").rows():
            assert 0 <= low <= value <= high <= 1


def test_accuracies_and_effort_are_those_of_the_networks(white_box_run):
    table = white_box_run[0].table
    for metric in ("clean_accuracy", "collision_ratio", "l2", "linf"):
        assert set(chosen(table, metric=metric)["victim"]) == {"softmax", "lgm"}
    assert set(chosen(table, metric="clean_accuracy")["attack"]) == {None}


def test_trials_are_the_poisons_of_each_network(white_box_run):
    trials = white_box_run[0].trials
    assert trials.group_by("victim").len().sort("victim").rows() == [
        ("lgm", 8),
        ("softmax", 8),
    ]
    assert (trials["target_label"] != trials["base_label"]).all()
    assert set(trials["n_poisons"]) == {1}


def test_arrays_of_figures_match_the_rows(white_box_run):
    result, arrays = white_box_run
    scores = [a for a in arrays if isinstance(a, DetectionScores)]
    rows = chosen(result.table, metric="auroc").select("victim", "variant", "score")
    assert [(s.victim, s.variant, s.score) for s in scores] == rows.rows()
    (scatter,) = [a for a in arrays if isinstance(a, FeatureScatter)]
    assert scatter.features.shape[1] == 2
    assert scatter.is_poison.sum() == 8


@pytest.mark.slow
@pytest.mark.parametrize("attack", [*ATTACKS, "watermark"])
def test_every_attack_is_a_row(tiny_npz, attack):
    table = tiny_run(tiny_npz, "white-box", attacks=(attack,), bounds=(0.2,))[0].table
    found = chosen(table, attack=attack, bound=0.2, metric="auroc")
    assert set(found["victim"]) == set(VICTIMS)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_are_disjoint_and_of_two_classes(seed):
    y_test = np.arange(90) % 3
    base_rows, target_rows = _draw_pairs(8, y_test, seed)
    assert len(base_rows) == 8
    assert len(set(base_rows) | set(target_rows)) == 16
    assert (y_test[base_rows] != y_test[target_rows]).all()


def test_pairs_are_fewer_where_one_class_is_most_of_the_test_rows():
    y_test = np.repeat([0, 1], [95, 5])
    base_rows, target_rows = _draw_pairs(20, y_test, 0)
    assert 0 < len(base_rows) < 20
    assert (y_test[base_rows] != y_test[target_rows]).all()


def test_pairs_of_a_single_class_are_an_error():
    with pytest.raises(ValueError, match="no pair of a base and a target"):
        _draw_pairs(8, np.zeros(40), 0)
