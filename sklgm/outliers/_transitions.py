"""Which label people give to a row of which class: the transition matrix of claims."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

# Rows that the noise of all classes counts for, beside those of each class.
_PRIOR_ROWS = 20.0
_N_STEPS, _TOLERANCE = 25, 3e-4
# Where the search for the matrix starts, and the least that a confusion has.
_FIRST_NOISE, _LEAST_NOISE = 0.03, 1e-12
# Sums below it have lost digits, or are 0.
_LEAST_SUM = 1e-290
# Values that are in memory at once.
_CHUNK = 200_000


@dataclass(frozen=True, eq=False)
class TransitionModel:
    """Law of claims: the class of a row, and which label is then given to it.

    Attributes
    ----------
    temperature : float
        tau > 0 by which log probabilities are divided.
    noise_matrix : ndarray of shape (n_classes, n_classes)
        ``T[y, z] = P(claimed z | true y)``; rows sum to 1.
    stray_share : float
        gamma in [0, 1): share of the rows about whose class the classifier has no
        clue, however sure it is.
    priors : ndarray of shape (n_classes,)
        Shares of the claimed classes, from which stray rows come.

    Notes
    -----
    With p(. | x) from a classifier that was not trained on the row,

        q(. | x) = (1 - gamma) softmax(log p(. | x) / tau) + gamma pi,
        P(y, z | x) = q_y T[y, z],    P(right | x, z) = q_z T[z, z] / sum_y q_y T[y, z].

    T maximises the likelihood of the claims. Each of its rows is drawn to the noise of
    all classes, spread evenly, with the weight of 20 rows, so that small classes borrow
    from the others; and at most half of the claims of a label count as wrong, since a
    classifier that never finds a class would else be taken for labels that are all
    wrong. With ``T[y, z] = epsilon / (K - 1)`` and gamma = 0 this is the
    mixture of one noise share.

    References
    ----------
    J. Goldberger, E. Ben-Reuven, "Training Deep Neural-Networks Using a Noise
    Adaptation Layer", ICLR 2017, equations 4 and 5 (the steps for T).
    """

    temperature: float
    noise_matrix: NDArray[np.float64]
    stray_share: float
    priors: NDArray[np.float64]

    @classmethod
    def start(cls, n_classes: int, priors: NDArray[np.float64]) -> Self:
        """Temperature 1 and little noise, spread evenly.

        Parameters
        ----------
        n_classes : int
            Number of classes.
        priors : ndarray of shape (n_classes,)
            Shares of the claimed classes.

        Returns
        -------
        TransitionModel
            Where a search begins.
        """
        return cls(1.0, _even(_FIRST_NOISE, n_classes), 0.0, priors)

    def fit(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> tuple[Self, float]:
        """Estimate the noise matrix of claims, from the one there is.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        model : TransitionModel
            With the noise matrix of greatest likelihood.
        log_likelihood : float
            Mean log probability of the claims.
        """
        n_samples, n_classes = log_proba.shape
        order = np.argsort(claimed, kind="stable")
        claims = claimed[order]
        starts = np.searchsorted(claims, np.arange(n_classes))
        is_claimed = np.bincount(claims, minlength=n_classes) > 0
        q = self.class_proba(log_proba)[order]
        matrix = self.noise_matrix
        for _ in range(_N_STEPS):
            joint = q * matrix[:, claims].T  # (n_samples, n_classes)
            joint /= joint.sum(axis=1, keepdims=True)
            counts = np.zeros((n_classes, n_classes))
            counts[:, is_claimed] = np.add.reduceat(joint, starts[is_claimed], axis=0).T
            counts = _mostly_right(counts)
            noise = 1.0 - np.trace(counts) / counts.sum()
            updated = counts + _PRIOR_ROWS * _even(noise, n_classes)
            updated /= updated.sum(axis=1, keepdims=True)
            change = np.abs(updated - matrix).max()
            matrix = updated
            if change < _TOLERANCE:
                break
        probability = np.einsum("ij,ji->i", q, matrix[:, claims])
        return replace(self, noise_matrix=matrix), float(np.log(probability).mean())

    def scaled_noise(self, factor: float) -> Self:
        """Scale all confusions.

        Parameters
        ----------
        factor : float in [0, 1]
            What is left of each of them.

        Returns
        -------
        TransitionModel
            With ``T[y, z]`` times the factor for ``y != z``.
        """
        matrix = factor * self.noise_matrix
        np.fill_diagonal(matrix, 0.0)
        np.fill_diagonal(matrix, 1.0 - matrix.sum(axis=1))
        return replace(self, noise_matrix=matrix)

    def class_proba(self, log_proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the true classes, shape (n_samples, n_classes).

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``q(y | x)``.
        """
        q = self._powers(log_proba)
        q /= q.sum(axis=1, keepdims=True)
        if self.stray_share > 0:
            q *= 1.0 - self.stray_share
            q += self.stray_share * self.priors
        return q

    def right_and_wrong(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probability that a row claims what it does, and is right or wrong in that.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        right, wrong : ndarray of shape (n_samples,)
            ``q_z T[z, z]`` and ``sum_(y != z) q_y T[y, z]``; the second is not a
            difference of larger numbers, so that sure rows keep their order.
        """
        n_samples, n_classes = log_proba.shape
        right, wrong = np.empty(n_samples), np.empty(n_samples)
        diagonal, off = np.diag(self.noise_matrix), self._off_diagonal()
        by_label, stray = np.ascontiguousarray(off.T), self.stray_share
        for rows in chunks(n_samples, n_classes):
            powers, claims = self._powers(log_proba[rows]), claimed[rows]
            own = powers[np.arange(len(powers)), claims]
            scale = (1.0 - stray) / powers.sum(axis=1)
            others = np.einsum("ij,ij->i", powers, by_label[claims])
            right[rows] = (own * scale + stray * self.priors[claims]) * diagonal[claims]
            wrong[rows] = others * scale + stray * (self.priors @ off)[claims]
        return right, wrong

    def log_odds(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Log odds that claims are right, stray rows apart.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log q_z T[z, z] - log sum_(y != z) q_y T[y, z]``, natural log, finite. The
            sum over all classes of the softmax cancels: sure rows keep their order.
        """
        n_samples, n_classes = log_proba.shape
        odds = np.empty(n_samples)
        off = self._off_diagonal()
        by_label = np.ascontiguousarray(off.T)
        log_diagonal = np.log(np.maximum(np.diag(self.noise_matrix), _LEAST_NOISE))
        for rows in chunks(n_samples, n_classes):
            claims = claimed[rows]
            numbers = np.arange(len(claims))
            scaled = log_proba[rows] / self.temperature
            own = scaled[numbers, claims]
            others = np.einsum("ij,ij->i", np.exp(scaled), by_label[claims])
            is_lost = others < _LEAST_SUM
            log_others = np.log(np.where(is_lost, 1.0, others))
            if is_lost.any():  # it underflows: take the logarithms of all terms
                with np.errstate(divide="ignore"):
                    log_off = np.log(by_label)[claims[is_lost]]
                log_others[is_lost] = logsumexp(scaled[is_lost] + log_off, axis=1)
            odds[rows] = own + log_diagonal[claims] - log_others
        return odds

    def of_all_claims(
        self, log_proba: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Like :meth:`right_and_wrong`, for every label that a row could claim.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.

        Returns
        -------
        right, wrong : ndarray of shape (n_samples, n_classes)
            They sum to 1 over each row together.
        """
        q = self.class_proba(log_proba)
        return q * np.diag(self.noise_matrix), q @ self._off_diagonal()

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
            ``P(right | x, z)``, in [0, 1].
        """
        right, wrong = self.right_and_wrong(log_proba, claimed)
        total = right + wrong
        return np.divide(right, total, out=np.zeros_like(right), where=total > 0)

    def _powers(self, log_proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities to the power of 1 / tau.

        The greatest of a row is at least 1 / n_classes: not all of them underflow.
        """
        powers = log_proba / self.temperature
        return np.exp(powers, out=powers)

    def _off_diagonal(self) -> NDArray[np.float64]:
        off = np.maximum(self.noise_matrix, _LEAST_NOISE)
        np.fill_diagonal(off, 0.0)
        return off


def chunks(n_samples: int, n_classes: int) -> list[slice]:
    """Rows that are in memory at once, as slices.

    Parameters
    ----------
    n_samples, n_classes : int
        Shape of the probabilities.

    Returns
    -------
    list of slice
        They cover all rows.
    """
    step = max(_CHUNK // n_classes, 1)
    return [slice(first, first + step) for first in range(0, n_samples, step)]


def _mostly_right(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lessen what a label was given to wrongly, where that is most of its claims.

    ``counts[y, z]`` is how many rows of class y claim z.
    """
    right = np.diag(counts)
    wrong = counts.sum(axis=0) - right
    share = np.divide(right, wrong, out=np.ones_like(right), where=wrong > right)
    lessened: NDArray[np.float64] = counts * share
    np.fill_diagonal(lessened, right)
    return lessened


def _even(noise: float, n_classes: int) -> NDArray[np.float64]:
    """Noise that is the same in all classes and spread evenly over the others."""
    matrix = np.full((n_classes, n_classes), max(noise, 1e-9) / (n_classes - 1))
    np.fill_diagonal(matrix, 1.0 - noise)
    return matrix
