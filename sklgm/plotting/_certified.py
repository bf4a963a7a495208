"""Certified accuracy against the number of poisons, and what attacks leave of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length

from sklgm.metrics import Rate, certified_accuracy, predict_certified, wilson_rate
from sklgm.plotting._matplotlib import axes_or_new, open_frame, percent
from sklgm.plotting._pooling import check_one_comparison, pool_seeds, rate_of
from sklgm.plotting._victim_names import (
    victim_color,
    victim_marker,
    victim_name,
    victim_rank,
)

if TYPE_CHECKING:
    import polars as pl

# Counts at which a curve is drawn, at most.
_MAX_POINTS = 200


class CertifiedAccuracyDisplay:
    """Certified accuracy against the number, or the share, of poisons.

    The curve is the share of rows that are right and proved to stay so: no attack does
    better. Attacks that were tried are points above it, the share of rows that they
    leave right: what holds against the strongest attack of all lies between.

    Use `from_estimator` or `from_predictions` to make and draw one. Several models are
    drawn into the same axes: pass ``ax=display.ax_``.

    Parameters
    ----------
    certified : mapping of int to Rate
        Certified accuracy by number of poisons.
    attacked : mapping of int to Rate, default=None
        Accuracy under the best attack that was found, by number of poisons.
    rows_per_class : int, default=None
        Training rows of a class; the axis is then the share that is poisoned. None:
        it is their number.
    name : str, default=None
        Of the model, for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Raises
    ------
    ValueError
        If there is no point, or `rows_per_class` is not positive.

    See Also
    --------
    sklgm.metrics.certified_accuracy : A point of the curve.
    sklgm.poisoning.attack_locations : Attacks to draw beside it.

    Examples
    --------
    >>> import matplotlib
    >>> import numpy as np
    >>> matplotlib.use("agg")
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import RobustGaussianClassifier
    >>> from sklgm.plotting import CertifiedAccuracyDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RobustGaussianClassifier(location="median").fit(X, y)
    >>> display = CertifiedAccuracyDisplay.from_estimator(clf, X, y, name="median")
    >>> round(display.certified[5].value, 2)
    0.86
    """

    def __init__(
        self,
        certified: Mapping[int, Rate],
        *,
        attacked: Mapping[int, Rate] | None = None,
        rows_per_class: int | None = None,
        name: str | None = None,
    ) -> None:
        if not certified:
            raise ValueError("certified={} must hold at least one point.")
        if rows_per_class is not None and rows_per_class < 1:
            raise ValueError(f"rows_per_class={rows_per_class!r} must be at least 1.")
        self.certified = dict(sorted(certified.items()))
        self.attacked = dict(sorted((attacked or {}).items()))
        self.rows_per_class = rows_per_class
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        attacks: Iterable[Any] = (),
        n_poisons: ArrayLike | None = None,
        rows_per_class: int | None = None,
        name: str | None = None,
        ax: Any | None = None,
        parameters: Mapping[str, Any] | None = None,
        **line_kwargs: Any,
    ) -> CertifiedAccuracyDisplay:
        """Certify the predictions of an estimator and draw the curve.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or FrozenEstimator
            With ``certified_poisons``, or ending in what has it.
        X : array-like of shape (n_samples, ...)
            Test rows.
        y : array-like of shape (n_samples,)
            True labels.
        attacks : iterable of LocationAttack, default=()
            Attacks on the same rows, as :func:`sklgm.poisoning.attack_locations`
            returns them.
        n_poisons : array-like of int, default=None
            Where the curve is drawn; None chooses up to 200 numbers.
        rows_per_class : int, default=None
            As for the class.
        name : str, default=None
            As for the class; None is the class of the estimator.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        parameters : mapping, default=None
            Arguments of ``certified_poisons``, such as ``{"threat": "any"}``.
        **line_kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        CertifiedAccuracyDisplay

        Raises
        ------
        TypeError
            If the estimator has no certificates.
        ValueError
            If an attack was made on other rows, or is of another ``threat`` or
            ``change`` than the certificates.
        """
        asked = {"threat": "one_class", "change": "replace", **(parameters or {})}
        attacks = _listed(attacks)
        for attack in attacks:
            for what in ("threat", "change"):
                if getattr(attack, what) != asked[what]:
                    raise ValueError(
                        f"attacks holds one with {what}={getattr(attack, what)!r}, but "
                        f"certificates are for {what}={asked[what]!r}."
                    )
        labels, counts = predict_certified(estimator, X, **(parameters or {}))
        return cls.from_predictions(
            y,
            labels,
            counts,
            attacks=attacks,
            n_poisons=n_poisons,
            rows_per_class=rows_per_class,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **line_kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        certified_poisons: ArrayLike,
        *,
        attacks: Iterable[Any] = (),
        n_poisons: ArrayLike | None = None,
        rows_per_class: int | None = None,
        name: str | None = None,
        ax: Any | None = None,
        **line_kwargs: Any,
    ) -> CertifiedAccuracyDisplay:
        """Draw the curve of predictions whose certificates are known.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_pred : array-like of shape (n_samples,)
            Predictions.
        certified_poisons : array-like of int of shape (n_samples,)
            Poisons that each prediction withstands.
        attacks : iterable of LocationAttack, default=()
            Attacks on the same rows. A row counts as changed if any of the attacks with
            the same number of poisons changes it.
        n_poisons : array-like of int, default=None
            Where the curve is drawn; None chooses up to 200 numbers.
        rows_per_class : int, default=None
            As for the class.
        name : str, default=None
            As for the class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_kwargs : dict
            For ``Axes.plot``.

        Returns
        -------
        CertifiedAccuracyDisplay

        Raises
        ------
        ValueError
            If lengths differ, there is no row, or attacks are of several kinds.
        """
        withstood = np.asarray(certified_poisons)
        check_consistent_length(y_true, y_pred, withstood)
        attacks = _listed(attacks)
        kinds = {(attack.threat, attack.change) for attack in attacks}
        if len(kinds) > 1:
            raise ValueError(
                f"attacks must have one threat and change, got {sorted(kinds)}."
            )
        points = _points(withstood)
        if n_poisons is not None:
            points = np.atleast_1d(np.asarray(n_poisons))
            if points.size > 0 and points.dtype.kind not in "iu":
                raise ValueError(f"n_poisons must hold ints, got {n_poisons!r}.")
        certified = {
            int(n): certified_accuracy(y_true, y_pred, withstood, int(n))
            for n in points
        }
        is_right = np.asarray(y_true) == np.asarray(y_pred)
        holds: dict[int, NDArray[np.bool_]] = {}
        for attack in attacks:
            if np.shape(attack.is_changed) != is_right.shape:
                raise ValueError(
                    f"attacks holds one on {len(attack.is_changed)} rows, but y_true "
                    f"has {len(is_right)}."
                )
            before = holds.get(attack.n_poisons, is_right)
            holds[attack.n_poisons] = before & ~attack.is_changed
        attacked = {
            n: wilson_rate(int(right.sum()), len(right)) for n, right in holds.items()
        }
        display = cls(
            certified, attacked=attacked, rows_per_class=rows_per_class, name=name
        )
        return display.plot(ax=ax, **line_kwargs)

    def plot(
        self, *, ax: Any | None = None, **line_kwargs: Any
    ) -> CertifiedAccuracyDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_kwargs : dict
            For ``Axes.plot``, such as ``color``.

        Returns
        -------
        CertifiedAccuracyDisplay
            The object itself.
        """
        ax = axes_or_new(ax, figsize=(6.4, 4.2))
        unit = 1 if self.rows_per_class is None else self.rows_per_class
        x = np.array(list(self.certified)) / unit
        rates = list(self.certified.values())
        style = {"label": self.name, **line_kwargs}
        (self.line_,) = ax.plot(x, [rate.value for rate in rates], **style)
        color = self.line_.get_color()
        low, high = [rate.low for rate in rates], [rate.high for rate in rates]
        ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        if self.attacked:
            ax.plot(
                np.array(list(self.attacked)) / unit,
                [rate.value for rate in self.attacked.values()],
                color=color,
                linestyle="none",
                marker="v",
                markerfacecolor="white",
                label=f"{self.name or 'model'}: best attack found",
            )
        ax.set_xlabel(
            "poisoned rows of a class"
            if self.rows_per_class is None
            else "poisoned share of a class"
        )
        if self.rows_per_class is not None:
            ax.xaxis.set_major_formatter(percent)
        ax.set_ylabel("certified accuracy")
        ax.yaxis.set_major_formatter(percent)
        ax.set_xlim(left=0)
        ax.set_ylim(top=1)
        ax.grid(axis="y", color="0.9")
        ax.set_axisbelow(True)
        if any(not str(h.get_label()).startswith("_") for h in ax.lines):
            ax.legend(frameon=False, fontsize="small")
        open_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _listed(attacks: Any) -> list[Any]:
    """Attacks, or the one that was given, as a list."""
    return [attacks] if hasattr(attacks, "is_changed") else list(attacks)


