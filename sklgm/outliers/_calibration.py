"""From evidence to p-values: scores on one scale, and the law of right claims."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklgm.outliers._conformal import ConformalLaw, ScoreLaw
from sklgm.outliers._distance_law import DistanceLaw
from sklgm.outliers._evidence import ONE_CLASS
from sklgm.outliers._log_posteriors import LOWEST, precise_log_softmax
from sklgm.outliers._right_claims import RightClaimModel
from sklgm.outliers._standardisation import align, combine, standardise

# Share of held-out claims that a model may misplace before a warning says so.
_MOST_MISFIT = 0.05


@dataclass(frozen=True, eq=False)
class RowScores:
    """What the model of one fold says of rows, by the score of a detector.

    Attributes
    ----------
    claims : ndarray of shape (n_samples,) or None
        Score of the claims, higher is more normal; None where the posterior is all.
    log_proba : ndarray of shape (n_samples, n_classes) or None
        Log posteriors of all classes, natural log.
    label_free : ndarray of shape (n_samples,) or None
        Score whatever the label; None where the model has none.
    """

    claims: NDArray[np.float64] | None = None
    log_proba: NDArray[np.float64] | None = None
    label_free: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class FoldScores:
    """What the model of one fold says of the rows that it was not trained on.

    Attributes
    ----------
    rows : ndarray of int of shape (n_held_out,)
        Which rows of ``fit`` these are.
    held_out : RowScores
        Of these rows.
    trusted : RowScores or None
        Of the trusted rows, if there are any.
    distance_law : DistanceLaw or None
        Of the squared distances that its scores of claims are, if that is asked for.
    """

    rows: NDArray[np.intp]
    held_out: RowScores
    trusted: RowScores | None = None
    distance_law: DistanceLaw | None = None


@dataclass(frozen=True)
class ScoreKind:
    """What a score of claims needs before it is compared between rows.

    Attributes
    ----------
    is_posterior : bool
        It is the log posterior of the claim; ``RowScores.claims`` is None.
    has_units : bool
        It has the unit of the features, which the models of folds do not share.
    is_standardised : bool
        It is standardised by the rows of the same class.
    is_combined : bool
        It is then combined with the log posterior.
    """

    is_posterior: bool = False
    has_units: bool = False
    is_standardised: bool = False
    is_combined: bool = False


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores and p-values of the rows of ``fit``, and what new rows are judged by.

    Attributes
    ----------
    kind : ScoreKind
        What the scores are.
    scores, p_values : ndarray of shape (n_samples,)
        Of the rows of ``fit``, each by the model that was not trained on it.
    laws : tuple of ScoreLaw
        Law of right claims, one for each fold; often the same.
    n_groups : int
        Groups of rows that have a law each: 1, or one per class.
    centres, spreads : ndarray of shape (n_folds, n_classes)
        ``(score - centre) / spread`` brings the scores of folds and classes to one
        scale.
    right_claims : RightClaimModel or None
        The model of right claims, if there is one.
    p_right : ndarray of shape (n_samples,) or None
        Probability that the claim of each row of ``fit`` is right, by that model.
    """

    kind: ScoreKind
    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    laws: tuple[ScoreLaw, ...]
    n_groups: int
    centres: NDArray[np.float64]
    spreads: NDArray[np.float64]
    right_claims: RightClaimModel | None = None
    p_right: NDArray[np.float64] | None = None

    def groups(self, claimed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Group whose law each claim is judged by, shape (n_samples,)."""
        return claimed if self.n_groups > 1 else np.zeros_like(claimed)

    def fold_scores(
        self, fold: int, rows: RowScores, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Scores of new rows by the model of one fold.

        Parameters
        ----------
        fold : int
            Number of the fold.
        rows : RowScores
            What its model says.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            On the scale of ``scores``.
        """
        if self.kind.is_posterior:
            assert rows.log_proba is not None
            if self.right_claims is not None:
                return self.right_claims.scores(rows.log_proba, claimed)
            return claimed_log_posterior(rows.log_proba, claimed)
        assert rows.claims is not None
        centres, spreads = self.centres[fold, claimed], self.spreads[fold, claimed]
        scores = _scaled(rows.claims, centres, spreads)
        if self.kind.is_combined:
            assert rows.log_proba is not None
            scores = combine(scores, claimed_log_posterior(rows.log_proba, claimed))
        return scores


def claimed_log_posterior(
    log_proba: NDArray[np.float64], claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log posterior probability of the class that each row claims.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Log posteriors, finite.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``log p(z | x)`` <= 0, natural log, finite; by the odds against the claim, so
        that sure rows keep their order; the lowest number for a row that is infinitely
        far from every class.
    """
    own = log_proba[np.arange(len(claimed)), claimed]
    is_possible = log_proba.max(axis=1) > LOWEST
    own[is_possible] = precise_log_softmax(log_proba[is_possible])[
        np.arange(int(is_possible.sum())), claimed[is_possible]
    ]
    return np.maximum(own, LOWEST)


def warn_if_doubtful(model: RightClaimModel, *, stacklevel: int) -> None:
    """Warn where a model of right claims means little, or does not fit.

    Parameters
    ----------
    model : RightClaimModel
        The model.
    stacklevel : int
        Frames above this function to which the warning belongs.
    """
    if not model.is_informative:
        warnings.warn(
            "The estimator is certain of hardly any row, or predicts few labels. "
            "P-values and the estimated share of wrong labels mean little, and hardly "
            "any label is called wrong: train it longer, give another estimator, or "
            "trusted rows",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    elif model.misfit > _MOST_MISFIT:
        warnings.warn(
            "The model of right and wrong labels does not fit: it misplaces "
            f"{model.misfit:.1%} of the labels that it was not estimated from. "
            "Probabilities and p-values are then rough: check some rows, and give "
            "trusted rows or decisions on rows that were checked",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def calibrate_claims(
    folds: Sequence[FoldScores],
    claimed: NDArray[np.int64],
    n_classes: int,
    kind: ScoreKind,
    *,
    calibration: str,
    trusted: NDArray[np.int64] | None = None,
) -> Calibration:
    """Judge the claims of the rows of ``fit``.

    Parameters
    ----------
    folds : sequence of FoldScores
        What the model of each fold says of the rows that it was not trained on.
    claimed : ndarray of shape (n_samples,)
        Indices of the classes that the rows of ``fit`` claim.
    n_classes : int
        Number of classes.
    kind : ScoreKind
        What the scores are.
    calibration : {"auto", "marginal", "per_class", "chi2"}
        Which law: see :class:`~sklgm.LGMOutlierDetector`.
    trusted : ndarray of shape (n_trusted,) or None, default=None
        Indices of the classes of the trusted rows.

    Returns
    -------
    Calibration
        Scores, p-values and laws.

    Raises
    ------
    ValueError
        If there is one class, and the score is its posterior.
    """
    if kind.is_posterior and n_classes < 2:
        raise ValueError(ONE_CLASS)
    n_groups = n_classes if calibration in ("per_class", "chi2") else 1
    groups = claimed if n_groups > 1 else np.zeros_like(claimed)
    if calibration == "chi2":
        return _by_distance(folds, claimed, n_classes, kind)
    if trusted is not None:
        return _against_trusted(folds, claimed, trusted, n_classes, n_groups, kind)

    log_proba = _in_order(folds, [fold.held_out.log_proba for fold in folds])
    model = weights = None
    if calibration == "auto" and n_classes > 1 and log_proba is not None:
        model = RightClaimModel.fit(log_proba, claimed)
        if kind.is_posterior:
            scores, weights = model.scores_and_p_right(log_proba, claimed)
            return Calibration(
                kind,
                scores,
                model.p_values(scores),
                (model,) * len(folds),
                1,
                *_no_scale(len(folds), n_classes),
                model,
                weights,
            )
        weights = model.p_right(log_proba, claimed)

    centres, spreads = _no_scale(len(folds), n_classes)
    if kind.is_posterior:
        assert log_proba is not None
        scores = claimed_log_posterior(log_proba, claimed)
    else:
        raw = _in_order(folds, [fold.held_out.claims for fold in folds])
        assert raw is not None
        if kind.has_units:
            fold_of = np.empty(len(claimed), dtype=np.intp)
            for i, fold in _each(folds):
                fold_of[fold.rows] = i
            of_folds = align(raw, fold_of, len(folds))
            raw = _scaled(raw, of_folds[0][fold_of], of_folds[1][fold_of])
            centres, spreads = (each[:, None] + 0.0 * centres for each in of_folds)
        scores = raw
        if kind.is_standardised:
            medians, scales, left_out = standardise(raw, claimed, n_classes)
            # In one class a common scale changes no rank, so that p-values per class
            # are exact; over all classes, or beside something else that decides the
            # rank, each row must be scaled as a new one is.
            is_plain = n_groups > 1 and not kind.is_combined
            scores = (
                (raw - medians[claimed]) / scales[claimed] if is_plain else left_out
            )
            centres, spreads = centres + medians * spreads, spreads * scales
        if kind.is_combined:
            assert log_proba is not None
            scores = combine(scores, claimed_log_posterior(log_proba, claimed))
    law = ConformalLaw.from_rows(scores, groups, n_groups, weights)
    return Calibration(
        kind,
        scores,
        law.own_p_values(scores, groups, weights),
        (law,) * len(folds),
        n_groups,
        centres,
        spreads,
        model,
        None if model is None else weights,
    )


def calibrate_label_free(
    folds: Sequence[FoldScores], has_units: bool
) -> Calibration | None:
    """Judge the rows of ``fit`` whatever their labels.

    Parameters
    ----------
    folds : sequence of FoldScores
        What the model of each fold says of the rows that it was not trained on.
    has_units : bool
        Whether scores have the unit of the features, which the models do not share.

    Returns
    -------
    Calibration or None
        Against trusted rows where there are any, else by ranks among the rows; None
        where a model has no such score.
    """
    if any(fold.held_out.label_free is None for fold in folds):
        return None

    def as_claims(rows: RowScores | None) -> RowScores | None:
        return None if rows is None else RowScores(claims=rows.label_free)

    as_claimed = []
    for fold in folds:
        held_out = as_claims(fold.held_out)
        assert held_out is not None
        as_claimed.append(FoldScores(fold.rows, held_out, as_claims(fold.trusted)))
    n_samples = sum(len(fold.rows) for fold in folds)
    first = as_claimed[0].trusted
    n_trusted = 0 if first is None or first.claims is None else len(first.claims)
    return calibrate_claims(
        as_claimed,
        np.zeros(n_samples, dtype=np.int64),
        1,
        ScoreKind(has_units=has_units),
        calibration="marginal",
        trusted=np.zeros(n_trusted, dtype=np.int64) if n_trusted > 0 else None,
    )


def _by_distance(
    folds: Sequence[FoldScores],
    claimed: NDArray[np.int64],
    n_classes: int,
    kind: ScoreKind,
) -> Calibration:
    """By the law of squared distances, that of each fold."""
    scores = _in_order(folds, [fold.held_out.claims for fold in folds])
    assert scores is not None
    p_values = np.empty(len(claimed))
    laws: list[ScoreLaw] = []
    for fold in folds:
        assert fold.distance_law is not None
        laws.append(fold.distance_law)
        rows = fold.rows
        p_values[rows] = fold.distance_law.p_values(scores[rows], claimed[rows])
    return Calibration(
        kind,
        scores,
        p_values,
        tuple(laws),
        n_classes,
        *_no_scale(len(folds), n_classes),
    )


def _against_trusted(
    folds: Sequence[FoldScores],
    claimed: NDArray[np.int64],
    trusted: NDArray[np.int64],
    n_classes: int,
    n_groups: int,
    kind: ScoreKind,
) -> Calibration:
    """Split-conformal p-values against the trusted rows, scored by the same model."""
    groups = trusted if n_groups > 1 else np.zeros_like(trusted)
    centres, spreads = _no_scale(len(folds), n_classes)
    laws: list[ScoreLaw] = []
    for i, fold in _each(folds):
        assert fold.trusted is not None
        if kind.is_posterior:
            assert fold.trusted.log_proba is not None
            known = claimed_log_posterior(fold.trusted.log_proba, trusted)
        else:
            assert fold.trusted.claims is not None
            known = fold.trusted.claims
        if kind.is_standardised:
            medians, scales, left_out = standardise(known, trusted, n_classes)
            centres[i], spreads[i] = medians, scales
            is_plain = n_groups > 1 and not kind.is_combined
            known = (
                (known - medians[trusted]) / scales[trusted] if is_plain else left_out
            )
        if kind.is_combined:
            assert fold.trusted.log_proba is not None
            known = combine(
                known, claimed_log_posterior(fold.trusted.log_proba, trusted)
            )
        laws.append(ConformalLaw.from_rows(known, groups, n_groups))
    empty = np.empty(len(claimed))
    made = Calibration(
        kind, empty, empty.copy(), tuple(laws), n_groups, centres, spreads
    )
    for i, fold in _each(folds):
        own = claimed[fold.rows]
        made.scores[fold.rows] = made.fold_scores(i, fold.held_out, own)
        made.p_values[fold.rows] = laws[i].p_values(
            made.scores[fold.rows], made.groups(own)
        )
    return made


def _each(folds: Sequence[FoldScores]) -> list[tuple[int, FoldScores]]:
    return list(enumerate(folds))


def _no_scale(
    n_folds: int, n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.zeros((n_folds, n_classes)), np.ones((n_folds, n_classes))


def _scaled(
    scores: NDArray[np.float64],
    centres: NDArray[np.float64],
    spreads: NDArray[np.float64],
) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # of a row that is infinitely far from all classes
        scaled: NDArray[np.float64] = (scores - centres) / spreads
    return scaled


def _in_order(
    folds: Sequence[FoldScores], of_folds: Sequence[NDArray[np.float64] | None]
) -> NDArray[np.float64] | None:
    """Put what was said of the rows of each fold into the order of the rows."""
    known = [values for values in of_folds if values is not None]
    if len(known) < len(of_folds):
        return None
    if len(known) == 1 and np.array_equal(folds[0].rows, np.arange(len(known[0]))):
        return known[0]
    values = np.concatenate(known)
    in_order = np.empty_like(values)
    in_order[np.concatenate([fold.rows for fold in folds])] = values
    return in_order
