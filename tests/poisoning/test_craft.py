import copy
import dataclasses

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from sklgm.classifiers import SoftmaxClassifier
from sklgm.poisoning import CraftResult, craft, make_surrogate
from sklgm.poisoning._search import STOP_REASONS
from tests.poisoning.conftest import Network, assert_same, snapshot


def feature_distance(network, x, target):
    with torch.no_grad():
        difference = network.backbone(torch.tensor(x)) - network.backbone(
            torch.tensor(target)
        )
    return np.linalg.norm(difference.numpy(), axis=1)


def assert_equal_results(result, other, **tolerance):
    for field in dataclasses.fields(CraftResult):
        value, expected = getattr(result, field.name), getattr(other, field.name)
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected, **tolerance)
        else:
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("watermark_opacity", [0.0, 0.3])
@pytest.mark.parametrize("max_perturbation", [None, 0.2])
def test_objective_and_feature_distance_fall(
    relu_network, rows, watermark_opacity, max_perturbation
):
    result = craft(
        relu_network,
        *rows,
        watermark_opacity=watermark_opacity,
        max_perturbation=max_perturbation,
    )
    assert (result.objective_final < result.objective_initial).all()
    assert (result.feature_distance_final < result.feature_distance_initial).all()


def test_poisons_collide_with_their_targets(image_network, images):
    result = craft(image_network.eval(), *images)
    assert (result.collision_ratio < 0.1).all()


def test_diagnostics_are_those_of_the_poisons(relu_network, rows):
    X_base, X_target = rows
    result = craft(relu_network, X_base, X_target, similarity_weight=0.02)
    initial = feature_distance(relu_network, X_base, X_target)
    final = feature_distance(relu_network, result.X_poison, X_target)
    l2 = np.linalg.norm(result.X_poison - X_base, axis=1)
    np.testing.assert_allclose(result.feature_distance_initial, initial)
    np.testing.assert_allclose(result.feature_distance_final, final)
    np.testing.assert_allclose(result.collision_ratio, final / initial)
    np.testing.assert_allclose(result.l2, l2)
    np.testing.assert_allclose(result.linf, np.abs(result.X_poison - X_base).max(1))
    objective = (final / initial) ** 2 + 0.02 * l2**2
    np.testing.assert_allclose(result.objective_initial, 1.0)
    np.testing.assert_allclose(result.objective_final, objective)
    assert set(result.stop_reason) <= set(STOP_REASONS)
    assert (result.n_iter >= 1).all()


def test_without_feature_scaling_the_objective_is_that_of_poison_frogs(
    relu_network, rows
):
    result = craft(relu_network, *rows, feature_scaling=None, similarity_weight=0.5)
    expected = result.feature_distance_final**2 + 0.5 * result.l2**2
    np.testing.assert_allclose(
        result.objective_initial, result.feature_distance_initial**2
    )
    np.testing.assert_allclose(result.objective_final, expected)


def test_feature_scaling_makes_the_poisons_independent_of_the_feature_scale(
    linear_network, rows
):
    scaled = copy.deepcopy(linear_network)
    with torch.no_grad():
        for parameter in scaled.backbone.parameters():
            parameter *= 100
    result = craft(linear_network, *rows)
    np.testing.assert_allclose(
        craft(scaled, *rows).X_poison, result.X_poison, atol=1e-6
    )


def test_scaled_linear_network_reaches_the_closed_form_minimiser(linear_network, rows):
    X_base, X_target = rows
    result = craft(
        linear_network,
        X_base,
        X_target,
        similarity_weight=0.3 * 200**2,  # of squares in widths of the range
        pixel_range=(-100.0, 100.0),
        max_iter=500,
        tol=1e-12,
    )
    W = linear_network.backbone.weight.detach().numpy()
    for b, t, poison in zip(X_base, X_target, result.X_poison, strict=True):
        # (W'W / s + beta I) x = W'W t / s + beta b, s the base's squared distance.
        gram = W.T @ W / np.sum((W @ (b - t)) ** 2)
        expected = np.linalg.solve(gram + 0.3 * np.eye(6), gram @ t + 0.3 * b)
        np.testing.assert_allclose(poison, expected, atol=1e-5)


