"""The two-dimensional feature space of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm.plotting._matplotlib import axes_or_new

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
    """Scatter of two-dimensional features, with class Gaussians, poisons and targets.

    Rows are coloured by the label they claim. A poison of a collision attack lies
    near its target, far from the Gaussian of the label it claims.

    Parameters
    ----------
    features : array-like of shape (n_samples, 2)
        Output of the backbone.
    claimed_labels : array-like of shape (n_samples,)
        Label of each row.
    is_poison : array-like of shape (n_samples,), default=None
        True where a row is a poison: a black-edged cross. None means no poison.
    means : array-like of shape (n_classes, 2), default=None
        Class means: a plus with the name of its class.
    covariances : float or array-like, default=None
        Variances of the classes, in squared feature units: of shape (), (n_classes,),
        (n_classes, 2) or (2,), as `covariance_type` says, or full matrices of shape
        (n_classes, 2, 2). Drawn as ellipses of 1 and 2 standard deviations; needs
        `means`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default=None
        What the shape of `covariances` means. None reads it from the shape, which
        is impossible for shape (2,) with two classes.
    target_features : array-like of shape (n_targets, 2), default=None
        Features of targets: stars.
    classes : array-like of shape (n_classes,), default=None
        Label of each row of `means`. None takes the sorted claimed labels.
    class_names : sequence of str of length n_classes, default=None
        Names for the legend; None takes the labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Raises
    ------
    ValueError
        If a shape does not fit, a claimed label is not in `classes`, or covariances
        come without means.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import FeatureSpaceDisplay
    >>> display = FeatureSpaceDisplay.from_features(
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
        classes: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.features = _check_points(features, "features")
        n_samples = len(self.features)
        self.claimed_labels = _check_length(claimed_labels, n_samples, "claimed_labels")
        self.is_poison = (
            np.zeros(n_samples, dtype=bool)
            if is_poison is None
            else _check_length(is_poison, n_samples, "is_poison").astype(bool)
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
        self.means = None if means is None else _check_points(means, "means")
        if self.means is not None and len(self.means) != n_classes:
            raise ValueError(
                f"means has {len(self.means)} rows for {n_classes} classes: pass the "
                "label of each row as classes."
            )
        self.covariances = None
        if covariances is not None:
            if self.means is None:
                raise ValueError("covariances was given but means=None.")
            self.covariances = _full_covariances(
                np.asarray(covariances, dtype=np.float64), covariance_type, n_classes
            )
        self.target_features = (
            None
            if target_features is None
            else _check_points(target_features, "target_features")
        )

    @classmethod
    def from_features(
        cls,
        features: ArrayLike,
        claimed_labels: ArrayLike,
        *,
        is_poison: ArrayLike | None = None,
        means: ArrayLike | None = None,
        covariances: ArrayLike | None = None,
        covariance_type: str | None = None,
        target_features: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
        ax: Any | None = None,
    ) -> FeatureSpaceDisplay:
        """Make the display and draw it.

        Parameters
        ----------
        features : array-like of shape (n_samples, 2)
            Output of the backbone.
        claimed_labels : array-like of shape (n_samples,)
            Label of each row.
        is_poison : array-like of shape (n_samples,), default=None
            True where a row is a poison.
        means : array-like of shape (n_classes, 2), default=None
            Class means.
        covariances : float or array-like, default=None
            Variances of the classes, as for the class.
        covariance_type : str, default=None
            What the shape of `covariances` means, as for the class.
        target_features : array-like of shape (n_targets, 2), default=None
            Features of targets.
        classes : array-like of shape (n_classes,), default=None
            Label of each row of `means`.
        class_names : sequence of str of length n_classes, default=None
            Names for the legend.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        FeatureSpaceDisplay
        """
        display = cls(
            features,
            claimed_labels,
            is_poison=is_poison,
            means=means,
            covariances=covariances,
            covariance_type=covariance_type,
            target_features=target_features,
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
                *self.features[rows].T,
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
                *self.features[self.is_poison].T,
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
                *self.target_features.T,
                color="#F0E442",
                marker="*",
                s=190,
                edgecolors="black",
                linewidths=1,
                label=f"targets (n = {len(self.target_features):,})",
                zorder=5,
            )
        ax.set_xlabel("feature 1")
        ax.set_ylabel("feature 2")
        legend = ax.legend(
            frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1
        )
        for handle in legend.legend_handles[: len(self.classes)]:
            handle.set_alpha(1)
            handle.set_sizes([36])
        ax.spines[["top", "right"]].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_gaussians(self, ax: Any, colors: Sequence[Any]) -> None:
        if self.means is None:
            return
        from matplotlib.patches import Ellipse

        for index, (mean, name) in enumerate(
            zip(self.means, self.class_names, strict=True)
        ):
            if self.covariances is not None:
                values, vectors = np.linalg.eigh(self.covariances[index])
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


def _check_points(points: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise ValueError(
            f"{name} of shape {array.shape} must have the shape (n, 2): train with "
            "feature_dim=2, or project the features first."
        )
    return array


def _check_length(values: ArrayLike, n_samples: int, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (n_samples,):
        raise ValueError(
            f"{name} of shape {array.shape} must have the shape ({n_samples},)."
        )
    return array


def _full_covariances(
    covariances: NDArray[np.float64], covariance_type: str | None, n_classes: int
) -> NDArray[np.float64]:
    """Matrices of shape (n_classes, 2, 2) from any of the accepted shapes."""
    shapes = {
        "identity": (),
        "spherical": (n_classes,),
        "diag": (n_classes, 2),
        "tied_diag": (2,),
        "full": (n_classes, 2, 2),
    }
    if covariance_type is None:
        fitting = [kind for kind, s in shapes.items() if s == covariances.shape]
        if len(fitting) > 1:
            raise ValueError(
                f"covariance_type=None is ambiguous for covariances of shape "
                f"{covariances.shape} and {n_classes} classes: {', '.join(fitting)}."
            )
        covariance_type = fitting[0] if fitting else None
    if covariances.shape != shapes.get(covariance_type or ""):
        raise ValueError(
            f"covariances of shape {covariances.shape} does not fit {n_classes} "
            f"classes and covariance_type={covariance_type!r}."
        )
    if covariance_type == "full":
        return covariances
    if covariance_type == "spherical":
        covariances = covariances[:, np.newaxis]  # (n_classes, 1)
    variances = np.broadcast_to(covariances, (n_classes, 2))
    return variances[:, :, np.newaxis] * np.eye(2)  # (n_classes, 2, 2)


def _class_colors(n_classes: int) -> list[Any]:
    if n_classes <= len(_CLASS_COLORS):
        return list(_CLASS_COLORS[:n_classes])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.95, n_classes)))
