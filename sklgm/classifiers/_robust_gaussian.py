"""Class Gaussians on fixed features, estimated robustly: the head of L-GM."""

from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, ClassVar, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklgm._inputs import (
    check_every_class_has_weight,
    encode_labels,
    validate_instances,
    validate_targets,
)
from sklgm._sklearn_private import Interval, StrOptions, fit_context
from sklgm.gaussian import (
    COVARIANCE_TYPES,
    LOCATIONS,
    Change,
    ClassDistances,
    CovarianceType,
    GaussianEstimate,
    Location,
    LocationBounds,
    Threat,
    Trim,
    Variance,
    certified_poisons,
    estimate_gaussians,
    log_density,
    log_determinant,
    log_variances_shape,
)
from sklgm.persistence import PersistenceMixin

# Variance of a column that is constant in every class, in units of its scale.
_CONSTANT_VARIANCE = 1e-3
# Values whose densities are computed at once, and the limits of the rows: few, so that
# they stay in the cache.
_VALUES, _MOST_ROWS, _LEAST_ROWS = 2**18, 4096, 64
# Error of a squared distance, in the scores of rows of float32, which are multiplied as
# such; of classes and their probabilities there is none.
_TOLERANCE = 0.01


class _Estimated(NamedTuple):
    """How Gaussians were estimated, whatever parameters say since."""

    location: str
    covariance_type: str
    variance_is_of_rows: bool
    priors_are_of_rows: bool