def test_a_heavier_penalty_keeps_poisons_closer_to_their_bases(relu_network, rows):
    l2 = [
        craft(relu_network, *rows, similarity_weight=beta, max_iter=300).l2
        for beta in (0.001, 0.1, 10.0)
    ]
    assert (l2[0] > l2[1]).all()
    assert (l2[1] > l2[2]).all()


def test_watermark_is_blended_into_start_and_anchor(linear_network, rows):
    X_base, X_target = rows
    # So heavy a penalty that the poison stays at the anchor.
    result = craft(
        linear_network,
        X_base,
        X_target,
        watermark_opacity=0.25,
        similarity_weight=1e9,
    )
    blend = 0.75 * X_base + 0.25 * X_target
    np.testing.assert_allclose(result.X_poison, blend, atol=1e-6)
    # Norms are about the original base.
    np.testing.assert_allclose(
        result.linf, 0.25 * np.abs(X_target - X_base).max(axis=1), rtol=1e-4
    )


def test_bound_on_the_perturbation_is_about_the_original_base(linear_network, rows):
    result = craft(linear_network, *rows, watermark_opacity=0.9, max_perturbation=0.05)
    assert (result.linf <= 0.05).all()
    assert (result.linf > 0.049).all()


def test_one_target_may_serve_all_bases(relu_network, rows):
    X_base, X_target = rows
    repeated = np.repeat(X_target[:1], len(X_base), axis=0)
    assert_equal_results(
        craft(relu_network, X_base, X_target[:1]),
        craft(relu_network, X_base, repeated),
    )


def test_batch_size_does_not_matter(relu_network, rows):
    settings = {"max_iter": 20}
    assert_equal_results(
        craft(relu_network, *rows, batch_size=2, **settings),
        craft(relu_network, *rows, **settings),
        rtol=1e-6,
    )


def test_a_poison_does_not_depend_on_the_others(relu_network, rows):
    X_base, X_target = rows
    together = craft(relu_network, X_base, X_target, max_iter=20)
    for i in range(len(X_base)):
        alone = craft(relu_network, X_base[i : i + 1], X_target[i : i + 1], max_iter=20)
        np.testing.assert_allclose(alone.X_poison[0], together.X_poison[i], atol=1e-6)


def test_repeated_calls_give_the_same_poisons(image_network, images):
    first, second = (craft(image_network, *images, max_iter=10) for _ in range(2))
    assert_equal_results(first, second, rtol=0)


def test_inputs_and_model_are_unchanged(image_network, images):
    image_network.train()
    image_network.backbone[3].eval()
    X_base, X_target = images[0].copy(), images[1].copy()
    before = copy.deepcopy(snapshot(image_network))
    state = torch.get_rng_state()
    craft(image_network, X_base, X_target, max_iter=5)
    assert_same(before, snapshot(image_network))
    assert all(parameter.grad is None for parameter in image_network.parameters())
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(X_base, images[0])
    np.testing.assert_array_equal(X_target, images[1])


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler((-1, 1))])
def test_pipeline_crafts_in_the_raw_input_space(training_set, new_rows, scaler):
    X, y = training_set
    raw, raw_new = 50 * X + 3, 50 * new_rows + 3
    clf = SoftmaxClassifier(max_epochs=2, dtype="float64", random_state=0)
    pipe = make_pipeline(scaler, clf).fit(raw, y)

    # The same network with the scaler folded into its first layer.
    folded = copy.deepcopy(clf.net_.module_)
    first = next(m for m in folded.backbone.modules() if isinstance(m, nn.Linear))
    origin, unit = scaler.transform(np.zeros((1, 6)))[0], np.eye(6)
    slope = np.diag(scaler.transform(unit) - origin)
    with torch.no_grad():
        first.bias += first.weight @ torch.tensor(origin)
        first.weight *= torch.tensor(slope)

    settings = {"pixel_range": (3.0, 53.0), "similarity_weight": 1e-6, "max_iter": 20}
    result = craft(pipe, raw[:4], raw_new, **settings)
    expected = craft(folded, raw[:4], raw_new, **settings)
    np.testing.assert_allclose(result.X_poison, expected.X_poison, atol=1e-6)
    assert (result.collision_ratio < 0.5).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_types_are_kept(relu_network, rows, dtype):
    X_base, X_target = (array.astype(dtype) for array in rows)
    result = craft(relu_network, X_base, X_target, max_iter=3)
    assert result.X_poison.dtype == dtype
    assert result.l2.dtype == np.float64