def plot_certified_accuracy(table: pl.DataFrame, *, ax: Any | None = None) -> Any:
    """Draw certified accuracy against the poisoned share of a class, a line per victim.

    Runs that differ in the seed only are pooled. Open triangles are the accuracy that
    the best attack found leaves.

    Parameters
    ----------
    table : DataFrame
        Tidy table of one protocol and data set: its rows with the metrics
        ``"certified_accuracy"`` and ``"attacked_accuracy"`` are drawn.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there is no such row, or `table` holds several protocols or data sets.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_certified_accuracy
    >>> from sklgm.results import Row, RunResult
    >>> rows = [
    ...     Row(dataset="digits", protocol="certified", victim="lgm_median",
    ...         share=share, n_poisons=n_poisons, metric="certified_accuracy",
    ...         value=0.9, n=100, seed=0)
    ...     for n_poisons, share in ((5, 0.02), (25, 0.1))
    ... ]
    >>> result = RunResult.from_rows(rows, command="", settings={}, environment={})
    >>> ax = plot_certified_accuracy(result.table)
    >>> ax.get_xlabel()
    'poisoned share of a class'
    """
    metrics = ("certified_accuracy", "attacked_accuracy")
    shown = table.filter(table["metric"].is_in(metrics)).with_columns(
        table.filter(table["metric"].is_in(metrics))["share"].fill_null(0.0)
    )
    if shown.filter(metric="certified_accuracy").is_empty():
        raise ValueError("table holds no certified_accuracy.")
    check_one_comparison(shown, ("protocol", "dataset"))
    pooled = pool_seeds(shown, ["victim", "variant", "share", "metric"])
    lines: dict[tuple[str, str | None], dict[str, dict[float, Rate]]] = {}
    for row in pooled.sort("share").iter_rows(named=True):
        if row["n"]:
            line = lines.setdefault((row["victim"], row["variant"]), {})
            line.setdefault(row["metric"], {})[row["share"]] = rate_of(row)
    ax = axes_or_new(ax, figsize=(6.4, 4.6))
    ordered = sorted(lines, key=lambda line: (victim_rank(line[0]), line[1] or ""))
    for victim, variant in ordered:
        rates = lines[victim, variant]
        color = victim_color(victim)
        certified = rates.get("certified_accuracy", {})
        ax.plot(
            list(certified),
            [rate.value for rate in certified.values()],
            color=color,
            marker=victim_marker(victim),
            linestyle="-" if victim.endswith("_median") else "--",
            label=victim_name(victim, variant),
        )
        attacked = rates.get("attacked_accuracy", {})
        ax.plot(
            list(attacked),
            [rate.value for rate in attacked.values()],
            color=color,
            linestyle="none",
            marker="v",
            markerfacecolor="white",
        )
    ax.set_xlabel("poisoned share of a class")
    ax.set_ylabel("share of test rows right and proved to stay so")
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    ax.set_xlim(left=0)
    ax.set_ylim(top=1)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, fontsize="small")
    open_frame(ax)
    return ax


def _points(withstood: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of poisons at which a curve is drawn."""
    most = int(np.max(withstood, initial=0)) + 1
    if most + 1 <= _MAX_POINTS:
        return np.arange(most + 1)
    return np.unique(np.linspace(0, most, _MAX_POINTS).round().astype(np.int64))
