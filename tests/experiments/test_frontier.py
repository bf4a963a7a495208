import pytest

from sklgm.experiments.frontier import FrontierSettings, _strengths
from tests.experiments.conftest import VICTIMS, chosen, tiny_run

BOUNDS, REACHES = (0.05, 0.2, None), (0.5, 1.5)


def test_the_frontier_sweeps_bounds_and_reaches():
    settings = FrontierSettings(bounds=BOUNDS, reaches=REACHES)
    swept = [(a.name, a.bound, a.reach) for a in _strengths(settings, has_images=True)]
    assert swept == [
        *(("feature_collision", bound, None) for bound in BOUNDS),
        *(("bullseye_polytope", bound, None) for bound in BOUNDS),
        *(("adaptive_likelihood", None, reach) for reach in REACHES),
        *(("adaptive_posterior", None, reach) for reach in REACHES),
    ]


def test_rows_that_are_no_images_have_no_bounds():
    without = _strengths(FrontierSettings(bounds=BOUNDS, reaches=()), has_images=False)
    assert [(a.name, a.bound) for a in without] == [
        ("feature_collision", None),
        ("bullseye_polytope", None),
    ]


def test_there_are_22_strengths_by_default():
    assert len(_strengths(FrontierSettings(), has_images=True)) == 22


@pytest.fixture(scope="module")
def frontier_run(tiny_npz):
    return tiny_run(
        tiny_npz, "frontier", bounds=BOUNDS, reaches=REACHES, n_poisons=(5,)
    )[0]


@pytest.mark.slow
def test_every_strength_is_a_row_of_every_victim(frontier_run):
    table = frontier_run.table
    rates = chosen(table, metric="attack_success_rate", variant=None)
    attacked = rates.drop_nulls("attack")
    assert len(attacked) == 10 * len(VICTIMS)
    assert set(attacked["n_poisons"]) == {3}
    swept = attacked.select("attack", "bound", "reach").unique()
    assert len(swept) == 10
    found = table.filter(metric="tpr_at_1pct_fpr")
    assert len(found.select("attack", "bound", "reach").unique()) == 10
    assert set(table["protocol"]) == {"frontier"}


@pytest.mark.slow
def test_wider_bounds_collide_closer(frontier_run):
    tight, wide = (
        chosen(
            frontier_run.table, attack="feature_collision", bound=bound,
            victim="softmax", metric="collision_ratio",
        )["value"].item()
        for bound in (0.05, None)
    )  # fmt: skip
    assert wide < tight
