"""Which temperature, power and noise matrix claims are likeliest by."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from sklgm._inputs import some_rows
from sklgm.outliers._transitions import PRIOR_ROWS, TransitionModel, log

# Of readings that are as likely the one with the least noise is taken: a tree that is
# often wrong, and certain, may be unsure or see wrong labels. Too little to move a
# temperature that is told.
_NOISE_COST = 1e-3
# Values from which the temperature is searched first, and the power.
_FIRST_VALUES = 50_000
#: Far beyond what a network can be; keeps the search out of overflow, and a classifier
#: that is never wrong, for which no temperature is low enough, from ties.
LOG_TEMPERATURE_BOUNDS = (float(np.log(0.05)), float(np.log(1e3)))
# Powers that are searched, and the rows per class that the search needs.
_POWER_BOUNDS, _ROWS_FOR_POWER = (0.2, 1.0), 10
# Share by which a classifier's confusions of two classes are assumed to differ from
# what it says. At most so many rows of evenly spread noise for each row: habits of
# people are to be seen still.
_CONFUSION_ERROR, _MOST_EVEN = 0.25, 0.2
# Wrong claims of each class that evenly spread noise counts for, unless held-out claims
# tell of habits. Of many rows it makes no difference.
_PRIOR_WRONG, _MAX_FEW, _N_PARTS = 3.0, 20_000, 4


def likely_reading(
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
    priors: NDArray[np.float64],
    n_samples: int,
) -> TransitionModel:
    """Estimate the model of claims that makes them most likely.

    Parameters
    ----------
    log_proba : ndarray of shape (n_rows, n_classes)
        Log posteriors without a floor, natural log.
    claimed : ndarray of shape (n_rows,)
        Indices of the claimed classes.
    priors : ndarray of shape (n_classes,)
        Shares of the claimed classes.
    n_samples : int
        Rows that there are, of which these are a part.

    Returns
    -------
    TransitionModel
        Without stray rows.
    """
    start = TransitionModel.start(log_proba.shape[1], priors)
    likely = _at_best_temperature(log_proba, claimed, start)
    if n_samples <= _MAX_FEW and _is_even(likely, log_proba, claimed):
        start = replace(start, prior_wrong=_PRIOR_WRONG)
        likely = _at_best_temperature(log_proba, claimed, start)
    share = _evenness(likely, log_proba)
    n_rows, n_classes = log_proba.shape
    if share * n_rows * priors.max() > PRIOR_ROWS:  # else of no effect in any class
        likely = replace(likely, prior_share=share)
    if n_rows >= _ROWS_FOR_POWER * n_classes:
        likely = _with_power(likely, log_proba, claimed)
    if likely.prior_share == 0.0 and likely.power == 1.0:
        return likely
    return _near(likely, log_proba, claimed)


def with_lower_power(
    model: TransitionModel,
    exponent: float,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
) -> TransitionModel:
    """Lower the power of a model, and let the temperature follow.

    By two standard errors, as the curvature of the likelihood tells them from a power
    that is 0.1 lower, and then by an exponent.

    Parameters
    ----------
    model : TransitionModel
        As :func:`likely_reading` returns it.
    exponent : float > 0
        To which the power is raised; a power of 1 stays.
    log_proba : ndarray of shape (n_rows, n_classes)
        Log posteriors without a floor, natural log.
    claimed : ndarray of shape (n_rows,)
        Indices of the claimed classes.

    Returns
    -------
    TransitionModel
        With the temperature and the noise matrix of greatest likelihood.
    """
    if model.power == 1.0:
        return model
    step = min(0.1, 0.5 * model.power)
    lower = _near(
        replace(model, power=model.power - step), log_proba, claimed, below=0.5
    )
    loss = _log_likelihoods(model, log_proba, claimed).sum()
    loss -= _log_likelihoods(lower, log_proba, claimed).sum()
    # As far as log likelihood falls by two.
    two_errors = step * np.sqrt(2.0 / max(float(loss), 1e-9))
    power = max(model.power - two_errors, 0.5 * model.power) ** exponent
    return _near(replace(model, power=power), log_proba, claimed, below=1.0)


def _at_best_temperature(
    log_proba: NDArray[np.float64], claimed: NDArray[np.int64], start: TransitionModel
) -> TransitionModel:
    """Temperature and noise matrix of greatest likelihood."""
    # From few rows first, everywhere: with many wrong claims a flat temperature is a
    # local maximum. From the flat side, where there is no noise yet.
    known, claims = _some(log_proba, claimed)
    low, high = LOG_TEMPERATURE_BOUNDS
    tried = np.linspace(low, high, 15)
    losses = [
        _fitted(start, log_temperature, known, claims)[1] for log_temperature in tried
    ]
    best = int(np.argmin(losses))
    bounds = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    return _between_temperatures(start, bounds, log_proba, claimed)


def _near(
    model: TransitionModel,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
    *,
    below: float = 0.3,
) -> TransitionModel:
    """Temperature of greatest likelihood not far from the one there is."""
    centre = float(np.log(model.temperature))
    low, high = np.clip([centre - below, centre + 0.3], *LOG_TEMPERATURE_BOUNDS)
    return _between_temperatures(model, (low, high), log_proba, claimed)


def _between_temperatures(
    model: TransitionModel,
    log_bounds: tuple[float, float],
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
) -> TransitionModel:
    """Temperature of greatest likelihood between two, and its noise matrix."""

    def loss(log_temperature: float) -> float:
        nonlocal model
        model, value = _fitted(model, log_temperature, log_proba, claimed)
        return value

    optimum = minimize_scalar(
        loss, bounds=log_bounds, method="bounded", options={"xatol": 0.03}
    )
    loss(float(optimum.x))
    return model


def _fitted(
    model: TransitionModel,
    log_temperature: float,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
) -> tuple[TransitionModel, float]:
    """Noise matrix of greatest likelihood at a temperature, and the loss of both."""
    fitted, likelihood = replace(model, temperature=float(np.exp(log_temperature))).fit(
        log_proba, claimed
    )
    noise = 1.0 - float(fitted.priors @ np.diag(fitted.noise_matrix))
    return fitted, _NOISE_COST * noise - likelihood


def _evenness(model: TransitionModel, log_proba: NDArray[np.float64]) -> float:
    """Rows of even noise for each row: more, the less habits exceed confusions."""
    q = model.class_proba(log_proba)
    of_classifier = q.T @ q  # rows of class z that it takes for y, in expectation
    n_rows = q.sum(axis=0)
    habits = n_rows[:, None] * model.noise_matrix
    for matrix in (of_classifier, habits):
        np.fill_diagonal(matrix, 0.0)
    even = np.outer(n_rows, np.full(len(n_rows), habits.sum() / n_rows.sum()))
    even /= len(n_rows) - 1
    np.fill_diagonal(even, 0.0)
    from_classifier = float(np.sum((_CONFUSION_ERROR * of_classifier) ** 2))
    excess = float(np.sum((habits - even) ** 2)) - from_classifier
    if from_classifier >= _MOST_EVEN * excess:
        return _MOST_EVEN
    return from_classifier / excess


def _with_power(
    model: TransitionModel, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> TransitionModel:
    """With the power of greatest likelihood, where it is told from 1."""
    known, claims = _some(log_proba, claimed)
    plain = _near(model, known, claims)
    # A lower power goes with a lower temperature.
    fitted = _at_best_power(plain, (-0.3, -0.25), known, claims)
    # The Bayesian information criterion, of one parameter more, on all rows.
    gain = _log_likelihoods(fitted, log_proba, claimed).sum()
    gain -= _log_likelihoods(plain, log_proba, claimed).sum()
    if gain <= 0.5 * np.log(len(claimed)):
        return model
    if len(known) < len(claimed):
        fitted = _at_best_power(fitted, (-0.06, -0.05), log_proba, claimed)
    return fitted


def _at_best_power(
    model: TransitionModel,
    step: tuple[float, float],
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
) -> TransitionModel:
    """Temperature and power of greatest likelihood, and their noise matrix.

    ``step`` is the first one of the search, in log temperature and power.
    """

    def fitted(parameters: NDArray[np.float64]) -> tuple[TransitionModel, float]:
        of_power = replace(model, power=float(parameters[1]))
        return _fitted(of_power, float(parameters[0]), log_proba, claimed)

    start = np.array([np.log(model.temperature), model.power])
    corners = np.array([(0.0, 0.0), step, (-0.7 * step[0], 0.0)])
    optimum = minimize(
        lambda parameters: fitted(parameters)[1],
        start,
        method="Nelder-Mead",
        bounds=(LOG_TEMPERATURE_BOUNDS, _POWER_BOUNDS),
        options={"initial_simplex": start + corners, "xatol": 0.03, "fatol": 1e-4},
    )
    return fitted(optimum.x)[0]


def _some(
    log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows and their claims, few enough for a first search."""
    if log_proba.size <= _FIRST_VALUES:
        return log_proba, claimed
    rows = some_rows(len(log_proba), max(_FIRST_VALUES // log_proba.shape[1], 1))
    return log_proba[rows], claimed[rows]


def _is_even(
    model: TransitionModel, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> bool:
    """Whether held-out claims tell of no habits, by the rule of one standard error."""
    n_samples = len(claimed)
    if n_samples < _N_PARTS:
        return False
    # Parts with rows of all labels, in whatever order these come.
    part = np.empty(n_samples, dtype=np.intp)
    part[np.argsort(claimed, kind="stable")] = np.arange(n_samples) % _N_PARTS

    def log_likelihoods(prior_wrong: float) -> NDArray[np.float64]:
        values = np.empty(n_samples)
        for number in range(_N_PARTS):
            is_out = part == number
            fitted, _ = replace(model, prior_wrong=prior_wrong).fit(
                log_proba[~is_out], claimed[~is_out]
            )
            values[is_out] = _log_likelihoods(
                fitted, log_proba[is_out], claimed[is_out]
            )
        return values

    gains = log_likelihoods(0.0) - log_likelihoods(_PRIOR_WRONG)
    return float(gains.sum()) <= float(np.sqrt(n_samples) * gains.std())


def _log_likelihoods(
    model: TransitionModel, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log probability of each claim."""
    right, wrong = model.right_and_wrong(log_proba, claimed)
    return log(right + wrong)
