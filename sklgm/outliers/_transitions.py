"""Which label people give to a row of which class: the transition matrix of claims."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from sklgm.outliers._order import by_label

#: Rows that the noise of all classes counts for, beside those of each class.
PRIOR_ROWS = 20.0
_N_STEPS, _TOLERANCE = 50, 3e-4
# Where the search for the matrix starts, and the least that a confusion has.
_FIRST_NOISE, _LEAST_NOISE = 0.03, 1e-12
# Sums below it have lost digits, or are 0.
_LEAST_SUM = 1e-290
#: Values that are in memory, or better in its cache, at once.
CHUNK = 50_000


@dataclass(frozen=True, eq=False)
class TransitionModel:
    """Law of claims: the class of a row, and which label is then given to it.

    Attributes
    ----------
    temperature : float
        tau > 0 by which differences of log probabilities are divided.
    noise_matrix : ndarray of shape (n_classes, n_classes)
        ``T[y, z] = P(claimed z | true y)``; rows sum to 1.
    stray_share : float
        gamma in [0, 1): share of the rows about whose class the classifier has no
        clue, however sure it is.
    priors : ndarray of shape (n_classes,)
        Shares of the claimed classes, from which stray rows come.
    prior_wrong : float, default=0.0
        Wrong claims that evenly spread noise counts for in each class, at least.
    prior_share : float, default=0.0
        Rows that it counts for, at least, for each row of the class.
    power : float, default=1.0
        beta in (0, 1] to which differences of log probabilities are raised.

    Notes
    -----
    With p(. | x) from a classifier that was not trained on the row,

        d_k = max_j log p(j | x) - log p(k | x),
        q(. | x) = (1 - gamma) softmax(-d^beta / tau) + gamma pi,
        P(y, z | x) = q_y T[y, z],    P(right | x, z) = q_z T[z, z] / sum_y q_y T[y, z].

    T maximises the likelihood of the claims. Each of its rows is drawn to the noise of
    all classes, spread evenly, with the weight of 20 rows, or of as many as have
    ``prior_wrong`` wrong claims, or of the share ``prior_share`` of those of the class,
    so that small classes borrow from the others, and a few wrong claims, or errors of
    the classifier, do not pass for a habit; and at most half of the claims of a label
    count as wrong, since a classifier that never finds a class would else be taken for
    labels that are all wrong. With ``T[y, z] = epsilon / (K - 1)`` and gamma = 0 this
    is the mixture of one noise share.

    References
    ----------
    J. Goldberger, E. Ben-Reuven, "Training Deep Neural-Networks Using a Noise
    Adaptation Layer", ICLR 2017, equations 4 and 5 (the steps for T).
    """

    temperature: float
    noise_matrix: NDArray[np.float64]
    stray_share: float
    priors: NDArray[np.float64]
    prior_wrong: float = 0.0
    prior_share: float = 0.0
    power: float = 1.0

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
        n_classes = log_proba.shape[1]
        q = self.class_proba(log_proba)
        of_labels = [
            (label, q.take(rows, axis=0))
            for label, rows in by_label(claimed, n_classes, q.size)
        ]
        matrix = self.noise_matrix
        for _ in range(_N_STEPS):
            counts = np.zeros((n_classes, n_classes))
            by_columns = np.ascontiguousarray(matrix.T)
            for label, of_rows in of_labels:
                to_label = by_columns[label]
                counts[:, label] = to_label * ((1.0 / (of_rows @ to_label)) @ of_rows)
            counts = _mostly_right(counts)
            noise = 1.0 - np.trace(counts) / counts.sum()
            of_classes = counts.sum(axis=1, keepdims=True)
            least = max(PRIOR_ROWS, self.prior_wrong / max(noise, 1e-9))
            prior_rows = np.maximum(least, self.prior_share * of_classes)
            updated = counts + prior_rows * _even(noise, n_classes)
            updated /= updated.sum(axis=1, keepdims=True)
            change = np.abs(updated - matrix).max()
            matrix = updated
            if change < _TOLERANCE:
                break
        log_likelihood = sum(
            float(np.log(of_rows @ matrix[:, label]).sum())
            for label, of_rows in of_labels
        )
        return replace(self, noise_matrix=matrix), log_likelihood / len(claimed)

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
        q = exp(self._scaled(log_proba))
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
        right, wrong = np.empty(len(claimed)), np.empty(len(claimed))
        for label, rows in by_label(claimed, log_proba.shape[1], CHUNK):
            right[rows], wrong[rows] = self._right_and_wrong_of(
                log_proba.take(rows, axis=0), label
            )
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
        odds = np.empty(len(claimed))
        for label, rows in by_label(claimed, log_proba.shape[1], CHUNK):
            odds[rows] = self.log_odds_of(log_proba.take(rows, axis=0), label)
        return odds

    def log_odds_of(
        self, log_proba: NDArray[np.float64], label: int
    ) -> NDArray[np.float64]:
        """Like :meth:`log_odds`, of rows that claim one label.

        Parameters
        ----------
        log_proba : ndarray of shape (n_rows, n_classes)
            Log posteriors, natural log.
        label : int
            Index of the class that all rows claim.

        Returns
        -------
        ndarray of shape (n_rows,)
            Log odds, natural log, finite.
        """
        off = self._off_diagonal()[:, label]
        scaled = self._scaled(log_proba)
        own = scaled[:, label].copy()
        others = np.einsum("ij,j->i", exp(scaled), off)
        is_lost = others < _LEAST_SUM
        log_others = log(others)
        if is_lost.any():  # it underflows: take the logarithms of all terms
            with np.errstate(divide="ignore"):
                log_off = np.log(off)
            lost = self._scaled(log_proba[is_lost])
            log_others[is_lost] = logsumexp(lost + log_off, axis=1)
        log_right = np.log(max(self.noise_matrix[label, label], _LEAST_NOISE))
        odds: NDArray[np.float64] = own + log_right - log_others
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
        p_right = np.empty(len(claimed))
        for label, rows in by_label(claimed, log_proba.shape[1], CHUNK):
            p_right[rows] = self.p_right_of(log_proba.take(rows, axis=0), label)
        return p_right

    def p_right_of(
        self, log_proba: NDArray[np.float64], label: int
    ) -> NDArray[np.float64]:
        """Like :meth:`p_right`, of rows that claim one label.

        Parameters
        ----------
        log_proba : ndarray of shape (n_rows, n_classes)
            Log posteriors, natural log.
        label : int
            Index of the class that all rows claim.

        Returns
        -------
        ndarray of shape (n_rows,)
            ``P(right | x, z)``, in [0, 1].
        """
        right, wrong = self._right_and_wrong_of(log_proba, label)
        total = right + wrong
        return np.divide(right, total, out=np.zeros_like(right), where=total > 0)

    def _right_and_wrong_of(
        self, log_proba: NDArray[np.float64], label: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Like :meth:`right_and_wrong`, of rows that claim one label."""
        powers = exp(self._scaled(log_proba))
        off = self._off_diagonal()[:, label]
        # Not as a product of matrices: rows that are alike must have the same sums.
        others = np.einsum("ij,j->i", powers, off)
        scale = (1.0 - self.stray_share) / np.einsum("ij->i", powers)
        stray = self.stray_share
        right = powers[:, label] * scale + stray * self.priors[label]
        wrong = others * scale + stray * float(self.priors @ off)
        return right * self.noise_matrix[label, label], wrong

    def _scaled(self, log_proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of what ``q`` is in proportion to, in an array of their own.

        The greatest of a row is at least ``-log(n_classes) / tau``: not all of their
        exponentials underflow.
        """
        if self.power == 1.0:
            return log_proba / self.temperature
        differences = torch.from_numpy(log_proba).amax(dim=1, keepdim=True).numpy()
        scaled = log(differences - log_proba)
        scaled *= self.power
        exp(scaled)  # differences of 0 stay 0
        scaled /= -self.temperature
        return scaled

    def _off_diagonal(self) -> NDArray[np.float64]:
        off = np.maximum(self.noise_matrix, _LEAST_NOISE)
        np.fill_diagonal(off, 0.0)
        return off


def exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponentials, in place: torch's are vectorised on more processors.

    Parameters
    ----------
    values : ndarray of float64
        Overwritten.

    Returns
    -------
    ndarray of float64
        The same array.
    """
    of_values = torch.from_numpy(values)
    torch.exp(of_values, out=of_values)
    return values


def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms, in place, as :func:`exp`; of 0 minus infinity.

    Parameters
    ----------
    values : ndarray of float64
        At least 0; overwritten.

    Returns
    -------
    ndarray of float64
        The same array.
    """
    of_values = torch.from_numpy(values)
    torch.log(of_values, out=of_values)
    return values


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
