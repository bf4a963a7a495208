"""Model of right claims: what posteriors they have, and how many claims are wrong."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, logit, logsumexp

#: Log probability of every class of a row that is infinitely far from all of them.
LOWEST = float(np.finfo(np.float64).min)
# Share of the rows, the most certain ones, that tell what a classifier has learnt of
# wrong labels, and the greatest share of them that is believed.
_ANCHOR_SHARE = 0.05
_MOST_LEARNT = 0.45
# What is left of a probability at or below that of a wrong label alone.
_LOG_REMAINDER = np.log(1e-3)
# Of noise shares that are as likely the least is taken: a tree that is often wrong, and
# certain, may be unsure or see wrong labels. Too little to move a share that is told.
_NOISE_COST = 1e-4
# Values from which the temperature is estimated: more make it no better.
_MAX_VALUES = 2_000_000
# Far beyond what a network can be; keeps the search out of overflow, and a classifier
# that is never wrong, for which no temperature is low enough, from ties.
_LOG_TEMPERATURE_BOUNDS = (np.log(0.05), np.log(1e3))
_LOGIT_NOISE_BOUNDS = (-20.0, 0.0)  # noise shares of 2e-9 to one half


@dataclass(frozen=True, eq=False)
class RightClaimModel:
    """Model of the posteriors that rows with right claims have.

    A classifier that says p(k | x) says how often a right label is an improbable one:
    that follows from its probabilities, if they are calibrated, and not from the ranks
    of the rows under audit. They are calibrated by one temperature, estimated together
    with the share of wrong claims, so that wrong claims do not pass for a classifier
    that is unsure.

    Attributes
    ----------
    floor : float
        Probability that the classifier gives to a class it is sure to be wrong.
    temperature : float
        T > 0 by which log probabilities are divided.
    noise_share : float
        Estimated share epsilon of claims that are wrong, in [0, 0.5].
    is_informative : bool
        Whether the classifier is certain of any rows; else ``noise_share`` means
        nothing.
    log_posteriors : ndarray of shape (n_samples * n_classes,)
        Calibrated ``log p_T(k | x_i)`` of all rows and classes, sorted.
    cumulative : ndarray of shape (n_samples * n_classes,)
        Probability of each of these or a lower one, for a right claim.

    Notes
    -----
    A classifier that was trained on wrong labels says how often they occur: for a row
    that it is certain of, each of the other classes keeps a probability c, the floor.
    It is estimated as the 0.05 quantile over rows of min_k p(k | x) and taken out,

        p_c(k | x) proportional to p(k | x) - c, at least 0.001 p(k | x).

    With K classes, a claim z of row x then has the probability

        P(z | x) = (1 - epsilon) p_T(z | x) + epsilon (1 - p_T(z | x)) / (K - 1),
        p_T(. | x) = softmax(log p_c(. | x) / T).

    T and epsilon maximise its likelihood over rows that the classifier was not trained
    on. A right claim z is drawn from p_T(. | x), so that its log posterior is at most s
    with probability

        F(s) = 1/n sum_i sum_k p_T(k | x_i) [log p_T(k | x_i) <= s],

    which is the p-value of a claim with log posterior s. Assumed: right labels follow
    the calibrated probabilities; one row in twenty is certain (an anchor point); wrong
    labels are spread over classes and rows, and not more frequent in some places, such
    as a subclass, than right ones, or they would be learnt. Where no row is certain,
    what is uncertain in all rows passes for wrong labels: p-values are then too low.

    References
    ----------
    G. Patrini, A. Rozza, A. Menon, R. Nock, L. Qu, "Making Deep Neural Networks Robust
    to Label Noise: a Loss Correction Approach", CVPR 2017 (anchor points).

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural
    Networks", ICML 2017 (temperature scaling).
    """

    floor: float
    temperature: float
    noise_share: float
    is_informative: bool
    log_posteriors: NDArray[np.float64]
    cumulative: NDArray[np.float64]

    @classmethod
    def fit(cls, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]) -> Self:
        """Estimate the model from rows that the classifier was not trained on.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        RightClaimModel
            The model.
        """
        is_possible = _is_possible(log_proba)
        if is_possible.any():
            log_proba, claimed = log_proba[is_possible], claimed[is_possible]
        floor = _floor(log_proba)
        sharpened = _without_floor(log_proba, floor)
        step = -(-log_proba.size // _MAX_VALUES)
        temperature, noise_share = _temperature_and_noise(
            sharpened[::step], claimed[::step]
        )
        log_posteriors = np.sort(precise_log_softmax(sharpened / temperature), None)
        cumulative = np.cumsum(np.exp(log_posteriors)) / len(log_proba)
        is_informative = _anchor(log_proba) < _MOST_LEARNT and (
            np.log(temperature) < 0.9 * _LOG_TEMPERATURE_BOUNDS[1]
        )
        return cls(
            floor,
            temperature,
            noise_share,
            bool(is_informative),
            log_posteriors,
            cumulative,
        )

    def scores(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Calibrated log posteriors of claims.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log p_T(z | x)`` <= 0; the lowest number for a row that has no class, as
            it is infinitely far from all of them.
        """
        is_possible = _is_possible(log_proba)
        log_proba = np.where(is_possible[:, None], log_proba, 0.0)
        sharpened = _without_floor(log_proba, self.floor)
        calibrated = precise_log_softmax(sharpened / self.temperature)
        scores = calibrated[np.arange(len(claimed)), claimed]
        return np.where(is_possible, scores, LOWEST)

    def p_values(
        self, scores: NDArray[np.float64], groups: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """How often a right claim scores as low.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            As :meth:`scores` gives them.
        groups : ndarray of shape (n_samples,) or None, default=None
            Ignored: the model is the same for every class.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``F(s)``, in [0, 1].
        """
        n_lower = np.searchsorted(self.log_posteriors, scores, side="right")
        p_values: NDArray[np.float64] = np.append(0.0, self.cumulative)[n_lower]
        return np.minimum(p_values, 1.0)  # a sum of many terms may exceed 1

    def thresholds(self, level: float) -> NDArray[np.float64]:
        """Score below which the p-value is at most ``level``.

        Parameters
        ----------
        level : float in (0, 1)
            Level of the p-values.

        Returns
        -------
        ndarray of shape (1,)
            The threshold: the lowest score whose p-value is above the level.
        """
        n_lower = int(np.searchsorted(self.cumulative, level, side="right"))
        # Scores that tie have one p-value, that of the last of them.
        n_lower = min(n_lower, len(self.log_posteriors) - 1)
        return np.array([self.log_posteriors[n_lower]])

    def smallest_p_values(self) -> NDArray[np.float64]:
        """Smallest p-value that a row may have: there is none above 0, shape (1,)."""
        return np.zeros(1)

    def p_right(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Probability that each claim is right.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``P(right | x, z)``, the first term of ``P(z | x)`` over both, in [0, 1].
        """
        log_p = self.scores(log_proba, claimed)
        log_right, log_wrong = _log_right_and_wrong(
            log_p, logit(self.noise_share), log_proba.shape[1]
        )
        return np.asarray(expit(log_right - log_wrong), dtype=np.float64)


def precise_log_softmax(log_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the softmax that keeps the order of probabilities close to 1.

    The greatest probability of a row is taken from the odds against it, so that sure
    rows do not tie at 0 before these odds underflow, at ``exp(-745)``.

    Parameters
    ----------
    log_scores : ndarray of shape (n_samples, n_classes)
        ``log p(k | x)`` plus any constant of each row, finite.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        ``log p(k | x)`` <= 0.
    """
    log_proba: NDArray[np.float64] = log_softmax(log_scores, axis=1)
    if log_scores.shape[1] < 2:
        return log_proba
    rows = np.arange(len(log_scores))
    likely = np.argmax(log_scores, axis=1)
    relative = log_scores - log_scores[rows, likely][:, None]
    relative[rows, likely] = -np.inf
    log_proba[rows, likely] = -np.logaddexp(0.0, logsumexp(relative, axis=1))
    return log_proba


def _is_possible(log_proba: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows have a class at all; see :data:`LOWEST`."""
    possible: NDArray[np.bool_] = log_proba.max(axis=1) > LOWEST
    return possible


def _anchor(log_proba: NDArray[np.float64]) -> float:
    """Probability that the most certain rows leave to all other classes."""
    lowest = np.exp(log_proba.min(axis=1))
    n_others = log_proba.shape[1] - 1
    return float(np.quantile(lowest, _ANCHOR_SHARE) * n_others)


def _floor(log_proba: NDArray[np.float64]) -> float:
    """Probability that rows of which the classifier is certain leave to a class."""
    anchor = _anchor(log_proba)
    # Where the most certain rows are as unsure as this there is no anchor.
    return anchor / (log_proba.shape[1] - 1) if anchor < _MOST_LEARNT else 0.0


def _without_floor(log_proba: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Log probabilities without what was learnt of wrong labels."""
    if floor < np.finfo(np.float64).eps:
        return log_proba
    excess = np.exp(log_proba) - floor
    with np.errstate(divide="ignore", invalid="ignore"):
        log_excess = np.where(excess > 0, np.log(excess), -np.inf)
    sharpened: NDArray[np.float64] = log_softmax(
        np.maximum(log_excess, log_proba + _LOG_REMAINDER), axis=1
    )
    return sharpened


def _log_right_and_wrong(
    log_p: NDArray[np.float64], logit_noise: float, n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of both terms of ``P(z | x)``: right claims and wrong ones."""
    log_rest = np.log(-np.expm1(np.minimum(log_p, -1e-300)))
    log_right = log_expit(-logit_noise) + log_p
    log_wrong = log_expit(logit_noise) + log_rest - np.log(n_classes - 1)
    return log_right, log_wrong


def _temperature_and_noise(
    log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> tuple[float, float]:
    """Temperature and share of wrong claims of the greatest likelihood."""
    n_samples, n_classes = log_proba.shape
    rows = np.arange(n_samples)

    def loss(parameters: NDArray[np.float64]) -> float:
        log_temperature, logit_noise = parameters
        scaled = log_proba / np.exp(log_temperature)
        log_p = log_softmax(scaled, axis=1)[rows, claimed]
        log_right, log_wrong = _log_right_and_wrong(log_p, logit_noise, n_classes)
        likelihood = float(np.logaddexp(log_right, log_wrong).mean())
        return _NOISE_COST * float(expit(logit_noise)) - likelihood

    # From a few starts: with many wrong claims a flat temperature is a local minimum.
    bounds = [_LOG_TEMPERATURE_BOUNDS, _LOGIT_NOISE_BOUNDS]
    optima = [
        minimize(loss, start, method="L-BFGS-B", bounds=bounds)
        for start in ((0.0, -6.0), (0.0, -3.0), (1.0, -3.0), (1.5, -12.0))
    ]
    best = min(optima, key=lambda result: float(result.fun))
    return float(np.exp(best.x[0])), float(expit(best.x[1]))