class RobustGaussianClassifier(ClassifierMixin, PersistenceMixin, BaseEstimator):
    """One Gaussian per class, estimated so that a few bad rows do not move it.

    It classifies fixed features, or plain numeric columns, by the class Gaussian
    under which a row is most likely, and says how likely a row is under the label it
    claims. :class:`~sklgm.LGMClassifier` ends in it (``head_``); behind a frozen
    network it is a head that poisons cannot pull towards themselves.

    Parameters
    ----------
    location : {"mean", "trimmed_mean", "median", "kept_mean"}, default="kept_mean"
        How class means are estimated. ``"kept_mean"`` leaves out the ``trim`` least
        likely rows of each class, and repeats until these no longer change.
        ``"trimmed_mean"`` and ``"median"`` work on each column by itself:
        ``"trimmed_mean"`` cuts the share ``trim`` off either end. Their predictions
        can be certified; the sorted training rows are kept for that.
    trim : float in [0, 0.5) or "auto", default=0.25
        Share that is left out; not used by ``"mean"``. The coordinate-wise locations
        leave it out of the squared deviations too, when variances are estimated.
        ``"auto"``, for ``"kept_mean"`` alone, leaves out what lies beyond the bulk of
        each class, 1 % of a Gaussian one.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, \
            default="identity"
        ``"identity"``: ``variance`` times I for all classes; ``"spherical"``: one
        variance per class; ``"diag"``: one per class and column, shrunk towards that
        of all classes where rows are few; ``"tied_diag"``: one diagonal for all.
    variance : float > 0 or "within", default="within"
        The variance of ``"identity"``, in squared feature units. ``"within"``: the
        variance within classes, averaged over columns. The other types use it only
        where no class has two different rows (``"within"`` is then 1).
    priors : array-like of shape (n_classes,) or None, default=None
        Class priors, positive; normalised to sum to 1. None: the weighted shares of
        the training rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Summed weight of the rows of each class.
    means_ : ndarray of shape (n_classes, n_features)
        Class means mu.
    covariances_ : ndarray
        Variances: shape () for ``"identity"``, (n_classes,) for ``"spherical"``,
        (n_classes, n_features) for ``"diag"``, (n_features,) for ``"tied_diag"``.
    priors_ : ndarray of shape (n_classes,)
        Class priors; sum to 1.
    is_kept_ : ndarray of bool of shape (n_samples,)
        Rows of ``fit`` that entered the estimate: those of positive weight which
        ``"kept_mean"`` did not leave out.
    n_dimensions_ : int
        Number of columns that vary within a class.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.
    input_shape_ : tuple of int
        Shape of one instance.

    See Also
    --------
    LGMClassifier : Trains a network whose features follow class Gaussians.
    sklgm.gaussian.estimate_gaussians : The estimate, on tensors.

    Notes
    -----
    With squared Mahalanobis distances D_k, covariances Sigma_k, priors pi_k and d
    columns, ``log N_k(x) = -(D_k + log|Sigma_k| + d log 2 pi) / 2``; the class is the
    argmax of ``log pi_k + log N_k(x)``.

    Units of columns do not matter for ``"diag"`` and ``"tied_diag"``: the floor of the
    variances is relative to the scale of each column. For ``"identity"`` and
    ``"spherical"`` they do.

    References
    ----------
    P. J. Rousseeuw and K. Van Driessen, "A fast algorithm for the minimum covariance
    determinant estimator", Technometrics 41, 1999 (iterated trimming).

    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklgm import RobustGaussianClassifier
    >>> X = np.array([[0.0], [1.0], [2.0], [90.0], [10.0], [11.0], [12.0], [13.0]])
    >>> y = np.array([0, 0, 0, 0, 1, 1, 1, 1])  # the fourth row is none of class 0
    >>> clf = RobustGaussianClassifier().fit(X, y)
    >>> clf.means_[0]
    array([1.])
    >>> clf.is_kept_[:4]
    array([ True,  True,  True, False])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "location": [StrOptions(set(LOCATIONS))],
        "trim": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "variance": [Interval(Real, 0, None, closed="neither"), StrOptions({"within"})],
        "priors": ["array-like", None],
    }

    def __init__(
        self,
        *,
        location: Location = "kept_mean",
        trim: Trim = 0.25,
        covariance_type: CovarianceType = "identity",
        variance: Variance = "within",
        priors: ArrayLike | None = None,
    ) -> None:
        self.location = location
        self.trim = trim
        self.covariance_type = covariance_type
        self.variance = variance
        self.priors = priors

    @classmethod
    def from_gaussians(
        cls,
        means: ArrayLike,
        covariances: ArrayLike,
        *,
        covariance_type: CovarianceType,
        priors: ArrayLike,
        classes: ArrayLike,
    ) -> Self:
        """Make a fitted classifier of Gaussians that are known.

        Parameters
        ----------
        means : array-like of shape (n_classes, n_features)
            Class means.
        covariances : array-like
            Variances > 0; shape by ``covariance_type``, as in ``covariances_``.
        covariance_type : {"identity", "spherical", "diag", "tied_diag"}
            Structure of the class covariances.
        priors : array-like of shape (n_classes,)
            Class priors, positive; normalised to sum to 1.
        classes : array-like of shape (n_classes,)
            Labels, sorted.

        Returns
        -------
        RobustGaussianClassifier
            Fitted, but for ``is_kept_`` and ``class_count_``: there were no rows.

        Raises
        ------
        ValueError
            If a shape does not match, or a variance or prior is not positive.
        """
        means = np.asarray(means, dtype=np.float64)
        covariances = np.asarray(covariances, dtype=np.float64)
        expected = log_variances_shape(covariance_type, *means.shape)
        if covariances.shape != expected or not (covariances > 0).all():
            raise ValueError(
                f"covariances must be positive, of shape {expected} for "
                f"covariance_type={covariance_type!r}, got shape {covariances.shape}"
            )
        made = cls(covariance_type=covariance_type)
        made.classes_ = np.asarray(classes)
        made.means_, made.covariances_ = means, covariances
        made.priors_ = _normalised(priors, len(means))
        made.n_features_in_ = made.n_dimensions_ = means.shape[1]
        made.input_shape_ = (means.shape[1],)
        made._location_bounds = None
        made._estimated_as = _Estimated("gradient", covariance_type, True, True)
        return made

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Estimate the class Gaussians.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows; instances of more dimensions are flattened.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0, which count as numbers of rows. Rows of weight 0 are left
            out.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If X or y is empty, not finite or of unequal length, if a class has no row
            of positive weight, if a parameter is out of its range, if ``priors`` are
            not one positive number per class, or if ``trim="auto"`` goes with another
            location than ``"kept_mean"``.
        TypeError
            If X is sparse.
        """
        if self.trim == "auto" and self.location in ("median", "trimmed_mean"):
            raise ValueError(
                f"trim='auto' chooses whole rows and needs location='kept_mean', got "
                f"location={self.location!r}; set trim to a share in [0, 0.5)"
            )
        instances = validate_instances(self, X, reset=True)
        rows = instances.reshape(len(instances), -1)
        labels, weight = validate_targets(
            type(self).__name__, instances, y, sample_weight
        )
        classes, y_encoded = np.unique(labels, return_inverse=True)
        check_every_class_has_weight(weight, y_encoded, classes)
        counts = np.bincount(y_encoded, weights=weight)
        priors = counts if self.priors is None else self.priors

        self.priors_ = _normalised(priors, len(classes))
        self.classes_, self.class_count_ = classes, counts
        self._estimate(rows, y_encoded, weight)
        # Not of np.abs(rows): that would be a copy of them all.
        lowest = rows.min(axis=1).astype(np.float64)
        largest = np.maximum(rows.max(axis=1), -lowest)
        extreme = rows[[int(largest.argmax())]]
        of_extreme = [distances.numpy() for _, distances in self._distances(extreme)]
        parts = (self.means_, self.covariances_, *of_extreme)
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError(
                "X holds values too large for means, variances and distances in "
                f"float64: up to {np.abs(extreme).max():.3g}; scale X"
            )
        self._estimated_as = _Estimated(
            self.location,
            self.covariance_type,
            self.variance == "within",
            self.priors is None,
        )
        self._location_bounds = None
        if self.location in ("median", "trimmed_mean") and len(np.unique(weight)) == 1:
            trim = None if self.location == "median" else float(self.trim)
            self._location_bounds = [
                LocationBounds(np.sort(rows[y_encoded == k], axis=0), trim)
                for k in range(len(classes))
            ]
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        check_is_fitted(self, "means_")
        if self.covariance_type == "identity":
            indices = self._nearest(self._rows(X))
        else:
            indices = self._of_chunks(X, lambda joint, _: joint.argmax(dim=0), np.int64)
        labels: NDArray[Any] = self.classes_[indices]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In [0, 1], rows sum to 1; columns in the order of ``classes_``.
        """
        proba: NDArray[np.float64] = np.exp(self.predict_log_proba(X))
        return proba

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Natural log of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Values <= 0; columns in the order of ``classes_``.
        """
        return self._of_chunks(
            X,
            lambda joint, _: torch.log_softmax(joint, dim=0).clamp_max_(0.0).T,
            is_per_class=True,
        )

    def predict_joint_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log joint densities of rows and classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``log pi_k + log N_k(x)``, natural log; columns in the order of
            ``classes_``.
        """
        return self._of_chunks(
            X,
            lambda joint, _: joint.T,
            is_per_class=True,
        )

    def claimed_log_density(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Log density of each row under the class it claims.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.
        y : array-like of shape (n_samples,)
            Claimed labels.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log N_z(x)`` for the claimed class z, natural log; of rows of float32
            within 0.005.

        Raises
        ------
        ValueError
            If a label was not seen in ``fit``.
        """
        check_is_fitted(self, "means_")
        rows = self._rows(X)
        claimed = torch.from_numpy(self._claimed(y, len(rows)))
        to_classes = self._class_distances(_TOLERANCE)
        offsets = torch.from_numpy(self._log_normalisers())
        densities = np.empty(len(rows))
        for chunk in _chunks(rows):
            own = claimed[chunk]
            features = _tensor(rows[chunk], _float_type(rows))
            distances = to_classes.to_claimed(features, own)
            densities[chunk] = torch.sub(offsets[own], distances, alpha=0.5).numpy()
        return densities

    def claimed_log_proba(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Natural log of the probability of the class that each row claims.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.
        y : array-like of shape (n_samples,)
            Claimed labels.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log p(z | x)`` for the claimed class z, <= 0; of rows of float32 within
            0.01.

        Raises
        ------
        ValueError
            If a label was not seen in ``fit``.
        """
        check_is_fitted(self, "means_")
        rows = self._rows(X)
        claimed = torch.from_numpy(self._claimed(y, len(rows)))

        def of_claims(joint: Tensor, chunk: slice) -> Tensor:
            own = joint.gather(0, claimed[None, chunk])[0]
            return (own - joint.logsumexp(dim=0)).clamp_max_(0.0)

        return self._of_chunks(rows, of_claims, tolerance=_TOLERANCE)

    def mahalanobis(self, X: ArrayLike) -> NDArray[np.float64]:
        """Squared Mahalanobis distance of every row to every class mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``D_k(x)``, without one half, >= 0.
        """
        check_is_fitted(self, "means_")
        rows = self._rows(X)
        distances = np.empty((len(rows), len(self.means_)))
        for chunk, of_chunk in self._distances(rows):
            distances[chunk] = of_chunk.numpy().T
        return distances

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log density of each row under the whole mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log sum_k pi_k N_k(x)``, natural log; higher is more normal. Of rows of
            float32 within 0.005.
        """
        return self._of_chunks(
            X, lambda joint, _: joint.logsumexp(dim=0), tolerance=_TOLERANCE
        )

    def certified_poisons(
        self,
        X: ArrayLike,
        *,
        threat: Threat = "one_class",
        change: Change = "replace",
    ) -> NDArray[np.int64]:
        """Count the poisoned training rows that each prediction provably withstands.

        The poisons may be anything: nothing is assumed about the attack but how many
        rows it changes, and that the features, as a function of a row, are not among
        what it changes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Features or rows to predict.
        threat : {"one_class", "any"}, default="one_class"
            ``"one_class"``: the poisons all claim one class, whichever it is;
            ``"any"``: each class holds so many of them.
        change : {"replace", "insert"}, default="replace"
            Whether poisons replace training rows of the classes they claim, or come
            on top.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            The largest number of poisons (of poisons per class, for ``"any"``) for
            which the prediction is proved to stay the same; 0 where nothing is proved.

        Raises
        ------
        ValueError
            If there is no bound: for ``location`` other than ``"median"`` and
            ``"trimmed_mean"``, variances that were estimated from the rows in
            question, priors that change with them, or unequal ``sample_weight``.

        Notes
        -----
        See :func:`sklgm.gaussian.certified_poisons` for the bounds and their proof.
        With equal priors the variance of ``covariance_type="identity"`` does not
        matter. Columns of different units are brought to one scale by a scaler that
        was fitted on trusted rows and is kept frozen.
        """
        bounds = self.location_bounds(threat=threat, change=change)
        instances = validate_instances(self, X, reset=False)
        return certified_poisons(
            instances.reshape(len(instances), -1),
            self.means_,
            bounds,
            np.log(self.priors_),
            float(self.covariances_),
            threat=threat,
            change=change,
        )

    def location_bounds(
        self, *, threat: Threat = "one_class", change: Change = "replace"
    ) -> list[LocationBounds]:
        """Sorted training columns of each class: what its location can become.

        Parameters
        ----------
        threat : {"one_class", "any"}, default="one_class"
            As in :meth:`certified_poisons`.
        change : {"replace", "insert"}, default="replace"
            As in :meth:`certified_poisons`.

        Returns
        -------
        list of LocationBounds
            One per class.

        Raises
        ------
        ValueError
            If there is no bound, as :meth:`certified_poisons`.
        """
        check_is_fitted(self, "means_")
        for name, value, allowed in (
            ("threat", threat, get_args(Threat)),
            ("change", change, get_args(Change)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
        fitted = self._estimated_as
        if fitted.location not in ("median", "trimmed_mean"):
            raise ValueError(
                f"location={fitted.location!r} has no bound on what poisons can do; "
                "fit with location='median' or 'trimmed_mean'"
            )
        if fitted.covariance_type != "identity":
            raise ValueError(
                f"covariance_type={fitted.covariance_type!r}: variances estimated from "
                "the training rows have no bound; fit with covariance_type='identity', "
                "behind a frozen scaler if columns have different units"
            )
        # Exactly: a variance as large as poisons make it counts any difference.
        has_equal_priors = (self.priors_ == self.priors_[0]).all()
        if fitted.variance_is_of_rows and not has_equal_priors:
            raise ValueError(
                "variance='within' is estimated from the training rows and matters "
                "where priors differ; set variance to a number, or priors to equal ones"
            )
        if change == "insert" and fitted.priors_are_of_rows:
            raise ValueError(
                "change='insert' changes the class shares that priors=None takes; set "
                "priors"
            )
        if self._location_bounds is None:
            raise ValueError(
                "sample_weight: rows of different weight have no bound; fit without"
            )
        bounds: list[LocationBounds] = self._location_bounds
        return bounds

    def _take_variance(self, variance: float, *, is_of_rows: bool) -> None:
        """Take the variance of ``"identity"`` in place of the estimate."""
        self.covariances_ = np.asarray(variance, dtype=np.float64)
        self.variance = "within" if is_of_rows else variance
        self._estimated_as = self._estimated_as._replace(variance_is_of_rows=is_of_rows)

    def _estimate(
        self,
        rows: NDArray[Any],
        y_encoded: NDArray[np.int64],
        weight: NDArray[np.float64],
    ) -> None:
        """Estimate from rows (n_samples, n_features) and publish the Gaussians."""
        if self.covariance_type in ("identity", "spherical"):
            estimate = self._estimated(rows, y_encoded, weight)
            self.means_ = estimate.means.numpy()
            self.covariances_ = estimate.log_variances.exp().numpy()
            self.is_kept_ = estimate.is_kept.numpy()
            self.n_dimensions_ = rows.shape[1]
            return
        # Floors of variances are relative to an average over columns: bring them to
        # one scale. What never varies within a class has no part in the choice of rows.
        n_classes, is_used = len(self.classes_), weight > 0
        scales, varies = _column_scales(rows[is_used], y_encoded[is_used])
        first_rows = [np.argmax(is_used & (y_encoded == k)) for k in range(n_classes)]
        means = rows[first_rows].astype(np.float64)
        shape = log_variances_shape(self.covariance_type, *means.shape)
        variances = np.full(shape, _CONSTANT_VARIANCE)
        self.is_kept_ = is_used
        if varies.any():
            scaled = rows[:, varies].astype(np.float64) / scales[varies]
            estimate = self._estimated(scaled, y_encoded, weight)
            means[:, varies] = estimate.means.numpy() * scales[varies]
            variances[..., varies] = estimate.log_variances.exp().numpy()
            self.is_kept_ = estimate.is_kept.numpy()
        self.means_, self.covariances_ = means, variances * scales**2
        self.n_dimensions_ = int(varies.sum())

    def _estimated(
        self,
        rows: NDArray[Any],
        y_encoded: NDArray[np.int64],
        weight: NDArray[np.float64],
    ) -> GaussianEstimate:
        return estimate_gaussians(
            torch.from_numpy(np.require(rows, _float_type(rows), ["C", "W"])),
            torch.from_numpy(y_encoded),
            len(self.classes_),
            location=self.location,
            covariance_type=self.covariance_type,
            variance=self.variance,
            trim=self.trim,
            sample_weight=torch.from_numpy(weight),
        )

    def _rows(self, X: ArrayLike) -> NDArray[Any]:
        """Rows (n_samples, n_features) of what is to be judged; nothing is copied."""
        instances = validate_instances(self, X, reset=False)
        rows: NDArray[Any] = instances.reshape(len(instances), -1)
        return rows

    def _claimed(self, y: ArrayLike, n_samples: int) -> NDArray[np.int64]:
        """Encode claimed labels, one for each row."""
        claimed = encode_labels(y, self.classes_, name="y")
        check_consistent_length(np.empty(n_samples), claimed)
        return claimed

    def _class_distances(self, tolerance: float = 0.0) -> ClassDistances:
        return ClassDistances(
            torch.tensor(self.means_),
            torch.tensor(self.covariances_).log(),
            self.covariance_type,
            tolerance=tolerance,
        )

    def _distances(
        self, rows: NDArray[Any], tolerance: float = 0.0
    ) -> Iterator[tuple[slice, Tensor]]:
        """Distances (n_classes, n_chunk) of some rows at a time."""
        to_classes = self._class_distances(tolerance)
        float_type = _float_type(rows) if tolerance > 0.0 else np.float64
        for chunk in _chunks(rows):
            yield chunk, to_classes.to_all(_tensor(rows[chunk], float_type))

    def _nearest(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Find the most probable classes, (n_samples,), for one common variance.

        By distances and priors alone: beside the densities of a very large variance,
        which poisons can make of it, the distances would be lost in rounding.
        """
        log_priors = torch.from_numpy(np.log(self.priors_))
        offsets = float(self.covariances_) * (log_priors - log_priors.max())
        to_means = ClassDistances(torch.tensor(self.means_), torch.zeros(()))
        indices = np.empty(len(rows), np.int64)
        for chunk in _chunks(rows):
            distances = to_means.to_all(_tensor(rows[chunk], np.float64))
            scores = torch.sub(offsets[:, None], distances, alpha=0.5)
            indices[chunk] = scores.argmax(dim=0).numpy()
        return indices

    def _log_normalisers(self) -> NDArray[np.float64]:
        """Log density (n_classes,) of each Gaussian at its mean."""
        n_classes, n_columns = self.means_.shape
        determinants = log_determinant(
            torch.tensor(self.covariances_).log(),
            self.covariance_type,
            n_classes,
            n_columns,
        )
        at_means = log_density(torch.zeros(n_classes).double(), determinants, n_columns)
        values: NDArray[np.float64] = at_means.numpy()
        return values

    def _of_chunks(
        self,
        X: ArrayLike,
        score: Callable[[Tensor, slice], Tensor],
        dtype: type[np.generic] = np.float64,
        is_per_class: bool = False,
        tolerance: float = 0.0,
    ) -> NDArray[Any]:
        """Score some rows at a time by their joint log densities.

        They are (n_classes, n_chunk): along contiguous memory a sum over classes is
        several times faster.
        """
        check_is_fitted(self, "means_")
        rows = self._rows(X)
        offsets = torch.from_numpy(self._log_normalisers() + np.log(self.priors_))
        shape = (len(rows), len(offsets)) if is_per_class else (len(rows),)
        scores: NDArray[Any] = np.empty(shape, dtype)
        for chunk, distances in self._distances(rows, tolerance):
            joint = torch.sub(offsets[:, None], distances, alpha=0.5)
            scores[chunk] = score(joint, chunk).numpy()
        return scores

    def __sklearn_tags__(self) -> Tags:
        """Tags: images are accepted besides rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags


def _chunks(rows: NDArray[Any]) -> list[slice]:
    """Slices of all rows, in order."""
    n_samples, n_columns = rows.shape
    step = min(_MOST_ROWS, max(_LEAST_ROWS, _VALUES // n_columns))
    return [slice(i, i + step) for i in range(0, n_samples, step)]


def _tensor(rows: NDArray[Any], float_type: type[np.floating[Any]]) -> Tensor:
    """Tensor of the same memory, where torch may have it."""
    array = np.ascontiguousarray(rows, dtype=float_type)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _normalised(priors: Any, n_classes: int) -> NDArray[np.float64]:
    shares = np.asarray(priors, dtype=np.float64)
    if shares.shape != (n_classes,) or not (shares > 0).all():
        raise ValueError(
            f"priors must be {n_classes} positive numbers, got {shares.tolist()!r}"
        )
    normalised: NDArray[np.float64] = shares / shares.sum()
    return normalised


def _float_type(rows: NDArray[Any]) -> type[np.floating[Any]]:
    return np.float32 if rows.dtype == np.float32 else np.float64


def _column_scales(
    rows: NDArray[Any], y_encoded: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Typical deviation within classes of each column, and whether there is any.

    It is the median of those deviations from the class median that are not 0, which
    neither outliers nor a column that is mostly 0 decide. A column without any takes
    the deviations from the median of all rows, then its absolute value, then 1.
    """
    of_classes = [np.flatnonzero(y_encoded == k) for k in np.unique(y_encoded)]
    is_floating = np.issubdtype(rows.dtype, np.floating)
    rounding = float(np.finfo(rows.dtype if is_floating else np.float64).eps)
    n_columns = rows.shape[1]
    scales, varies = np.ones(n_columns), np.zeros(n_columns, dtype=bool)
    for j in range(n_columns):
        column = rows[:, j].astype(np.float64)
        negligible = 8.0 * rounding * np.abs(column)
        within = column.copy()
        for of_class in of_classes:
            within[of_class] -= np.median(within[of_class])
        for deviations in (within, column - np.median(column), column):
            sizes = np.abs(deviations)
            sizes = sizes[sizes > negligible]
            if len(sizes) > 0:
                scales[j] = np.median(sizes)
                varies[j] = deviations is within
                break
    return scales, varies
