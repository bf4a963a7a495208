import math

import numpy as np
import pytest
import torch

from sklgm.poisoning._search import (
    NON_FINITE,
    STOP_REASONS,
    best_of,
    forward_backward,
    proximal_step,
)

WIDE = 1e6


def reasons(result):
    return [STOP_REASONS[code] for code in result.stop_code.tolist()]


def search(smooth, x_anchor, low=-WIDE, high=WIDE, **settings):
    settings = {"similarity_weight": 0.0, **settings}
    low = torch.as_tensor(low, dtype=x_anchor.dtype).expand_as(x_anchor)
    high = torch.as_tensor(high, dtype=x_anchor.dtype).expand_as(x_anchor)
    return forward_backward(smooth, x_anchor, low, high, **settings)


def squares(x, rows):
    return x.square().sum(dim=1)


def quartic(x, rows):
    return (x - 0.3).pow(4).sum(dim=1) + 0.1 * x.square().sum(dim=1)


def collision(network, target):
    def smooth(x, rows):
        return (network.backbone(x) - network.backbone(target[rows])).pow(2).sum(1)

    return smooth


@pytest.mark.parametrize("similarity_weight", [0.0, 0.3, 10.0])
def test_proximal_step_matches_the_formula_pixel_by_pixel(similarity_weight):
    rng = np.random.RandomState(0)
    x_forward, anchor = rng.normal(size=(2, 4, 3))
    step = rng.uniform(size=(4, 1))
    result = proximal_step(
        torch.from_numpy(x_forward),
        torch.from_numpy(anchor),
        torch.tensor(-0.5),
        torch.tensor(0.5),
        step=torch.from_numpy(step),
        similarity_weight=similarity_weight,
    )
    for i in range(4):
        for j in range(3):
            pull = 2 * step[i, 0] * similarity_weight
            expected = (x_forward[i, j] + pull * anchor[i, j]) / (1 + pull)
            expected = min(max(expected, -0.5), 0.5)
            assert result[i, j].item() == pytest.approx(expected)


def test_proximal_step_is_the_best_point_of_the_box():
    rng = np.random.RandomState(0)
    x_forward, anchor, step, beta = rng.normal(size=5), rng.normal(size=5), 0.7, 0.4

    def objective(x):
        penalty = step * beta * ((x - anchor) ** 2).sum(axis=-1)
        return ((x - x_forward) ** 2).sum(axis=-1) / 2 + penalty

    best = proximal_step(
        torch.from_numpy(x_forward),
        torch.from_numpy(anchor),
        torch.tensor(-0.5),
        torch.tensor(0.5),
        step=torch.tensor(step),
        similarity_weight=beta,
    ).numpy()
    others = rng.uniform(-0.5, 0.5, size=(1000, 5))
    near = np.clip(best + rng.normal(scale=1e-3, size=(1000, 5)), -0.5, 0.5)
    assert (objective(others) >= objective(best)).all()
    assert (objective(near) >= objective(best)).all()


def literal_search(network, base, target, *, beta, max_iter, tol=1e-4):
    """The documented rules, for one row, with scalars and loops."""

    def evaluate(x):
        x = torch.tensor(x, requires_grad=True)
        difference = network.backbone(x) - network.backbone(torch.tensor(target))
        value = sum(d * d for d in difference)
        value.backward()
        penalty = beta * sum((x.detach().numpy() - base) ** 2)
        return value.item(), value.item() + penalty, x.grad.numpy()

    def clip(value):
        return min(max(value, 0.0), 1.0)

    x, point = base.copy(), base.copy()
    value, objective, gradient = evaluate(point)
    start = objective
    best = (objective, value, point, gradient)
    shrink, n_unchanged = 1.0, 0
    for k in range(max_iter):
        anneal = (1 + math.cos(math.pi * k / max_iter)) / 2
        step = shrink * anneal * value / sum(d * d for d in gradient)
        new_x, candidate = np.empty_like(x), np.empty_like(x)
        for j in range(len(x)):
            forward = point[j] - step * gradient[j]
            backward = (forward + 2 * step * beta * base[j]) / (1 + 2 * step * beta)
            new_x[j] = clip(backward)
            candidate[j] = clip(new_x[j] + 0.8 * (new_x[j] - x[j]))
        new_value, new_objective, new_gradient = evaluate(candidate)
        if new_objective > 10 * start:
            shrink /= 2
            objective, value, point, gradient = best
            x, n_unchanged = point, 0
            continue
        is_unchanged = abs(objective - new_objective) <= tol * objective
        n_unchanged = n_unchanged + 1 if is_unchanged else 0
        x, point = new_x, candidate
        value, objective, gradient = new_value, new_objective, new_gradient
        if objective < best[0]:
            best = (objective, value, point, gradient)
        if n_unchanged == 5:
            return best[2], best[0], k + 1
    return best[2], best[0], max_iter


