"""Forward-backward splitting over a batch of instances, each with its own step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

STOP_REASONS = ("max_iter", "converged", "step_underflow", "at_target", "non_finite")
MAX_ITER, CONVERGED, STEP_UNDERFLOW, AT_TARGET, NON_FINITE = range(5)

# Share of the last move that is added to the next (0.5 to 0.9 do alike).
_INERTIA = 0.8
# A candidate this many times the objective of its anchor is a step gone wrong.
_MAX_RISE = 10.0
# After so many halvings the step is a billionth of the first.
_MAX_HALVINGS = 30

Smooth = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SearchResult:
    """What `forward_backward` found, one entry per row.

    Attributes
    ----------
    x : Tensor of shape (n_samples, ...)
        The last accepted points, inside the box.
    smooth_initial, smooth_final : Tensor of shape (n_samples,)
        The smooth term g at the anchor and at `x`.
    objective_initial, objective_final : Tensor of shape (n_samples,)
        g plus the similarity penalty; final is never above initial.
    n_iter : Tensor of shape (n_samples,)
        Candidates tried, rejected ones included.
    stop_code : Tensor of shape (n_samples,)
        Index into `STOP_REASONS`.
    """

    x: Tensor
    smooth_initial: Tensor
    smooth_final: Tensor
    objective_initial: Tensor
    objective_final: Tensor
    n_iter: Tensor
    stop_code: Tensor


@dataclass(frozen=True)
class _State:
    """The rows that still search; every field has one entry per row."""

    rows: Tensor  # index of the row in the batch
    x: Tensor  # the point after the last backward step
    point: Tensor  # where the smooth term was evaluated last
    gradient: Tensor  # of the smooth term, at `point`
    smooth: Tensor  # at `point`
    objective: Tensor  # at `point`
    best: Tensor  # the point of lowest objective
    best_gradient: Tensor
    best_smooth: Tensor
    best_objective: Tensor
    shrink: Tensor  # the step is multiplied by this, halved when it led nowhere
    n_unchanged: Tensor  # candidates in a row

    def select(self, is_kept: Tensor) -> "_State":
        if bool(is_kept.all()):
            return self
        return _State(**{f.name: getattr(self, f.name)[is_kept] for f in fields(self)})


def proximal_step(
    x_forward: Tensor,
    x_anchor: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    step: Tensor,
    similarity_weight: float,
) -> Tensor:
    """Solve the backward step exactly.

    Parameters
    ----------
    x_forward : Tensor of shape (n_samples, ...)
        The points after the gradient step.
    x_anchor : Tensor of shape (n_samples, ...)
        The points b that the penalty pulls to.
    low, high : Tensor, broadcastable to (n_samples, ...)
        The box.
    step : Tensor, broadcastable to (n_samples, ...)
        The step, s > 0.
    similarity_weight : float
        beta >= 0, per squared pixel distance.

    Returns
    -------
    Tensor of shape (n_samples, ...)
        The minimiser over the box of |x - x_forward|^2 / 2 + s beta |x - b|^2.

    Notes
    -----
    The problem is separable and convex in each pixel, so that clipping the
    unconstrained minimiser (x_forward + 2 s beta b) / (1 + 2 s beta) is exact.
    """
    pull = 2 * similarity_weight * step
    return torch.clamp((x_forward + pull * x_anchor) / (1 + pull), low, high)


def forward_backward(
    smooth: Smooth,
    x_anchor: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    similarity_weight: float,
    step_size: float | None = None,
    max_iter: int = 100,
    tol: float = 1e-4,
    n_iter_no_change: int = 5,
    x_start: Tensor | None = None,
) -> SearchResult:
    """Minimise g(x) + beta |x - b|^2 over a box, for all rows at once.

    Every row has its own step, its own acceptance and its own end; rows that ended
    leave the batch. An iteration costs one forward and one backward pass of the
    rows that still search; the start costs one of each.

    Parameters
    ----------
    smooth : callable
        ``smooth(x, rows)`` gives g, of shape (len(rows),), for the points ``x`` of
        the rows with indices ``rows``; differentiable in ``x``, each value a
        function of its own row alone.
    x_anchor : Tensor of shape (n_samples, ...)
        Where the search starts, and the b of the penalty. Inside the box.
    low, high : Tensor of shape (n_samples, ...)
        The box.
    similarity_weight : float
        beta >= 0, per squared pixel distance (summed over the pixels).
    step_size : float or None, default=None
        The first step, > 0, of every row; later ones are shorter. None takes
        g / |grad g|^2 anew for every row and candidate: the step at which the
        linearised g is 0 (Polyak's).
    max_iter : int, default=100
        Candidates a row may try.
    tol : float, default=1e-4
        A candidate that changes the objective by this share or less counts as no
        change.
    n_iter_no_change : int, default=5
        A row ends as "converged" after this many candidates in a row without change.
    x_start : Tensor of shape (n_samples, ...) or None, default=None
        Where the search starts instead of at the anchor; inside the box.

    Returns
    -------
    SearchResult
        Points, objectives, iterations and stop codes.

    Notes
    -----
    The equations are those of Poison Frogs [1]_, Algorithm 1: a forward step
    x_hat = y - s grad g(y), then a backward step x, the proximal map of the penalty.
    We differ in four points. (1) The paper's step s is fixed. Here candidate k of n
    has s = g(y) / |grad g(y)|^2 (Polyak's, for a minimum of 0 [2]_) times
    (1 + cos(pi k / n)) / 2: long steps first, which pass over near and poor minima,
    then ever shorter ones. (2) The next y is x plus 0.8 of the last move of x, put back
    into the box (as in [3]_, whose factor grows). (3) The objective may rise on the
    way; what counts, and is returned, is the lowest point of each row, never above its
    anchor. (4) The backward step includes the box and is exact for the objective as
    written; the paper's (x_hat + s beta b) / (1 + s beta) belongs to half the penalty.
    A candidate that is not finite, or above ten times the anchor's objective, is
    rejected: its row goes back to its lowest point, with half the step from then on.
    Rows that are not finite at the start are left there.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1) and Algorithm 1.
    .. [2] B. T. Polyak, "Minimization of Unsmooth Functionals", USSR Computational
       Mathematics and Mathematical Physics 9(3), 1969.
    .. [3] A. Beck and M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm
       for Linear Inverse Problems", SIAM Journal on Imaging Sciences 2(1), 2009,
       Equation (4.3).
    """
    rows = torch.arange(len(x_anchor), device=x_anchor.device)
    x_first = x_anchor if x_start is None else x_start
    value, gradient = _value_and_gradient(smooth, x_first, rows)
    if bool((value < -1e-3).any()):  # below the rounding of a value that is 0
        raise ValueError(
            "the objective of an attack must be >= 0 (the step aims at 0), got "
            f"{float(value.min()):g}"
        )
    code = torch.full_like(rows, MAX_ITER)
    code[value <= 0] = AT_TARGET
    code[~(value.isfinite() & _is_finite(gradient))] = NON_FINITE
    # The penalty is 0 at the anchor.
    objective = value + similarity_weight * _row_sum((x_first - x_anchor).square())
    result = SearchResult(
        x=x_first.clone(),
        smooth_initial=value,
        smooth_final=value.clone(),
        objective_initial=objective,
        objective_final=objective.clone(),
        n_iter=torch.zeros_like(rows),
        stop_code=code,
    )
    state = _State(
        rows=rows,
        x=x_first,
        point=x_first,
        gradient=gradient,
        smooth=value,
        objective=objective,
        best=x_first,
        best_gradient=gradient,
        best_smooth=value,
        best_objective=objective,
        shrink=torch.ones_like(value),
        n_unchanged=torch.zeros_like(rows),
    ).select(code == MAX_ITER)

    for k in range(max_iter):
        if len(state.rows) == 0:
            break
        rows = state.rows
        anchor, bounds = x_anchor[rows], (low[rows], high[rows])
        step = _step(state, step_size) * (1 + math.cos(math.pi * k / max_iter)) / 2
        step = _as_column(step, state.x)
        x = proximal_step(
            state.point - step * state.gradient,
            anchor,
            *bounds,
            step=step,
            similarity_weight=similarity_weight,
        )
        candidate = torch.clamp(x + _INERTIA * (x - state.x), *bounds)
        value, gradient = _value_and_gradient(smooth, candidate, rows)
        objective = value + similarity_weight * _row_sum((candidate - anchor).square())

        is_fixed_point = _row_sum((candidate - state.point).square()) == 0
        is_accepted = objective.isfinite() & _is_finite(gradient)
        is_accepted &= objective <= _MAX_RISE * result.objective_initial[rows]
        state = _move(state, x, candidate, value, objective, gradient, is_accepted, tol)

        result.x[rows] = state.best
        result.smooth_final[rows] = state.best_smooth
        result.objective_final[rows] = state.best_objective
        result.n_iter[rows] += 1
        code = torch.full_like(rows, MAX_ITER)
        code[state.n_unchanged >= n_iter_no_change] = CONVERGED
        code[is_fixed_point] = CONVERGED  # the step maps it to itself
        code[state.shrink <= 2.0**-_MAX_HALVINGS] = STEP_UNDERFLOW
        code[state.best_objective <= 0] = AT_TARGET
        result.stop_code[rows] = code
        state = state.select(code == MAX_ITER)
    return result


def best_of(results: list[SearchResult]) -> SearchResult:
    """Keep of each row the search that came lowest.

    Parameters
    ----------
    results : list of SearchResult
        Searches of the same rows; the first started at the anchor.

    Returns
    -------
    SearchResult
        What is initial is that of the first; `n_iter` counts all.
    """
    best = results[0]
    for other in results[1:]:
        is_lower = (other.stop_code != NON_FINITE) & (
            (best.stop_code == NON_FINITE)
            | (other.objective_final < best.objective_final)
        )
        chosen = {
            name: torch.where(
                _as_column(is_lower, getattr(best, name)),
                getattr(other, name),
                getattr(best, name),
            )
            for name in ("x", "smooth_final", "objective_final", "stop_code")
        }
        best = replace(best, n_iter=best.n_iter + other.n_iter, **chosen)
    return best


def _value_and_gradient(
    smooth: Smooth, x: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """One forward and one backward pass: g of every row, and its gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = smooth(x, rows)
        # A row's value depends on that row alone: the gradient of the sum holds
        # every row's own gradient.
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach().to(x.dtype), gradient


def _step(state: _State, step_size: float | None) -> Tensor:
    """Length of every row's next step, before it is annealed."""
    if step_size is not None:
        return step_size * state.shrink
    squared_norm = _row_sum(state.gradient.square())
    step = torch.where(squared_norm > 0, state.smooth / squared_norm, 1.0)
    # A gradient that all but vanishes asks for a step beyond the range of floats.
    return (step * state.shrink).clamp_max(torch.finfo(step.dtype).max)


def _move(
    state: _State,
    x: Tensor,
    candidate: Tensor,
    smooth: Tensor,
    objective: Tensor,
    gradient: Tensor,
    is_accepted: Tensor,
    tol: float,
) -> _State:
    """Move every row to its candidate, or back to its lowest point."""
    is_lower = is_accepted & (objective < state.best_objective)
    is_unchanged = is_accepted & (
        (state.objective - objective).abs() <= tol * state.objective
    )
    is_lower_column = _as_column(is_lower, x)
    is_accepted_column = _as_column(is_accepted, x)
    best = torch.where(is_lower_column, candidate, state.best)
    best_gradient = torch.where(is_lower_column, gradient, state.best_gradient)
    best_smooth = torch.where(is_lower, smooth, state.best_smooth)
    best_objective = torch.where(is_lower, objective, state.best_objective)
    return _State(
        rows=state.rows,
        x=torch.where(is_accepted_column, x, best),
        point=torch.where(is_accepted_column, candidate, best),
        gradient=torch.where(is_accepted_column, gradient, best_gradient),
        smooth=torch.where(is_accepted, smooth, best_smooth),
        objective=torch.where(is_accepted, objective, best_objective),
        best=best,
        best_gradient=best_gradient,
        best_smooth=best_smooth,
        best_objective=best_objective,
        shrink=torch.where(is_accepted, state.shrink, state.shrink / 2),
        n_unchanged=torch.where(is_unchanged, state.n_unchanged + 1, 0),
    )


def _row_sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)  # (n_samples,)


def _is_finite(x: Tensor) -> Tensor:
    return x.isfinite().flatten(1).all(dim=1)  # (n_samples,)


def _as_column(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 1))  # (n_samples, 1, ...)
