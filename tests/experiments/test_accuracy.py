"""Protocol accuracy: both networks on clean rows."""

import pytest

from sklgm.experiments import run
from sklgm.metrics import wilson_rate
from tests.experiments.conftest import chosen, tiny, tiny_run, tiny_settings


def value(result, **values):
    (row,) = chosen(result.table, **values).rows(named=True)
    return row


def test_accuracy_of_both_networks_is_a_share_of_the_test_rows(tiny_npz, tiny_context):
    result, arrays = tiny_run(tiny_npz, "accuracy")
    assert arrays == ()
    assert result.trials.is_empty()
    X_test, y_test = tiny_context.partition.X_test, tiny_context.partition.y_test
    for victim, clf in tiny_context.networks.items():
        row = value(result, victim=victim, metric="clean_accuracy")
        n_right = int((clf.predict(X_test) == y_test).sum())
        expected = wilson_rate(n_right, len(y_test))
        assert row["value"] == pytest.approx(expected.value)
        assert row["low"] == pytest.approx(expected.low)
        assert row["n"] == len(y_test)


def test_training_time_and_speed_belong_together(tiny_npz):
    result, _ = tiny_run(tiny_npz, "accuracy")
    for victim in ("softmax", "lgm"):
        seconds = value(result, victim=victim, metric="train_seconds")
        speed = value(result, victim=victim, metric="rows_per_second")
        assert seconds["value"] > 0
        assert seconds["n"] == 200
        assert speed["value"] * seconds["value"] == pytest.approx(200 * 20)


def test_a_recipe_takes_the_place_of_backbone_epochs_and_margin(tiny_npz):
    from sklgm.experiments._networks import make_networks

    settings = tiny_settings(tiny_npz, recipe="natural_images_small")
    for clf in make_networks(settings).values():
        assert (clf.backbone, clf.max_epochs, clf.feature_dim) == ("airbench", 20, 8)
    assert make_networks(settings)["lgm"].margin == 1.0
    assert make_networks(settings, max_epochs=2)["softmax"].max_epochs == 2


def test_rows_say_by_which_recipe_networks_were_trained(stripes_of_16_pixels):
    settings = tiny_settings(stripes_of_16_pixels, recipe="natural_images_small")
    result, _ = run(settings, {"accuracy": tiny("accuracy")}, command="c", n_jobs=1)
    assert set(result.table["variant"]) == {"natural_images_small"}


@pytest.fixture(scope="module")
def stripes_of_16_pixels(tmp_path_factory):
    import numpy as np

    from sklgm.datasets import make_stripe_images

    X, y = make_stripe_images(240, 3, (3, 16, 16), noise=0.2, random_state=0)
    path = tmp_path_factory.mktemp("data") / "stripes16.npz"
    np.savez(path, X=X[:200], y=y[:200], X_test=X[200:], y_test=y[200:])
    return path
