"""Protocol certified: robust locations on the features of three networks."""

from copy import copy
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sklgm.classifiers import LGMClassifier
from sklgm.experiments import get_protocol, run
from sklgm.experiments.certified import (
    DESCRIPTION,
    _list_networks,
    _list_subsets,
    _with_novel_classes,
)
from sklgm.metrics import paired_rate_difference
from sklgm.report import protocol_tables, run_verdicts, table_figures
from tests.experiments.conftest import chosen, tiny_run, tiny_settings

VICTIMS = {
    f"{network}_{location}"
    for network in ("softmax", "smoothed_softmax", "lgm")
    for location in ("median", "trimmed_mean")
}
COUNTS = {0: None, 3: 0.1, 12: 0.4}  # of 30 rows of a class


@pytest.fixture(scope="module")
def certified_run(tiny_npz):
    return tiny_run(tiny_npz, "certified", shares=(0.1, 0.4), n_iter=2)[0]


def test_networks_differ_in_what_the_settings_say(tiny_context):
    settings = get_protocol("certified").settings(margin=0.7, likelihood_weight=0.5)
    networks = dict(_list_networks(tiny_context, settings))
    assert list(networks) == ["softmax", "smoothed_softmax", "lgm"]
    assert networks["softmax"].label_smoothing == 0.0
    assert networks["smoothed_softmax"].label_smoothing == 0.1
    lgm = networks["lgm"]
    assert isinstance(lgm, LGMClassifier)
    assert (lgm.margin, lgm.likelihood_weight, lgm.variance_scale) == (0.7, 0.5, 16.0)
    assert len({clf.max_epochs for clf in networks.values()}) == 1


def test_every_victim_is_certified_for_every_share(certified_run):
    table = certified_run.table
    for metric, counts in (
        ("certified_accuracy", COUNTS),
        ("attacked_accuracy", {n: s for n, s in COUNTS.items() if n}),
    ):
        rows = chosen(table, metric=metric)
        assert set(rows["victim"]) == VICTIMS
        for victim in VICTIMS:
            own = chosen(rows, victim=victim)
            assert dict(own.select("n_poisons", "share").rows()) == counts
    assert set(table["n"]) == {120}
    assert table.drop("value", "low", "high").is_duplicated().sum() == 0


def test_certificate_is_below_attack_and_falls_with_the_poisons(certified_run):
    table = certified_run.table
    for victim in VICTIMS:
        own = chosen(table, victim=victim)
        certified = chosen(own, metric="certified_accuracy").sort("n_poisons")
        attacked = chosen(own, metric="attacked_accuracy").sort("n_poisons")
        assert certified["value"].is_sorted(descending=True)
        assert (attacked["value"] >= certified["value"][1:]).all()
        assert (attacked["value"] <= certified["value"][0]).all()
    at_most = chosen(table, metric="attacked_accuracy", n_poisons=12)
    assert at_most["value"].min() < chosen(table, n_poisons=0)["value"].max()


def test_differences_are_paired_and_add_up(certified_run):
    table = certified_run.table
    rows = chosen(table, metric="certified_accuracy_difference")
    assert set(rows["victim"]) == {v for v in VICTIMS if not v.startswith("lgm")}
    for row in rows.iter_rows(named=True):
        network, location = row["victim"].split("softmax_")
        ours, rival = (
            chosen(
                table,
                victim=victim,
                metric="certified_accuracy",
                n_poisons=row["n_poisons"],
            )["value"].item()
            for victim in (f"lgm_{location}", f"{network}softmax_{location}")
        )
        assert row["value"] == pytest.approx(ours - rival)
        assert row["low"] <= row["value"] <= row["high"]
    assert paired_rate_difference([1, 1], [1, 0]).value == 0.5


def test_tables_and_figure_are_filled(certified_run):
    tables = protocol_tables(certified_run.table, DESCRIPTION)
    assert [len(table.rows) for table in tables] == [6, 6, 4]
    assert tables[0].columns == [
        "Model",
        "The network itself",
        "0 poisons",
        "3 poisons",
        "12 poisons",
    ]
    (spec,) = DESCRIPTION.figures
    (figure,) = table_figures(certified_run.table, "certified", spec)
    names = {t.get_text() for t in figure.figure.axes[0].get_legend().get_texts()}
    assert "L-GM, median" in names


def test_heads_of_fewer_rows_stand_beside_those_of_all(tiny_npz, certified_run):
    own = {"shares": (0.1, 0.4), "n_iter": 2, "rows_per_class": (10,)}
    table = tiny_run(tiny_npz, "certified", **own)[0].table
    few = table.filter(pl.col("variant").is_not_null())
    assert set(few["variant"]) == {"10 rows per class"}
    assert few.filter(metric="certified_accuracy").height == 6 * 3
    assert set(few["n_poisons"]) == {0, 1, 4}  # of 10 rows of a class
    of_all = table.filter(pl.col("variant").is_null())
    assert of_all.equals(certified_run.table)
    titles = [t.caption for t in protocol_tables(table, DESCRIPTION)]
    assert sum("10 rows per class" in title for title in titles) == 2
    (figure,) = table_figures(table, "certified", DESCRIPTION.figures[0])
    assert len(figure.figure.axes[0].get_legend().get_texts()) == 6
    assert run_verdicts(table, [DESCRIPTION]) == run_verdicts(of_all, [DESCRIPTION])


