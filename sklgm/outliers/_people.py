"""Whether wrong claims look like those of people: where classes are hard to tell."""

import numpy as np
from numpy.typing import NDArray

from sklgm.outliers._transitions import TransitionModel

# How many times as frequent noise may be in rows that are unsure.
_AMBIGUOUS_WEIGHT = 4.0
# What tells noise of people: see the function.
_GAIN, _STRONG, _NOISY = (0.01, 0.025), (0.1, 0.15), (0.22, 0.3)
_LEAST_GAIN = (4.0, 8.0)


def likeness_to_people(
    model: TransitionModel,
    error: float,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
) -> float:
    """How far the noise is that of people: more frequent where classes are alike.

    Parameters
    ----------
    model : TransitionModel
        Reading of the claims in which noise is as frequent in all rows of a class.
    error : float
        Share of the rows of which the classifier gets the class wrong.
    log_proba : ndarray of shape (n_samples, n_classes)
        Log posteriors without a floor, natural log.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.

    Returns
    -------
    float
        In [0, 1]. Above 0 where noise that is ``1 + 4 (1 - max_k q_k)`` times as
        frequent fits better by more than 0.01 per wrong claim (1 from 0.025 on), the
        error is below 0.15 (0.1), and noise is more than 0.22 (0.3) of error and noise
        together.
    """
    right, wrong = model.right_and_wrong(log_proba, claimed)
    total = right + wrong
    noise = float(1.0 - np.mean(right / total))
    if noise <= 0.0 or error <= 0.0:
        return 0.0
    gain = _gain_of_ambiguous_noise(model, log_proba, claimed) - float(
        np.log(total).mean()
    )
    evidence = _between(gain / noise, *_GAIN)
    evidence *= _between(gain * len(claimed), *_LEAST_GAIN)
    strength = 1.0 - _between(error, *_STRONG)
    part = _between(noise / (noise + error), *_NOISY)
    return evidence * strength * part


def _gain_of_ambiguous_noise(
    model: TransitionModel,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
) -> float:
    """Mean log likelihood where noise is more frequent in rows that are unsure."""
    q = model.class_proba(log_proba)
    rows = np.arange(len(q))
    own = q[rows, claimed]
    factor = 1.0 + _AMBIGUOUS_WEIGHT * (1.0 - q.max(axis=1))
    q[rows, claimed] = 0.0
    off = model.noise_matrix.copy()
    np.fill_diagonal(off, 0.0)
    share = off.sum(axis=1)
    # The same number of wrong claims as without: only where they are is changed.
    scale = 1.0
    wrong = factor * np.einsum("ij,ij->i", q, off.T[claimed])
    expected = share[claimed]
    for _ in range(10):
        right = own * np.maximum(1.0 - scale * factor * expected, 0.1)
        posterior = scale * wrong / (scale * wrong + right)
        scale = posterior.sum() / max(
            float((factor * (own * expected + q @ share)).sum()), 1e-300
        )
    return float(np.log(scale * wrong + right).mean())


def _between(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high`` on, linear between."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))
