"""Model of right claims: what posteriors they have, and how many claims are wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs import some_rows
from sklgm.outliers._likely_reading import (
    LOG_TEMPERATURE_BOUNDS,
    likely_reading,
    with_lower_power,
)
from sklgm.outliers._log_posteriors import (
    LOWEST,
    has_class,
    left_to_others,
    without_floor,
)
from sklgm.outliers._order import ascending, by_label
from sklgm.outliers._people import likeness_to_people
from sklgm.outliers._transitions import CHUNK, TransitionModel

# Values from which the law is estimated: more make it no better.
_MAX_VALUES = 500_000
# The greatest share of what a classifier has learnt of wrong labels that is believed.
_MOST_LEARNT = 0.45
# What the cautious reading allows for beside the likely one: see the class.
_CAUTIOUS_TEMPERATURE, _CAUTIOUS_POWER = 1.15, 1.25
_CAUTIOUS_STRAY, _STRAY = (0.02, 0.3), (0.05, 0.3)
# Greatest share of the claims that a classifier may fail to predict: beyond, more than
# half of the labels would be wrong, or the classifier knows next to nothing. Then the
# cautious reading keeps little of the noise, and lets more rows stray.
_MOST_DISAGREEMENT = 0.6
_NOISE_KEPT, _LEAST_STRAY = 0.05, 0.1
# How much sharper classes are where noise is that of people.
_PEOPLE_SHARPER = 1.7
_N_BINS = 10
_LEAST_IN_BIN = 10


@dataclass(frozen=True, eq=False)
class RightClaimModel:
    """Model of the claims that people make of rows, right ones and wrong ones.

    A classifier that was trained on claims says p(z | x) of claims, and not of classes.
    How often a right label is an improbable one follows from what the classes are,
    and which labels are given to the rows of each. The model estimates both from rows
    that the classifier was not trained on, and says what they leave open.

    Attributes
    ----------
    floor : float
        Probability that the classifier gives to a class it is sure to be wrong.
    likely : TransitionModel
        Temperature, power and noise matrix of greatest likelihood, habits drawn to
        evenness; by it p-values are taken,
        and the share of wrong claims is estimated.
    cautious : TransitionModel
        The reading by which ``p_right`` is taken: it keeps the promise where the
        classifier's own errors and wrong claims cannot be told apart.
    noise_share : float
        Estimated share epsilon of claims that are wrong, in [0, 1].
    noise_share_interval : tuple of float
        Least and greatest share that the data leave open.
    classifier_error : float
        Estimated share delta of the rows of which the classifier gets the class wrong.
    is_informative : bool
        Whether the classifier is certain of any rows, and predicts at least 40 % of the
        claims; else ``noise_share`` means nothing, and hardly any claim is called
        wrong.
    misfit : float
        Share of the held-out claims that the model puts elsewhere than they are.
    sorted_scores : ndarray of shape (n_values,)
        Scores of all labels that rows could claim, sorted.
    cumulative : ndarray of shape (n_values,)
        Probability of each of these scores or a lower one, for a right claim.

    Notes
    -----
    *Learnt noise.* For a row that a classifier is certain of, each of the other classes
    keeps a probability c, the floor, if it has learnt how frequent wrong labels are. It
    is estimated as the 0.05 quantile over rows of min_k p(k | x) and taken out,

        p_c(k | x) proportional to p(k | x) - c, at least 0.001 p(k | x).

    *Likely.* The class y of a row follows ``q = softmax(-d^beta / tau)``, where d are
    the differences of ``log p_c`` from the greatest of the row, and the claim z follows
    ``T[y, z]`` (:class:`TransitionModel`). tau, beta and T maximise the likelihood

        sum_i log sum_y q_y(x_i) T[y, z_i].

    beta is 1, and q a softmax of one temperature, unless the Bayesian information
    criterion is for a lower one, of ten rows per class at least: networks whose log
    odds have long tails, as those of Gaussians on features have, are surer at the ends
    than a temperature can mend.

    What a classifier takes for another class looks like a habit of people. The part of
    even noise in each row of T is therefore the square of the confusions that may be
    the classifier's, a quarter of ``sum_i q_iy q_iz``, in the square of how far habits
    are from evenness, sums over all pairs of classes; at most a sixth.

    Of up to 20,000 rows evenly spread noise counts for three wrong claims of each class
    in T, unless T without them says more of held-out claims (four parts) by over one
    standard error.

    A right claim has the score s or a lower one with probability

        F(s) = sum_ik q'_k(x_i) T[k, k] [s_ik <= s] / sum_ik q'_k(x_i) T[k, k],
        s_ik = log q_k T[k, k] - log sum_(y != k) q_y T[y, k],

    which is the p-value of a claim of score s. Where noise is spread evenly, s is a
    function of q_k, and F the law of the calibrated posteriors. In q' a share
    ``(0.05 + 0.3 delta) delta`` of the rows has no class that the classifier knows of,
    where ``delta = 1 - E max_k q_k`` is its own error.

    *What stays open.* A classifier that is unsure and a classifier that has learnt how
    often people are wrong give the same p: from p and z alone the two cannot be told
    apart in general. Two things are taken from what networks and people were seen to
    do, and are assumptions. (a) The cautious reading, by which decisions keep a false
    discovery rate: a share ``gamma = (0.02 + 0.3 delta) delta`` of the rows is stray,
    tau is 1.15 times as high, and a beta below 1, with the tau that goes with it, is
    lowered by two standard errors and raised to the power of 1.25, since noise explains
    a part of the tails. (b) People err where classes are hard to tell apart, and a
    network that is better than they are learns where. That is seen from the likelihood
    of a noise that is ``1 + 4 (1 - max_k q_k)`` times as frequent. Where it fits
    better, by 0.01 to 0.025 per wrong claim, the classifier is strong (delta below 0.1
    to 0.15), and noise is a considerable part of what it does not predict (epsilon /
    (epsilon + delta) above 0.22 to 0.3), tau is divided by up to 1.7 and not raised. A
    classifier that predicts less than 40 % of the claims tells nothing: the cautious
    reading then keeps a twentieth of the noise, and gamma is at least 0.1. The interval
    of the noise share reaches from what half of the classifier's own error could
    account for, ``epsilon - delta / 2``, to the share of claims that it does not
    predict.

    Assumed: temperature and power are enough, some rows are certain, and wrong labels
    that are more frequent somewhere than right ones, as in a subclass, are learnt and
    missed.

    References
    ----------
    G. Patrini, A. Rozza, A. Menon, R. Nock, L. Qu, "Making Deep Neural Networks Robust
    to Label Noise: a Loss Correction Approach", CVPR 2017, equation 12 (anchor points).

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural
    Networks", ICML 2017 (temperature scaling).
    """

    floor: float
    likely: TransitionModel
    cautious: TransitionModel
    noise_share: float
    noise_share_interval: tuple[float, float]
    classifier_error: float
    is_informative: bool
    misfit: float
    sorted_scores: NDArray[np.float64]
    cumulative: NDArray[np.float64]

    @property
    def temperature(self) -> float:
        """By which differences of log probabilities are divided, see ``likely``."""
        return self.likely.temperature

    @property
    def noise_matrix(self) -> NDArray[np.float64]:
        """``P(claimed z | true y)``, shape (n_classes, n_classes)."""
        return self.likely.noise_matrix

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
        is_possible = has_class(log_proba)
        if is_possible.any() and not is_possible.all():
            log_proba, claimed = log_proba[is_possible], claimed[is_possible]
        n_samples, n_classes = log_proba.shape
        anchor = left_to_others(log_proba)
        # Where the most certain rows are as unsure as this there is no anchor.
        floor = anchor / (n_classes - 1) if anchor < _MOST_LEARNT else 0.0
        chosen, claims = log_proba, claimed
        if log_proba.size > _MAX_VALUES:
            some = some_rows(n_samples, max(_MAX_VALUES // n_classes, 1))
            chosen, claims = log_proba[some], claimed[some]
        chosen = without_floor(chosen, floor)
        priors = np.bincount(claimed, minlength=n_classes) / n_samples
        likely = likely_reading(chosen, claims, priors, n_samples)
        error = _classifier_error(likely, chosen)
        by_people = likeness_to_people(likely, error, chosen, claims)
        noise = 1.0 - likely.p_right(chosen, claims).mean()
        disagreement = float(np.mean(np.argmax(chosen, axis=1) != claims))
        cautious = with_lower_power(likely, _CAUTIOUS_POWER, chosen, claims)
        if by_people > 0.0:
            sharper = _PEOPLE_SHARPER**by_people
            likely, _ = replace(likely, temperature=likely.temperature / sharper).fit(
                chosen, claims
            )
            cautious = replace(cautious, temperature=cautious.temperature / sharper)
        softer = _CAUTIOUS_TEMPERATURE ** (1.0 - by_people)
        cautious, _ = replace(
            cautious,
            temperature=cautious.temperature * softer,
            stray_share=_stray_share(error, _CAUTIOUS_STRAY),
        ).fit(chosen, claims)
        share = float(1.0 - likely.p_right(chosen, claims).mean())
        low = max(noise - 0.5 * error, 0.0)
        high = max(disagreement, share)
        sampling = 2.0 * np.sqrt(high * (1.0 - high) / n_samples)
        strays = replace(likely, stray_share=_stray_share(error, _STRAY))
        sorted_scores, cumulative = _law(likely, strays, chosen)
        is_informative = (
            anchor < _MOST_LEARNT
            and np.log(likely.temperature) < 0.9 * LOG_TEMPERATURE_BOUNDS[1]
            and disagreement <= _MOST_DISAGREEMENT
        )
        if not is_informative:
            cautious = replace(
                cautious.scaled_noise(_NOISE_KEPT),
                stray_share=max(cautious.stray_share, _LEAST_STRAY),
            )
            low = 0.0
        return cls(
            floor,
            likely,
            cautious,
            share,
            (float(max(low - sampling, 0.0)), float(min(high + sampling, 1.0))),
            error,
            bool(is_informative),
            _misfit(likely, chosen, claims),
            sorted_scores,
            cumulative,
        )

    def scores(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Log odds that claims are right, by the likely reading.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``s_iz``, natural log, finite; the lowest number for a row that has no
            class, as it is infinitely far from all of them.
        """
        return self.scores_and_p_right(log_proba, claimed)[0]

    def scores_and_p_right(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """:meth:`scores` and :meth:`p_right`, in one pass over the rows.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        scores, p_right : ndarray of shape (n_samples,)
            As these methods return them.
        """
        scores, p_right = np.empty(len(claimed)), np.empty(len(claimed))
        is_possible = has_class(log_proba)
        for label, rows, known in self._parts(log_proba, claimed, is_possible):
            scores[rows] = self.likely.log_odds_of(known, label)
            p_right[rows] = self.cautious.p_right_of(known, label)
        return np.where(is_possible, np.maximum(scores, LOWEST), LOWEST), p_right

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
        order = ascending(scores)  # one after the other they are found faster
        n_lower = np.searchsorted(self.sorted_scores, scores[order], side="right")
        p_values = np.empty(len(scores))
        p_values[order] = np.append(0.0, self.cumulative)[n_lower]
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
        n_lower = min(n_lower, len(self.sorted_scores) - 1)
        return np.array([self.sorted_scores[n_lower]])

    def smallest_p_values(self) -> NDArray[np.float64]:
        """Smallest p-value that a row may have: there is none above 0, shape (1,)."""
        return np.zeros(1)

    def p_right(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Probability that each claim is right, by the cautious reading.

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
        is_possible = has_class(log_proba)
        for label, rows, known in self._parts(log_proba, claimed, is_possible):
            p_right[rows] = self.cautious.p_right_of(known, label)
        return p_right

    def class_proba(self, log_proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the classes, whatever label a row claims.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors of claims, natural log.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``q``, in [0, 1], rows sum to 1; of a row that has no class all alike.
        """
        known = np.where(has_class(log_proba)[:, None], log_proba, 0.0)
        return self.likely.class_proba(without_floor(known, self.floor))

    def disputed(
        self, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """How far the readings differ about each claim.

        Parameters
        ----------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log posteriors, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            Probability that the claim is wrong by a bold reading (the classifier does
            not err: classes 1.7 times as sharp, no stray rows) minus that by the
            cautious one, at least 0.
        """
        bold = replace(
            self.likely, temperature=self.likely.temperature / _PEOPLE_SHARPER
        )
        difference = np.empty(len(claimed))
        is_possible = has_class(log_proba)
        for label, rows, known in self._parts(log_proba, claimed, is_possible):
            difference[rows] = self.cautious.p_right_of(known, label)
            difference[rows] -= bold.p_right_of(known, label)
        return np.maximum(difference, 0.0)

    def _parts(
        self,
        log_proba: NDArray[np.float64],
        claimed: NDArray[np.int64],
        is_possible: NDArray[np.bool_],
    ) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.float64]]]:
        """Yield parts of the rows: their label, their numbers, and ``log p_c``."""
        is_all_possible = bool(is_possible.all())
        for label, rows in by_label(claimed, log_proba.shape[1], CHUNK):
            known = log_proba.take(rows, axis=0)  # faster than by an index
            if not is_all_possible:
                known[~is_possible[rows]] = 0.0
            yield label, rows, without_floor(known, self.floor)


def _classifier_error(model: TransitionModel, log_proba: NDArray[np.float64]) -> float:
    """Share of the rows of which the likelier class is not the class."""
    return float(1.0 - model.class_proba(log_proba).max(axis=1).mean())


def _stray_share(error: float, weights: tuple[float, float]) -> float:
    return (weights[0] + weights[1] * error) * error


def _misfit(
    model: TransitionModel, log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> float:
    """Share of held-out claims that the model puts elsewhere than they are.

    The noise matrix of half of the rows predicts the claims of the others: how many are
    that of the likeliest class, in each tenth of the rows by how likely it is.
    """
    if len(claimed) < 2 * _N_BINS * _LEAST_IN_BIN:  # chance alone would be anything
        return 0.0
    is_out = np.ones(len(claimed), dtype=bool)
    is_out[some_rows(len(claimed), -(-len(claimed) // 2))] = False
    halved, _ = model.fit(log_proba[~is_out], claimed[~is_out])
    held_out, claims = log_proba[is_out], claimed[is_out]
    right, wrong = halved.of_all_claims(held_out)
    expected = right + wrong
    top = np.argmax(expected, axis=1)
    likeliest = expected[np.arange(len(top)), top]
    bins = np.array_split(np.argsort(likeliest, kind="stable"), _N_BINS)
    excess = np.array(
        [np.sum((top == claims)[rows] - likeliest[rows]) for rows in bins]
    )
    variances = likeliest * (1.0 - likeliest)
    spread = np.array([np.sqrt(variances[rows].sum()) for rows in bins])
    # Sizes of Gaussian deviations: their mean, and three deviations of their sum.
    by_chance = np.sqrt(2.0 / np.pi) * spread.sum()
    by_chance += 3.0 * np.sqrt(1.0 - 2.0 / np.pi) * np.linalg.norm(spread)
    return float(max(np.abs(excess).sum() - by_chance, 0.0)) / len(claims)


def _law(
    model: TransitionModel,
    strays: TransitionModel,
    log_proba: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sorted scores of right claims, and the probability of each or a lower one."""
    weights = strays.class_proba(log_proba) * np.diag(model.noise_matrix)
    scores = np.empty(log_proba.shape)
    for k in range(log_proba.shape[1]):
        scores[:, k] = model.log_odds_of(log_proba, k)
    order = ascending(scores.ravel())
    cumulative = np.cumsum(weights.ravel()[order])
    return scores.ravel()[order], cumulative / cumulative[-1]
