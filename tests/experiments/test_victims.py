import numpy as np
import pytest
from sklearn.base import clone

from sklgm.classifiers import LGMClassifier, RobustGaussianClassifier
from sklgm.experiments._training import Prediction
from sklgm.experiments._victims import (
    converged_victims,
    defence,
    make_victims,
    with_diagonal,
)
from tests.experiments.conftest import VICTIMS


def test_there_are_four_victims_on_two_networks(tiny_context):
    victims = make_victims(tiny_context, refit_epochs=2)
    assert {v.name for v in victims} == set(VICTIMS)
    assert {v.variant for v in victims} == {None}
    by_network = {v.name: v.network for v in victims}
    assert by_network["lgm_trim"] == by_network["lgm"] == "lgm"


def test_without_a_refit_softmax_and_lgm_are_the_networks_themselves(tiny_context):
    heads = {v.name: v.head for v in make_victims(tiny_context)}
    assert heads["softmax"] is heads["lgm"] is None
    assert isinstance(heads["lgm_trim"], RobustGaussianClassifier)


def test_gaussians_have_the_variance_of_their_network(tiny_context):
    heads = {v.name: v.head for v in make_victims(tiny_context, 1)}
    lgm = tiny_context.networks["lgm"]
    assert heads["lgm"].variance == heads["lgm_trim"].variance == lgm.covariances_
    features = tiny_context.networks["softmax"].transform(
        tiny_context.partition.X_backbone
    )
    within = RobustGaussianClassifier().fit(features, tiny_context.partition.y_backbone)
    afterwards = heads["softmax_trimmed_gaussians"]
    assert afterwards.variance == 16.0 * within.covariances_
    assert afterwards.trim == 0.25


def test_an_lgm_head_is_trained_from_the_class_means(tiny_context):
    (victim,) = [v for v in make_victims(tiny_context, 1) if v.name == "lgm"]
    features = tiny_context.networks["lgm"].transform(tiny_context.partition.X_refit)
    y = tiny_context.partition.y_refit
    head = clone(victim.head).set_params(lr=1e-12).fit(features, y)
    assert isinstance(head, LGMClassifier)
    assert head.n_iter_ == 1
    means = [features[y == label].mean(axis=0) for label in head.classes_]
    np.testing.assert_allclose(head.means_, means, rtol=1e-5, atol=1e-5)


def test_converged_heads_leave_nothing_to_gain(tiny_context):
    partition = tiny_context.partition
    for victim in converged_victims(tiny_context, 5):
        assert (victim.variant, victim.meets) == ("converged", "most")
        features = tiny_context.networks[victim.network].transform(partition.X_refit)
        head = clone(victim.head).fit(features, partition.y_refit)
        losses = head.history_[:, "train_loss"]
        assert losses[-1] <= losses[0]
        assert head.score(features, partition.y_refit) > 0.9


def test_the_defence_is_no_variant(tiny_context):
    victims = make_victims(tiny_context, 1)
    variant = with_diagonal(victims)
    assert variant.head.covariance_type == "diag"
    assert defence((variant, *victims), "softmax").variant is None
    assert defence(victims, "lgm").name == "lgm_trim"


@pytest.mark.parametrize("network", ["softmax", "lgm"])
def test_the_head_of_a_network_says_what_the_network_says(tiny_context, network):
    clf, X_test = tiny_context.networks[network], tiny_context.partition.X_test
    own = Prediction.of(clf.head_, clf.transform(X_test))
    np.testing.assert_array_equal(own.labels, clf.predict(X_test))
    np.testing.assert_allclose(
        own.log_proba, clf.predict_log_proba(X_test), rtol=1e-3, atol=1e-4
    )


def test_a_margin_is_the_difference_of_two_log_probabilities():
    said = Prediction(
        np.array(["b"]), np.log([[0.2, 0.5, 0.3]]), np.array(["a", "b", "c"])
    )
    assert said.margin(0, "a", "b") == pytest.approx(np.log(0.2 / 0.5))
