"""The feature space of a classifier, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, column_or_1d

from sklgm._inputs import as_array, encode_labels, split_steps, transform_by_steps
from sklgm.plotting._masks import check_mask
from sklgm.plotting._matplotlib import axes_or_new, open_frame
from sklgm.plotting._projection import fit_projection

#: Ten colours that people with a colour vision deficiency can tell apart: the muted
#: scheme of Paul Tol and a grey.
_CLASS_COLORS = (
    "#332288",
    "#88CCEE",
    "#117733",
    "#DDCC77",
    "#CC6677",
    "#AA4499",
    "#44AA99",
    "#999933",
    "#882255",
    "#888888",
)


class FeatureSpaceDisplay:
    """Scatter of features in the plane, with class Gaussians, poisons and targets.

    Rows are coloured by the label they claim. A poison of a collision attack lies
    near its target, far from the Gaussian of the label it claims. Features of more
    than two columns are projected; means and covariances go through the same affine
    map, so ellipses show exactly the Gaussians of the projected features.

    Use `from_estimator` or `from_predictions` to make and draw one.

    Parameters
    ----------
    features : array-like of shape (n_samples, feature_dim)
        Output of the backbone, finite, with at least 2 columns.
    claimed_labels : array-like of shape (n_samples,)
        Label of each row.
    is_poison : array-like of shape (n_samples,), default=None
        True where a row is a poison: a black-edged cross. None means no poison.
    means : array-like of shape (n_classes, feature_dim), default=None
        Class means: a plus with the name of its class.
    covariances : float or array-like, default=None
        Variances of the classes, in squared feature units: of shape (), (n_classes,),
        (n_classes, feature_dim) or (feature_dim,), as `covariance_type` says, or
        full matrices of shape (n_classes, feature_dim, feature_dim). Drawn as
        ellipses of 1 and 2 standard deviations; needs `means`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag", "full"}, \
            default=None
        What the shape of `covariances` means. None reads it from the shape, which
        is impossible for shape (feature_dim,) with as many classes.
    target_features : array-like of shape (n_targets, feature_dim), default=None
        Features of targets: stars.
    projection : {"pca", "lda"}, default="pca"
        How more than 2 columns become 2; 2 columns are drawn as they are. ``"pca"``:
        the first two principal components of `features`, the directions of the
        largest variance. ``"lda"``: the first two linear discriminants of the claimed
        labels, the directions that separate the classes best in units of their
        spread; needs rows of at least 3 classes.
    classes : array-like of shape (n_classes,), default=None
        Label of each row of `means`. None takes the sorted claimed labels.
    class_names : sequence of str of length n_classes, default=None
        Names for the legend; None takes the labels.

    Attributes
    ----------
    points_ : ndarray of shape (n_samples, 2)
        The features as drawn: ``(features - center_) @ components_.T``.
    components_ : ndarray of shape (2, feature_dim)
        Direction of each axis; the unit matrix where there are 2 columns.
    center_ : ndarray of shape (feature_dim,)
        The feature vector that stands at the origin.
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Raises
    ------
    ValueError
        If a shape does not fit, features are not finite, a claimed label is not in
        `classes`, covariances come without means, `projection` is unknown, or the
        features do not determine two directions for it.

    Examples
    --------
    >>> import matplotlib
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import LGMClassifier
    >>> from sklgm.plotting import FeatureSpaceDisplay
    >>> matplotlib.use("agg")
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LGMClassifier(feature_dim=8, lr=0.01, random_state=0).fit(X, y)
    >>> display = FeatureSpaceDisplay.from_estimator(clf, X, y)
    >>> display.components_.shape
    (2, 8)
    >>> display = FeatureSpaceDisplay.from_predictions(
    ...     [[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]],
    ...     ["cat", "dog", "cat"],
    ...     is_poison=[False, False, True],
    ... )
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['cat', 'dog', 'poisons (n = 1)']
    """

    def __init__(
        self,
        features: ArrayLike,
        claimed_labels: ArrayLike,
        *,
        is_poison: ArrayLike | None = None,
        means: ArrayLike | None = None,
        covariances: ArrayLike | None = None,
        covariance_type: str | None = None,
        target_features: ArrayLike | None = None,
        projection: str = "pca",
        classes: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.features = _check_features(features, "features")
        n_samples, feature_dim = self.features.shape
        self.claimed_labels = _check_length(claimed_labels, n_samples, "claimed_labels")
        self.is_poison = (
            np.zeros(n_samples, dtype=bool)
            if is_poison is None
            else check_mask("is_poison", is_poison, n_samples)
        )
        self.classes = (
            np.unique(self.claimed_labels) if classes is None else np.asarray(classes)
        )
        unknown = ~np.isin(self.claimed_labels, self.classes)
        if unknown.any():
            raise ValueError(
                f"claimed_labels holds {self.claimed_labels[unknown][0]!r}, which is "
                "not in classes."
            )
        n_classes = len(self.classes)
        names = self.classes if class_names is None else class_names
        self.class_names = [str(name) for name in names]
        if len(self.class_names) != n_classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} entries for {n_classes} "
                "classes."
            )
        self.means = (
            None if means is None else _check_features(means, "means", feature_dim)
        )
        if self.means is not None and len(self.means) != n_classes:
            raise ValueError(
                f"means has {len(self.means)} rows for {n_classes} classes: pass the "
                "label of each row as classes."
            )
        self.covariances = None
        self.covariance_type = covariance_type
        if covariances is not None:
            if self.means is None:
                raise ValueError("covariances was given but means=None.")
            self.covariances = np.asarray(covariances, dtype=np.float64)
            self.covariance_type = _check_covariance_type(
                self.covariances.shape, covariance_type, n_classes, feature_dim
            )
        self.target_features = (
            None
            if target_features is None
            else _check_features(target_features, "target_features", feature_dim)
        )
        self.projection = projection
        self._plane = fit_projection(self.features, self.claimed_labels, projection)
        self.components_ = self._plane.components
        self.center_ = self._plane.center
        self.points_ = self._plane.points(self.features)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        is_poison: ArrayLike | None = None,
        X_target: ArrayLike | None = None,
        projection: str = "pca",
        class_names: Sequence[str] | None = None,
        ax: Any | None = None,
    ) -> FeatureSpaceDisplay:
        """Draw the features that a fitted classifier gives to rows.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`~sklgm.LGMClassifier` or
            :class:`~sklgm.SoftmaxClassifier`, or anything else whose ``transform``
            gives features; a Pipeline that ends in one, or a ``FrozenEstimator`` of
            either. Gaussians are drawn where it has ``means_`` and ``covariances_``.
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,)
            The labels they claim, out of ``estimator.classes_`` where it has them.
        is_poison : array-like of shape (n_samples,), default=None
            True where a row is a poison.
        X_target : array-like of shape (n_targets, ...), default=None
            Target instances, like those of X.
        projection : {"pca", "lda"}, default="pca"
            How more than 2 features become 2, as for the class.
        class_names : sequence of str of length n_classes, default=None
            Names for the legend, in the order of ``estimator.classes_``.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        FeatureSpaceDisplay

        Raises
        ------
        TypeError
            If `estimator` has no ``transform``.
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        ValueError
            If a label of y is not in ``estimator.classes_``, or as for the class.
        """
        steps_before, last_step = split_steps(estimator)
        if not hasattr(last_step, "transform"):
            raise TypeError(
                f"estimator={type(last_step).__name__} must have the method "
                "transform, which gives the features of X."
            )
        check_is_fitted(last_step)
        y = column_or_1d(as_array(y), warn=True)
        check_consistent_length(X, y)
        classes = getattr(last_step, "classes_", None)
        if classes is not None:
            encode_labels(y, classes, name="y")  # refuses those not seen in fit
        # Means alone may live elsewhere: those of scikit-learn's discriminant
        # analysis are means of X.
        has_gaussians = hasattr(last_step, "means_") and hasattr(
            last_step, "covariances_"
        )
        return cls.from_predictions(
            last_step.transform(transform_by_steps(steps_before, X)),
            y,
            is_poison=is_poison,
            means=last_step.means_ if has_gaussians else None,
            covariances=last_step.covariances_ if has_gaussians else None,
            covariance_type=getattr(last_step, "covariance_type", None),
            target_features=None
            if X_target is None
            else last_step.transform(transform_by_steps(steps_before, X_target)),
            projection=projection,
            classes=classes,
            class_names=class_names,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        features: ArrayLike,
        claimed_labels: ArrayLike,
        *,
        is_poison: ArrayLike | None = None,
        means: ArrayLike | None = None,
        covariances: ArrayLike | None = None,
        covariance_type: str | None = None,
        target_features: ArrayLike | None = None,
        projection: str = "pca",
        classes: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
        ax: Any | None = None,
    ) -> FeatureSpaceDisplay:
        """Draw given features.

        Parameters
        ----------
        features : array-like of shape (n_samples, feature_dim)
            Output of the backbone, finite, with at least 2 columns.
        claimed_labels : array-like of shape (n_samples,)
            Label of each row.
        is_poison : array-like of shape (n_samples,), default=None
            True where a row is a poison.
        means : array-like of shape (n_classes, feature_dim), default=None
            Class means.
        covariances : float or array-like, default=None
            Variances of the classes, as for the class.
        covariance_type : str, default=None
            What the shape of `covariances` means, as for the class.
        target_features : array-like of shape (n_targets, feature_dim), default=None
            Features of targets.
        projection : {"pca", "lda"}, default="pca"
            How more than 2 columns become 2, as for the class.
        classes : array-like of shape (n_classes,), default=None
            Label of each row of `means`.
        class_names : sequence of str of length n_classes, default=None
            Names for the legend.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        FeatureSpaceDisplay

        Raises
        ------
        ValueError
            As for the class.
        """
        display = cls(
            features,
            claimed_labels,
            is_poison=is_poison,
            means=means,
            covariances=covariances,
            covariance_type=covariance_type,
            target_features=target_features,
            projection=projection,
            classes=classes,
            class_names=class_names,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any | None = None) -> FeatureSpaceDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        FeatureSpaceDisplay
            The object itself.
        """
        ax = axes_or_new(ax, figsize=(6.8, 5.2))
        colors = _class_colors(len(self.classes))
        for label, name, color in zip(
            self.classes, self.class_names, colors, strict=True
        ):
            rows = (self.claimed_labels == label) & ~self.is_poison
            ax.scatter(
                *self.points_[rows].T,
                color=color,
                s=10,
                alpha=0.6,
                linewidths=0,
                label=name,
                # A scatter of many rows as vectors makes a page of many megabytes.
                rasterized=True,
            )
        self._draw_gaussians(ax, colors)
        if self.is_poison.any():
            index = {label: i for i, label in enumerate(self.classes.tolist())}
            claimed = self.claimed_labels[self.is_poison].tolist()
            ax.scatter(
                *self.points_[self.is_poison].T,
                c=[colors[index[label]] for label in claimed],
                marker="X",
                s=70,
                edgecolors="black",
                linewidths=1,
                label=f"poisons (n = {len(claimed):,})",
                zorder=4,
            )
        if self.target_features is not None:
            ax.scatter(
                *self._plane.points(self.target_features).T,
                color="#F0E442",
                marker="*",
                s=190,
                edgecolors="black",
                linewidths=1,
                label=f"targets (n = {len(self.target_features):,})",
                zorder=5,
            )
        ax.set_xlabel(self._plane.axis_labels[0])
        ax.set_ylabel(self._plane.axis_labels[1])
        legend = ax.legend(
            frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1
        )
        for handle in legend.legend_handles[: len(self.classes)]:
            handle.set_alpha(1)
            handle.set_sizes([36])
        open_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_gaussians(self, ax: Any, colors: Sequence[Any]) -> None:
        if self.means is None:
            return
        from matplotlib.patches import Ellipse

        means = self._plane.points(self.means)
        covariances = None
        if self.covariances is not None and self.covariance_type is not None:
            covariances = self._plane.covariances(
                self.covariances, self.covariance_type, len(means)
            )
        for index, (mean, name) in enumerate(zip(means, self.class_names, strict=True)):
            if covariances is not None:
                values, vectors = np.linalg.eigh(covariances[index])
                angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
                for n_sigma in (1, 2):
                    width, height = 2 * n_sigma * np.sqrt(np.maximum(values, 0))
                    ax.add_patch(
                        Ellipse(
                            mean,
                            width,
                            height,
                            angle=angle,
                            fill=False,
                            edgecolor=colors[index],
                            linewidth=1.5 if n_sigma == 1 else 1,
                            linestyle="-" if n_sigma == 1 else "--",
                            zorder=3,
                        )
                    )
            ax.plot(*mean, "+", color="black", markersize=9, zorder=4)
            ax.annotate(
                name,
                mean,
                xytext=(5, 5),
                textcoords="offset points",
                fontweight="bold",
                zorder=3.5,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
                | {"alpha": 0.7},
            )
        ax.autoscale_view()