def test_the_first_rows_of_each_class_make_the_smaller_heads():
    y = np.array([1, 0, 0, 1, 1, 0, 0, 1, 0, 1])
    settings = get_protocol("certified").settings(rows_per_class=(3, 4))
    all_rows, three, four = _list_subsets(y, settings, None)
    assert (all_rows.variant, list(all_rows.rows)) == (None, list(range(10)))
    assert list(three.rows) == [0, 1, 2, 3, 4, 5]
    assert list(four.rows) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert three.counts == {1: 0.02}
    with pytest.raises(ValueError, match="at least 3 and below the 5 rows"):
        _list_subsets(y, get_protocol("certified").settings(rows_per_class=(2,)), None)
    with pytest.raises(ValueError, match="at least 3 and below the 5 rows"):
        _list_subsets(y, get_protocol("certified").settings(rows_per_class=(5,)), None)


def test_novel_classes_are_left_to_heads_and_test_rows(tiny_context):
    known = tiny_context.partition
    with pytest.raises(ValueError, match="n_novel_classes must be 0, or leave"):
        _with_novel_classes(tiny_context, 2)
    y = np.arange(len(known.y_refit)) % 5  # five classes
    five = replace(known, y_refit=y, y_test=np.arange(len(known.y_test)) % 5)
    variant, context = _with_novel_classes(tiny_context.on(five), 2)
    assert variant == "2 novel classes"
    own = context.partition
    novel = set(own.y_refit)
    assert len(novel) == 2
    assert set(own.y_test) == novel
    assert not novel & set(own.y_backbone)
    is_novel = np.isin(y, [*novel])
    np.testing.assert_array_equal(own.X_refit, known.X_refit[is_novel])
    np.testing.assert_array_equal(own.refit_rows, known.refit_rows[is_novel])
    kept = ~np.isin(known.y_backbone, [*novel])
    np.testing.assert_array_equal(own.X_backbone, known.X_backbone[kept])
    assert context.runner is tiny_context.runner
    assert tiny_context.partition is known


@pytest.fixture(scope="module")
def five_classes(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("five") / "five.npz"
    y = np.arange(600) % 5
    X = rng.normal(size=(600, 6)) + 4.0 * np.eye(5, 6)[y]
    np.savez(path, X=X.astype(np.float32), y=y)
    return path


def test_heads_of_novel_classes_stand_beside_those_of_known_ones(five_classes):
    own = {"shares": (0.1,), "n_iter": 1, "rows_per_class": (10,)}
    known = tiny_run(five_classes, "certified", **own)[0].table
    both = tiny_run(five_classes, "certified", n_novel_classes=2, **own)[0].table
    of_novel = both.filter(pl.col("variant").str.contains("novel").fill_null(False))
    variants = {"2 novel classes", "2 novel classes, 10 rows per class"}
    assert set(of_novel["variant"]) == variants
    assert both.join(of_novel, on=both.columns, how="anti", nulls_equal=True).equals(
        known
    )
    assert set(of_novel["victim"]) == VICTIMS
    assert "backbone_accuracy" not in set(of_novel["metric"])
    right = of_novel.filter(metric="certified_accuracy", n_poisons=0)
    assert set(right["n"]) == {48}  # two fifths of 120 test rows
    assert right["value"].max() > 0.7  # half by chance
    titles = [t.caption for t in protocol_tables(both, DESCRIPTION)]
    assert sum("2 novel classes" in title for title in titles) == 4
    assert run_verdicts(both, [DESCRIPTION]) == run_verdicts(known, [DESCRIPTION])


def test_the_attack_can_be_left_out(tiny_npz):
    table = tiny_run(tiny_npz, "certified", shares=(0.1,), n_iter=0)[0].table
    assert "attacked_accuracy" not in set(table["metric"])
    assert table.filter(pl.col("attack").is_not_null()).is_empty()


def test_classes_that_are_too_small_are_an_error_before_any_training(tiny_npz):
    stages = []
    with pytest.raises(ValueError, match="at least 3 training rows of each class"):
        run(
            tiny_settings(tiny_npz, n_refit=6),
            ("certified",),
            progress=lambda stage, n_done, n: stages.append(stage),
        )
    assert set(stages) == {"load data"}


def test_the_second_softmax_network_is_smoothed_more_than_a_recipe_does(tiny_context):
    recipe = tiny_context.settings.model_copy(update={"recipe": "natural_images_quick"})
    context = copy(tiny_context)
    context.settings = recipe
    protocol = get_protocol("certified")
    with pytest.raises(ValueError, match="label_smoothing must be above 0.2, that of"):
        protocol.check(context, protocol.settings(label_smoothing=0.2))
    protocol.check(context, protocol.settings(label_smoothing=0.4))


def test_counts_are_of_the_rows_for_heads(tiny_context):
    counts = tiny_context.partition.share_counts((0.1, 0.4))
    assert counts == {n: share for n, share in COUNTS.items() if n}
    assert np.bincount(tiny_context.partition.y_refit).tolist() == [30, 30, 30]