def test_integer_images_become_floats(image_network, images):
    X_base, X_target = ((255 * array).astype(np.uint8) for array in images)
    result = craft(
        image_network,
        X_base,
        X_target,
        pixel_range=(0, 255),
    )
    assert result.X_poison.dtype == np.float32
    assert (result.collision_ratio < 0.3).all()


def test_units_of_the_columns_do_not_matter(relu_network, rows):
    X_base, X_target = rows
    units = 2.0 ** np.array([-10, 0, 10, 8, 3, -20])  # exact, but for sums
    origin = units * [0, 5, -3, 0, 100, 0]
    network = copy.deepcopy(relu_network)
    with torch.no_grad():
        first = network.backbone[0]
        first.bias -= first.weight @ torch.from_numpy(origin / units).to(first.bias)
        first.weight /= torch.from_numpy(units).to(first.weight)
    settings = {"similarity_weight": 0.02, "watermark_opacity": 0.1}
    expected = craft(relu_network, X_base, X_target, **settings)
    result = craft(
        network,
        X_base * units + origin,
        X_target * units + origin,
        pixel_range=(origin, origin + units),
        **settings,
    )
    np.testing.assert_allclose(
        (result.X_poison - origin) / units, expected.X_poison, atol=1e-3
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (lambda X: X.transpose(0, 2, 3, 1), r"shape \(1, 6, 6\) .* got .* \(6, 6, 1\)"),
        (lambda X: X[:, :, :5], r"rows of 36 values, got .* \(1, 5, 6\)"),
    ],
)
def test_instances_of_another_shape_are_refused(images, arrays, message):
    clf = SoftmaxClassifier("mlp", max_epochs=1, random_state=0)
    clf.fit(np.concatenate(images), np.arange(len(np.concatenate(images))) % 2)
    with pytest.raises(ValueError, match=message):
        craft(clf, *(arrays(array) for array in images))


def test_a_pair_in_the_wrong_order_is_said(rows):
    class TwoOutputs(nn.Module):
        def forward(self, X):
            return X, X

    with pytest.raises(TypeError, match="the backbone comes first"):
        craft((TwoOutputs(), nn.Linear(6, 2)), *rows)


@pytest.mark.parametrize("given", [5, (1, 0), (0, 1, 2), "ab", (np.ones(5), 9)])
def test_ranges_that_are_none_are_named(relu_network, rows, given):
    with pytest.raises(ValueError, match="pixel_range must"):
        craft(relu_network, *rows, pixel_range=given)


def test_pixel_range_may_differ_by_column(relu_network, rows):
    X_base, X_target = rows
    low, high = X_base.min(axis=0), X_base.max(axis=0)
    result = craft(relu_network, X_base, X_target, pixel_range=(low, high))
    assert (result.X_poison >= low).all()
    assert (result.X_poison <= high).all()


def test_a_base_that_is_the_target_is_returned_as_it_is(relu_network, rows):
    X_base, X_target = rows
    result = craft(
        relu_network, X_base, np.vstack([X_base[:1], X_target[1:]]), max_iter=5
    )
    assert result.stop_reason[0] == "at_target"
    np.testing.assert_array_equal(result.X_poison[0], X_base[0])
    assert result.collision_ratio[0] == result.feature_distance_initial[0] == 0
    assert result.n_iter[0] == 0
    assert (result.collision_ratio[1:] > 0).all()


def test_a_base_with_the_features_of_the_target_is_returned_as_it_is():
    # Dead units: every instance has the same features.
    network = Network(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Linear(2, 2))
    with torch.no_grad():
        network.backbone[0].bias -= 100
    X_base, X_target = np.eye(3), np.ones((1, 3))
    result = craft(network, X_base, X_target, watermark_opacity=0.5)
    assert result.stop_reason.tolist() == ["at_target"] * 3
    np.testing.assert_array_equal(result.X_poison, X_base)
    assert result.collision_ratio.tolist() == [0.0] * 3