def _check_features(
    features: ArrayLike, name: str, feature_dim: int | None = None
) -> NDArray[np.float64]:
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] < 2:
        raise ValueError(
            f"{name} of shape {array.shape} must have the shape (n, feature_dim) with "
            "at least 1 row and 2 columns."
        )
    if feature_dim is not None and array.shape[1] != feature_dim:
        raise ValueError(
            f"{name} of shape {array.shape} must have {feature_dim} columns, as "
            "features has."
        )
    if not np.all(np.isfinite(array)):
        row, column = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"{name}[{row}, {column}]={array[row, column]} must be finite."
        )
    return array


def _check_length(values: ArrayLike, n_samples: int, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (n_samples,):
        raise ValueError(
            f"{name} of shape {array.shape} must have the shape ({n_samples},)."
        )
    return array


def _check_covariance_type(
    shape: tuple[int, ...],
    covariance_type: str | None,
    n_classes: int,
    feature_dim: int,
) -> str:
    """Return the type that `shape` has: the given one, or the only one that fits."""
    shapes = {
        "identity": (),
        "spherical": (n_classes,),
        "diag": (n_classes, feature_dim),
        "tied_diag": (feature_dim,),
        "full": (n_classes, feature_dim, feature_dim),
    }
    if covariance_type is None:
        fitting = [kind for kind, expected in shapes.items() if expected == shape]
        if len(fitting) > 1:
            raise ValueError(
                f"covariance_type=None is ambiguous for covariances of shape "
                f"{shape} and {n_classes} classes: {', '.join(fitting)}."
            )
        covariance_type = fitting[0] if fitting else None
    if covariance_type is None or shape != shapes.get(covariance_type):
        raise ValueError(
            f"covariances of shape {shape} does not fit {n_classes} classes, "
            f"feature_dim={feature_dim} and covariance_type={covariance_type!r}."
        )
    return covariance_type


def _class_colors(n_classes: int) -> list[Any]:
    if n_classes <= len(_CLASS_COLORS):
        return list(_CLASS_COLORS[:n_classes])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.95, n_classes)))
