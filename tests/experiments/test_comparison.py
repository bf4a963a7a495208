"""The engine: which rows a victim is trained on, and what is counted."""

import numpy as np
import pytest

from sklgm.experiments import _comparison as engine
from sklgm.experiments._comparison import Comparison
from sklgm.experiments._partition import Targets
from sklgm.experiments._settings import PlannedAttack, TargetSettings
from sklgm.experiments._training import Measurement, Training
from sklgm.experiments._victims import make_victims, with_diagonal

# So strong a penalty leaves each poison at the blend of base and target.
BLEND = TargetSettings(
    n_targets=4, similarity_weight=1e6, max_iter=5, watermark_opacity=0.5
)


@pytest.fixture(scope="module")
def comparison(tiny_context):
    victims = make_victims(tiny_context, refit_epochs=2)
    return Comparison(
        tiny_context,
        "transfer",
        [Training((v,)) for v in (*victims, with_diagonal(victims))],
        BLEND,
        n_poisons=(1, 3),
    )


def attacked(comparison, name):
    """Items that an attack yields, and what its trainings were given."""
    calls = []

    def spy(*arguments):
        calls.append(arguments)
        return real(*arguments)

    real = engine.measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "measure", spy)
        items = list(comparison.attack([PlannedAttack(name, is_watermarked=True)]))
    return items, calls


@pytest.mark.parametrize("name", ["feature_collision", "bullseye_polytope"])
def test_every_training_has_the_poisons_of_its_own_target(comparison, name):
    partition, targets = comparison.context.partition, comparison.targets
    assert len(targets.rows) >= 3
    calls = iter(attacked(comparison, name)[1])
    for network, clf in comparison.networks.items():
        for training in comparison.trainings:
            if training.network != network:
                continue
            for n in (1, 3):
                for t, row in enumerate(targets.rows):
                    bases = targets.base_rows[t, :n]
                    blend = 0.5 * (partition.X_refit[bases] + partition.X_test[row])
                    found, rows, _, _, target, in_detail = next(calls)
                    features, y, is_poison = rows
                    assert found is training
                    assert target == comparison.target(t)
                    assert in_detail == (n == 3)
                    assert set(np.flatnonzero(is_poison)) == set(bases)
                    np.testing.assert_array_equal(y, partition.y_refit)
                    np.testing.assert_allclose(
                        features[bases], clf.transform(blend), atol=0.02
                    )
                    np.testing.assert_array_equal(
                        features[~is_poison], comparison.features[network][~is_poison]
                    )
    assert next(calls, None) is None


def test_a_victim_meets_its_own_counts_only(comparison):
    victim = comparison.victims[0]
    assert Training((victim,)).counts((2, 5, 25)) == [2, 5, 25]
    told = Training((type(victim)("x", "softmax", meets=5),))
    assert told.counts((2, 5, 25)) == [5]
    most = Training((type(victim)("x", "softmax", meets="most"),))
    assert most.counts((2, 5, 25)) == [25]


def test_controls_are_the_same_training_without_poisons(comparison):
    for training, control in zip(
        comparison.trainings, comparison.controls, strict=True
    ):
        X, X_test = (
            inputs[training.network]
            for inputs in (comparison.inputs, comparison.test_inputs)
        )
        nothing = X, comparison.y, np.arange(len(X)) < 3  # called poisons: not changed
        (measured,) = engine.measure(
            training, nothing, X_test, comparison.y_test, comparison.target(0), True
        )
        assert measured.label == control.labels[comparison.targets.rows[0]]
        assert measured.margin == control.margin(*comparison.target(0))
        assert measured.accuracy == np.mean(control.labels == comparison.y_test)


def test_share_that_is_kept_is_that_of_the_poisons(comparison):
    (training,) = [t for t in comparison.trainings if t.victims[0].name == "lgm_trim"]
    X = comparison.inputs["lgm"].copy()
    is_poison = np.arange(len(X)) < 2
    X[is_poison] += 100.0
    (measured,) = engine.measure(
        training,
        (X, comparison.y, is_poison),
        comparison.test_inputs["lgm"],
        comparison.y_test,
        comparison.target(0),
        True,
    )
    assert measured.kept_share == 0.0
    assert set(measured.detection) == {"likelihood", "posterior", "combined"}
    assert measured.detection["likelihood"] == (1.0, 1.0)


def test_no_target_that_counts_is_a_rate_of_nan_not_an_error(comparison):
    one = Targets(np.array([0]), np.array([0]), np.array([1]), np.array([[20]]), 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "targets", one)
        patch.setattr(comparison, "is_right", np.zeros((5, 120), dtype=bool))
        measured = [Measurement(1, -1.0, None, {}, None)]
        which = {**comparison._columns, "victim": "softmax", "variant": None}
        rows = list(comparison._outcome_rows(which, 0, measured))
    assert [(r.metric, r.n) for r in rows] == [
        ("attack_success_rate", 0),
        ("attack_success_rate_common", 0),
    ]
    assert all(np.isnan(r.value) for r in rows)


def test_attacking_changes_neither_rows_nor_networks(comparison):
    before = comparison.context.partition.X_refit.copy()
    weights = [clf.head_ for clf in comparison.networks.values()]
    attacked(comparison, "feature_collision")
    np.testing.assert_array_equal(comparison.context.partition.X_refit, before)
    assert [clf.head_ for clf in comparison.networks.values()] == weights
