"""What posteriors of right claims look like, estimated where some claims are wrong."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

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
# Far beyond what a network can be; keeps the search out of overflow.
_LOG_TEMPERATURE_BOUND = np.log(1e3)
_LOGIT_NOISE_BOUNDS = (-20.0, 0.0)  # noise shares of 2e-9 to one half


@dataclass(frozen=True, eq=False)
class PosteriorNull:
    """Law of the claimed-label posterior of rows whose claims are right.

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
        """Estimate the law from rows that the classifier was not trained on.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        PosteriorNull
            The law.
        """
        floor = _floor(log_proba)
        sharpened = _without_floor(log_proba, floor)
        step = -(-log_proba.size // _MAX_VALUES)
        temperature, noise_share = _temperature_and_noise(
            sharpened[::step], claimed[::step]
        )
        log_posteriors = np.sort(log_softmax(sharpened / temperature, axis=1), None)
        cumulative = np.cumsum(np.exp(log_posteriors)) / len(log_proba)
        is_informative = _anchor(log_proba) < _MOST_LEARNT and (
            np.log(temperature) < 0.9 * _LOG_TEMPERATURE_BOUND
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
            ``log p_T(z | x)`` <= 0.
        """
        sharpened = _without_floor(log_proba, self.floor)
        calibrated = log_softmax(sharpened / self.temperature, axis=1)
        scores: NDArray[np.float64] = calibrated[np.arange(len(claimed)), claimed]
        return scores

    def p_values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """How often a right claim scores as low.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            As :meth:`scores` gives them.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``F(s)``, in [0, 1].
        """
        n_lower = np.searchsorted(self.log_posteriors, scores, side="right")
        p_values: NDArray[np.float64] = np.append(0.0, self.cumulative)[n_lower]
        return np.minimum(p_values, 1.0)  # a sum of many terms may exceed 1

    def threshold(self, level: float) -> float:
        """Greatest score whose p-value is at most ``level``.

        Parameters
        ----------
        level : float in (0, 1)
            Level of the p-values.

        Returns
        -------
        float
            The threshold; minus infinity where no score is low enough.
        """
        n_lower = int(np.searchsorted(self.cumulative, level, side="right"))
        if n_lower < len(self.log_posteriors):  # scores that tie have one p-value
            next_score = self.log_posteriors[n_lower]
            n_lower = int(np.searchsorted(self.log_posteriors, next_score, "left"))
        return float(np.append(-np.inf, self.log_posteriors)[n_lower])


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
        log_rest = np.log(-np.expm1(np.minimum(log_p, -1e-300)))
        log_right = log_expit(-logit_noise) + log_p
        log_wrong = log_expit(logit_noise) + log_rest - np.log(n_classes - 1)
        likelihood = float(np.logaddexp(log_right, log_wrong).mean())
        return _NOISE_COST * float(expit(logit_noise)) - likelihood

    # From a few starts: with many wrong claims a flat temperature is a local minimum.
    bounds = [(-_LOG_TEMPERATURE_BOUND, _LOG_TEMPERATURE_BOUND), _LOGIT_NOISE_BOUNDS]
    found = [
        minimize(loss, start, method="L-BFGS-B", bounds=bounds)
        for start in ((0.0, -6.0), (0.0, -3.0), (1.0, -3.0), (1.5, -12.0))
    ]
    best = min(found, key=lambda result: float(result.fun))
    return float(np.exp(best.x[0])), float(expit(best.x[1]))
