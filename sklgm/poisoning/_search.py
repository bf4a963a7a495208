"""Forward-backward splitting over a batch of instances, each with its own step."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

STOP_REASONS = ("max_iter", "converged", "step_underflow", "at_target", "non_finite")
MAX_ITER, CONVERGED, STEP_UNDERFLOW, AT_TARGET, NON_FINITE = range(5)

# A candidate must lower the objective by this share of |move|^2 / (2 step), the
# decrease that a quadratic with curvature 1 / step would give.
_SUFFICIENT_DECREASE = 1e-4
# A spectral step differs from the step before it by this factor at most.
_MAX_STEP_CHANGE = 10.0
# After so many halvings in a row the step is a billionth of one that worked.
_MAX_HALVINGS = 30

Smooth = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SearchResult:
    """What `forward_backward` found, one entry a row.

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
    """The rows that still search; every field has one entry a row."""

    rows: Tensor  # index of the row in the batch
    x: Tensor
    smooth: Tensor
    objective: Tensor
    gradient: Tensor  # of the smooth term, at x
    step: Tensor
    n_halvings: Tensor  # in a row
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
        The first step, > 0, of every row. None takes g / |grad g|^2, row by row: the
        step at which the linearised g is 0 (Polyak's).
    max_iter : int, default=100
        Candidates a row may try.
    tol : float, default=1e-4
        A candidate that changes the objective by this share or less counts as no
        change.
    n_iter_no_change : int, default=5
        A row ends as "converged" after this many candidates in a row without change.

    Returns
    -------
    SearchResult
        Points, objectives, iterations and stop codes.

    Notes
    -----
    The equations are those of Poison Frogs [1]_, Algorithm 1: a forward step
    x_hat = x - s grad g(x), then a backward step, the proximal map of the penalty.
    We differ in four points. (1) The step s is spectral, <d, d> / <d, y> with d the
    last move and y the change of the gradient (Barzilai and Borwein [2]_), within a
    factor of 10 of the step before; the paper's is fixed. (2) A candidate is kept
    only if the objective falls by 1e-4 |d|^2 / (2 s) (as in SpaRSA [3]_);
    otherwise the row stays where it was and s is halved, so that the objective
    never rises. (3) The backward step includes the box and is exact for the
    objective as written; the paper's (x_hat + s beta b) / (1 + s beta) belongs to
    half the penalty. (4) Rows whose objective or gradient is not finite at the
    start are left there; later candidates of that kind are rejected.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1) and Algorithm 1.
    .. [2] J. Barzilai and J. M. Borwein, "Two-Point Step Size Gradient Methods",
       IMA Journal of Numerical Analysis 8(1), 1988, Equation (5).
    .. [3] S. J. Wright, R. D. Nowak and M. A. T. Figueiredo, "Sparse Reconstruction
       by Separable Approximation", IEEE Transactions on Signal Processing 57(7),
       2009, Section II.
    """
    rows = torch.arange(len(x_anchor), device=x_anchor.device)
    value, gradient = _value_and_gradient(smooth, x_anchor, rows)
    code = torch.full_like(rows, MAX_ITER)
    code[value == 0] = AT_TARGET
    code[~(value.isfinite() & _is_finite(gradient))] = NON_FINITE
    result = SearchResult(
        x=x_anchor.clone(),
        smooth_initial=value,
        smooth_final=value.clone(),
        objective_initial=value,  # the penalty is 0 at the anchor
        objective_final=value.clone(),
        n_iter=torch.zeros_like(rows),
        stop_code=code,
    )
    state = _State(
        rows=rows,
        x=x_anchor,
        smooth=value,
        objective=value,
        gradient=gradient,
        step=_first_step(value, gradient, step_size),
        n_halvings=torch.zeros_like(rows),
        n_unchanged=torch.zeros_like(rows),
    ).select(code == MAX_ITER)

    for _ in range(max_iter):
        if len(state.rows) == 0:
            break
        rows = state.rows
        anchor, step = x_anchor[rows], _as_column(state.step, state.x)
        candidate = proximal_step(
            state.x - step * state.gradient,
            anchor,
            low[rows],
            high[rows],
            step=step,
            similarity_weight=similarity_weight,
        )
        value, gradient = _value_and_gradient(smooth, candidate, rows)
        objective = value + similarity_weight * _row_sum((candidate - anchor).square())

        is_fixed_point = _row_sum((candidate - state.x).square()) == 0
        was_halved = state.n_halvings > 0
        state = _accept_or_halve(state, candidate, value, objective, gradient, tol)

        result.x[rows] = state.x
        result.smooth_final[rows] = state.smooth
        result.objective_final[rows] = state.objective
        result.n_iter[rows] += 1
        code = torch.full_like(rows, MAX_ITER)
        code[state.n_unchanged >= n_iter_no_change] = CONVERGED
        # A point that the step maps to itself is stationary, unless halvings made
        # the step too small to move it.
        code[is_fixed_point & ~was_halved] = CONVERGED
        code[is_fixed_point & was_halved] = STEP_UNDERFLOW
        code[state.n_halvings >= _MAX_HALVINGS] = STEP_UNDERFLOW
        result.stop_code[rows] = code
        state = state.select(code == MAX_ITER)
    return result


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


def _first_step(value: Tensor, gradient: Tensor, step_size: float | None) -> Tensor:
    if step_size is not None:
        return torch.full_like(value, step_size)
    squared_norm = _row_sum(gradient.square())
    return torch.where(squared_norm > 0, value / squared_norm, 1.0)


def _accept_or_halve(
    state: _State,
    candidate: Tensor,
    smooth: Tensor,
    objective: Tensor,
    gradient: Tensor,
    tol: float,
) -> _State:
    """Move every row to its candidate, or leave it and halve its step."""
    move = candidate - state.x
    squared_move = _row_sum(move.square())
    is_finite = objective.isfinite() & _is_finite(gradient)
    required = _SUFFICIENT_DECREASE * squared_move / (2 * state.step)
    # A comparison with NaN is False: what is not finite is rejected.
    is_accepted = is_finite & (objective <= state.objective - required)
    is_unchanged = is_finite & (
        (state.objective - objective).abs() <= tol * state.objective
    )

    curvature = _row_sum(move * (gradient - state.gradient))
    # Negative curvature along the move: the spectral step would point backwards.
    spectral = torch.where(curvature > 0, squared_move / curvature, torch.inf)
    spectral = spectral.clamp(
        state.step / _MAX_STEP_CHANGE, state.step * _MAX_STEP_CHANGE
    )
    is_accepted_column = _as_column(is_accepted, move)
    return _State(
        rows=state.rows,
        x=torch.where(is_accepted_column, candidate, state.x),
        smooth=torch.where(is_accepted, smooth, state.smooth),
        objective=torch.where(is_accepted, objective, state.objective),
        gradient=torch.where(is_accepted_column, gradient, state.gradient),
        step=torch.where(is_accepted, spectral, state.step / 2),
        n_halvings=torch.where(is_accepted, 0, state.n_halvings + 1),
        # A plain rejection says nothing about convergence: the count stays.
        n_unchanged=torch.where(
            is_unchanged,
            state.n_unchanged + 1,
            torch.where(is_accepted, 0, state.n_unchanged),
        ),
    )


def _row_sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)  # (n_samples,)


def _is_finite(x: Tensor) -> Tensor:
    return x.isfinite().flatten(1).all(dim=1)  # (n_samples,)


def _as_column(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 1))  # (n_samples, 1, ...)