def test_batched_search_agrees_with_a_literal_loop(relu_network, rows):
    base, target = rows
    result = search(
        collision(relu_network, torch.tensor(target)),
        torch.tensor(base),
        low=0.0,
        high=1.0,
        similarity_weight=0.01,
        max_iter=30,
    )
    for i in range(len(base)):
        x, objective, n_iter = literal_search(
            relu_network, base[i], target[i], beta=0.01, max_iter=30
        )
        np.testing.assert_allclose(result.x[i].numpy(), x, atol=1e-7)
        assert result.objective_final[i].item() == pytest.approx(objective)
        assert result.n_iter[i].item() == n_iter


@pytest.mark.parametrize("similarity_weight", [0.05, 1.0])
@pytest.mark.parametrize("step_size", [None, 0.1, 1e3])
def test_linear_network_reaches_the_closed_form_minimiser(
    linear_network, rows, similarity_weight, step_size
):
    base, target = rows
    result = search(
        collision(linear_network, torch.tensor(target)),
        torch.tensor(base),
        similarity_weight=similarity_weight,
        step_size=step_size,
        max_iter=500,
        tol=1e-12,
    )
    W = linear_network.backbone.weight.detach().numpy()
    hessian = W.T @ W + similarity_weight * np.eye(6)
    # Column by column: (W'W + beta I) x = W'W t + beta b.
    expected = np.linalg.solve(hessian, W.T @ W @ target.T + similarity_weight * base.T)
    np.testing.assert_allclose(result.x.numpy(), expected.T, atol=1e-5)
    assert reasons(result) == ["converged"] * 5


@pytest.mark.parametrize("step_size", [None, 100.0])
def test_the_lowest_point_is_returned(relu_network, rows, step_size):
    base, target = map(torch.tensor, rows)
    smooth = collision(relu_network, target)
    seen = []

    def recorded(x, rows):
        value = smooth(x, rows)
        penalty = 0.01 * (x.detach() - base[rows]).square().sum(dim=1)
        objective = torch.full((5,), math.inf, dtype=x.dtype)
        seen.append(objective.index_put((rows,), value.detach() + penalty))
        return value

    result = search(
        recorded, base, similarity_weight=0.01, step_size=step_size, max_iter=25
    )
    torch.testing.assert_close(
        result.objective_final, torch.stack(seen).min(dim=0).values
    )
    assert (result.objective_final < 0.5 * result.objective_initial).any()


def test_reported_objective_is_that_of_the_returned_points(relu_network, rows):
    base, target = map(torch.tensor, rows)
    smooth = collision(relu_network, target)
    # A first step so long that candidates are rejected on the way.
    result = search(smooth, base, similarity_weight=0.1, step_size=1e3, max_iter=7)
    value = smooth(result.x, torch.arange(5)).detach()
    objective = value + 0.1 * (result.x - base).square().sum(dim=1)
    torch.testing.assert_close(result.smooth_final, value)
    torch.testing.assert_close(result.objective_final, objective)


def test_an_iteration_is_one_forward_and_one_backward_pass(relu_network, rows):
    base, target = map(torch.tensor, rows)
    smooth = collision(relu_network, target)
    forwards, backwards = [], []

    def counted(x, rows):
        forwards.append(len(rows))
        x.register_hook(lambda gradient: backwards.append(len(gradient)))
        return smooth(x, rows)

    result = search(counted, base, similarity_weight=0.01, step_size=10.0, max_iter=60)
    # One pass at the start, then one a candidate; finished rows are not passed on.
    assert len(forwards) == 1 + result.n_iter.max()
    assert sum(forwards) == len(base) + result.n_iter.sum()
    assert backwards == forwards


def test_finished_rows_leave_the_batch():
    seen = []

    def smooth(x, rows):
        seen.append(rows.tolist())
        return squares(x, rows)

    result = search(smooth, torch.tensor([[0.0, 0.0], [1.0, 2.0], [math.nan, 1.0]]))
    assert reasons(result) == ["at_target", "max_iter", "non_finite"]
    assert seen[0] == [0, 1, 2]
    assert all(rows == [1] for rows in seen[1:])