def test_values_that_are_not_finite_never_leave(relu_network, rows):
    class Overflow(nn.Module):
        def forward(self, x):
            return x * torch.where(x[:, :1] > 0.9, torch.inf, 1.0)

    network = Network(nn.Sequential(Overflow(), relu_network.backbone), nn.Identity())
    X_base, X_target = rows[0].copy(), rows[1].copy()
    X_base[:, 0] = [0.95, 0.1, 0.1, 0.1, 0.1]
    X_target[:, 0] = [0.1, 0.1, 0.1, 0.1, 0.95]
    result = craft(network, X_base, X_target, max_iter=10)
    assert (result.stop_reason[[0, 4]] == "non_finite").all()
    np.testing.assert_array_equal(result.X_poison[[0, 4]], X_base[[0, 4]])
    assert np.isfinite(result.X_poison).all()
    assert np.isnan(result.objective_final[[0, 4]]).all()
    assert (result.collision_ratio[1:4] < 1).all()


def test_a_search_that_cannot_start_returns_the_base(rows):
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    X_base, X_target = rows[0].copy(), rows[1]
    X_base[0, 0] = 0.0  # where the root has an infinite slope
    result = craft((Root(), nn.Identity()), X_base, X_target)
    assert result.stop_reason[0] == "non_finite"
    np.testing.assert_array_equal(result.X_poison[0], X_base[0].astype(np.float64))
    assert (result.collision_ratio[1:] < 0.1).all()


def test_no_bases_give_no_poisons(relu_network, rows):
    result = craft(relu_network, rows[0][:0], rows[1][:1])
    assert result.X_poison.shape == (0, 6)
    assert all(len(getattr(result, f.name)) == 0 for f in dataclasses.fields(result))


def test_a_surrogate_of_ones_own_can_be_attacked(rows):
    class Sines:
        input_shape, classes = None, None
        device, dtype = torch.device("cpu"), torch.float64

        def features(self, X):
            return X.sin()

        def log_joint(self, features):
            return features

        def predict(self, X):
            return self.features(X).argmax(1)

    surrogate = Sines()
    assert make_surrogate(surrogate) is surrogate
    result = craft(surrogate, *rows, similarity_weight=0.0)
    assert (result.collision_ratio < 0.05).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"similarity_weight": -1.0}, "similarity_weight must be .* >= 0, got -1.0"),
        ({"similarity_weight": np.nan}, "similarity_weight must be .* got nan"),
        ({"similarity_weight": "1"}, "similarity_weight must be .* got '1'"),
        ({"step_size": 0.0}, "step_size must be a finite float > 0 or None, got 0.0"),
        ({"max_perturbation": 0}, "max_perturbation must be .* > 0 or None, got 0"),
        ({"watermark_opacity": 1.0}, r"watermark_opacity must be .* \[0, 1\), got 1.0"),
        ({"feature_scaling": "l2"}, "feature_scaling must be .* or None, got 'l2'"),
        ({"max_iter": 0}, "max_iter must be an int >= 1, got 0"),
        ({"max_iter": 1.5}, "max_iter must be an int >= 1, got 1.5"),
        ({"tol": -1e-3}, "tol must be a finite float >= 0, got -0.001"),
        ({"batch_size": 0}, "batch_size must be an int >= 1, got 0"),
        ({"pixel_range": (0.0,)}, r"pixel_range must be \(low, high\), finite"),
        ({"pixel_range": (1.0, 0.0)}, r"pixel_range must be \(low, high\), finite"),
        ({"pixel_range": (0.0, np.inf)}, r"pixel_range must be \(low, high\), finite"),
        ({"pixel_range": (0.0, 0.5)}, r"X_base must lie in pixel_range=\(0.0, 0.5\)"),
        ({"X_base": np.zeros(6)}, r"X_base must be a numeric array .* shape \(6,\)"),
        ({"X_base": [["a"]]}, "X_base must be a numeric array .* dtype <U1"),
        ({"X_base": np.full((5, 6), np.nan)}, "X_base must be finite"),
        ({"X_target": np.full((1, 6), np.inf)}, "X_target must be finite"),
        ({"X_target": np.zeros((2, 6))}, "X_target holds 2 targets .* for 5 bases"),
        ({"X_target": np.zeros((5, 7))}, r"X_target must hold .* got shape \(5, 7\)"),
    ],
)
def test_bad_input_is_an_error_that_names_it(relu_network, rows, settings, message):
    settings = {"X_base": rows[0], "X_target": rows[1], **settings}
    with pytest.raises(ValueError, match=message):
        craft(relu_network, **settings)