def test_a_row_does_not_depend_on_the_others(relu_network, rows):
    base, target = map(torch.tensor, rows)
    settings = {"similarity_weight": 0.01, "max_iter": 20}
    together = search(collision(relu_network, target), base, **settings)
    for i in range(len(base)):
        alone = search(
            collision(relu_network, target[i : i + 1]), base[i : i + 1], **settings
        )
        torch.testing.assert_close(alone.x[0], together.x[i])
        assert alone.n_iter[0] == together.n_iter[i]


def test_inputs_are_not_changed(relu_network, rows):
    base, target = map(torch.tensor, rows)
    before = base.clone()
    result = search(collision(relu_network, target), base, max_iter=5)
    assert torch.equal(base, before)
    assert not result.x.requires_grad
    assert all(parameter.grad is None for parameter in relu_network.parameters())


def test_search_works_where_gradients_are_switched_off():
    with torch.no_grad():
        result = search(squares, torch.ones(1, 2))
    assert result.objective_final.item() < 1e-6


def test_search_stops_at_max_iter():
    result = search(quartic, torch.ones(2, 3), max_iter=2)
    assert reasons(result) == ["max_iter", "max_iter"]
    assert result.n_iter.tolist() == [2, 2]


def test_a_stationary_start_is_converged():
    def flat(x, rows):
        return 1 + 0 * x.sum(dim=1)

    result = search(flat, torch.ones(1, 3))
    assert reasons(result) == ["converged"]
    assert result.n_iter.item() == 1


def test_a_rejected_step_is_undone_and_halved_until_it_underflows():
    def cliff(x, rows):
        # Every move leads up by far more than what a candidate may cost.
        return 1 + 1e3 * (x - 1).abs().sum(dim=1).sign().detach() - x.sum(dim=1) / 9

    start = torch.ones(1, 3, dtype=torch.float64)
    result = search(cliff, start, tol=0.0)
    assert reasons(result) == ["step_underflow"]
    assert result.n_iter.item() == 30
    assert torch.equal(result.x, start)
    assert torch.equal(result.objective_final, result.objective_initial)


def test_candidates_that_are_not_finite_are_rejected():
    def squared_log(x, rows):
        return x.log().square().sum(dim=1)

    # The first step leads below 0, where the logarithm is NaN.
    result = search(squared_log, torch.full((1, 2), 2.0), step_size=100.0)
    assert reasons(result) == ["converged"]
    torch.testing.assert_close(result.x, torch.ones(1, 2), atol=1e-2, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_start_that_is_not_finite_is_left_alone(bad):
    def smooth(x, rows):
        return squares(x, rows) + torch.tensor([0.0, bad])[rows]

    result = search(smooth, torch.ones(2, 2))
    assert reasons(result) == ["max_iter", "non_finite"]
    assert result.x[1].tolist() == [1.0, 1.0]
    assert result.n_iter[1] == 0


def test_a_start_whose_gradient_is_not_finite_is_left_alone():
    def root(x, rows):
        return 1 + x.sqrt().sum(dim=1)

    result = search(root, torch.tensor([[0.0, 1.0]]))
    assert reasons(result) == ["non_finite"]
    assert result.x.tolist() == [[0.0, 1.0]]


def test_candidates_stay_in_the_box():
    seen = []

    def smooth(x, rows):
        seen.append(x.detach().clone())
        return (x - 5).square().sum(dim=1)

    result = search(smooth, torch.zeros(1, 3), low=-0.25, high=0.5, step_size=3.0)
    assert all(((x >= -0.25) & (x <= 0.5)).all() for x in seen)
    assert result.x.tolist() == [[0.5, 0.5, 0.5]]
    assert reasons(result) == ["converged"]


def test_a_start_rescues_a_search_that_ended_at_no_number():
    def smooth(x, rows):
        return (x.sum(dim=1) - 0.5).sqrt()

    anchor = torch.zeros(1, 1, dtype=torch.float64)
    box = torch.zeros_like(anchor), torch.ones_like(anchor)
    searches = [
        forward_backward(smooth, anchor, *box, similarity_weight=0.0, x_start=start)
        for start in (None, torch.full_like(anchor, 0.6))
    ]
    assert searches[0].stop_code == NON_FINITE
    best = best_of(searches)
    assert best.stop_code != NON_FINITE
    assert best.objective_final == searches[1].objective_final
    torch.testing.assert_close(best.x, searches[1].x)
