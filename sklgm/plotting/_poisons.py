"""Poisons beside the images they were made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from sklgm._inputs import as_array
from sklgm.plotting._matplotlib import axes_or_new


class PoisonDisplay:
    """Base, target and poison instances and the amplified change, in four rows.

    Each column is one poison. A person should see no difference between the first
    row and the third; the last row shows it, grey where there is none.

    Use `from_estimator` or `from_predictions` to make and draw one.

    Parameters
    ----------
    X_base : array-like of shape (n_poisons, n_channels, height, width)
        Base instances, with 1 or 3 channels.
    X_target : array-like of shape (n_poisons, ...) or (1, ...)
        Target instances, like `X_base`; a single one stands for all columns.
    X_poison : array-like of shape (n_poisons, n_channels, height, width)
        The poisons.
    titles : sequence of str of length n_poisons, default=None
        One per column.
    amplification : float, default=None
        Factor of the difference in the last row, > 0. None takes the largest whole
        number that keeps the largest change of all within the range, at least 1.
    pixel_range : tuple of (float, float), default=(0.0, 1.0)
        The values shown as black and white.

    Attributes
    ----------
    amplification_ : float
        The factor that was used.
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Raises
    ------
    ValueError
        If shapes do not fit, `amplification` is not positive, `pixel_range` is
        empty, or the number of titles differs.

    Examples
    --------
    >>> import matplotlib
    >>> import numpy as np
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import PoisonDisplay
    >>> X_base = np.full((2, 1, 8, 8), 0.5)
    >>> display = PoisonDisplay.from_predictions(
    ...     X_base, np.ones((1, 1, 8, 8)), X_base + 0.1
    ... )
    >>> display.amplification_
    5.0
    """

    def __init__(
        self,
        X_base: ArrayLike,
        X_target: ArrayLike,
        X_poison: ArrayLike,
        *,
        titles: Sequence[str] | None = None,
        amplification: float | None = None,
        pixel_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.X_base = _check_images(X_base, "X_base")
        self.X_poison = _check_images(X_poison, "X_poison")
        self.X_target = _check_images(X_target, "X_target")
        if self.X_poison.shape != self.X_base.shape:
            raise ValueError(
                f"X_poison of shape {self.X_poison.shape} must have the shape of "
                f"X_base, {self.X_base.shape}."
            )
        n_poisons, *image_shape = self.X_base.shape
        if self.X_target.shape not in {(k, *image_shape) for k in (1, n_poisons)}:
            raise ValueError(
                f"X_target of shape {self.X_target.shape} must have the shape of "
                f"X_base, {self.X_base.shape}, or a single row."
            )
        if titles is not None and len(titles) != n_poisons:
            raise ValueError(f"titles has {len(titles)} entries for {n_poisons} rows.")
        if amplification is not None and not amplification > 0:
            raise ValueError(f"amplification={amplification!r} must be positive.")
        if not pixel_range[0] < pixel_range[1]:
            raise ValueError(f"pixel_range={pixel_range!r} must be (low, high).")
        self.titles = titles
        self.amplification = amplification
        self.pixel_range = pixel_range

    @classmethod
    def from_estimator(
        cls,
        crafter: Any,
        X: ArrayLike,
        *,
        n_poisons: int = 8,
        titles: Sequence[str] | None = None,
        amplification: float | None = None,
        pixel_range: tuple[float, float] | None = None,
        ax: Any | None = None,
    ) -> PoisonDisplay:
        """Draw the first poisons of a fitted crafter.

        Parameters
        ----------
        crafter : PoisonCrafter
            A fitted :class:`~sklgm.PoisonCrafter`.
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            The images that it was fitted on, not those that ``fit_transform``
            returned. Flat rows are folded into ``crafter.input_shape_``.
        n_poisons : int, default=8
            Poisons to draw at most, >= 1.
        titles : sequence of str, default=None
            One for each poison that is drawn.
        amplification : float, default=None
            Factor of the difference, > 0; None chooses one.
        pixel_range : tuple of (float, float), default=None
            The values shown as black and white. None takes the range in which
            `crafter` kept the poisons: its ``pixel_range``, else that of X.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        PoisonDisplay

        Raises
        ------
        TypeError
            If `crafter` is not a crafter of poisons.
        sklearn.exceptions.NotFittedError
            If `crafter` is not fitted.
        ValueError
            If its ``budget`` was 0, X is not what it was fitted on or holds no images,
            `n_poisons` is less than 1, or as for the class.
        """
        check_is_fitted(crafter)
        if not hasattr(crafter, "poison_indices_"):
            raise TypeError(
                f"crafter={type(crafter).__name__} must be a PoisonCrafter: it has no "
                "poison_indices_."
            )
        if not isinstance(n_poisons, Integral) or n_poisons < 1:
            raise ValueError(f"n_poisons={n_poisons!r} must be an integer >= 1.")
        if len(crafter.poison_indices_) == 0:
            raise ValueError(
                f"crafter has no poisons to draw: it was fitted with "
                f"budget={crafter.budget!r}."
            )
        X = _check_crafted_from(as_array(X), crafter)
        shown = slice(n_poisons)
        return cls.from_predictions(
            X[crafter.poison_indices_[shown]].reshape(-1, *crafter.input_shape_),
            crafter.X_target_[crafter.poison_target_[shown]],
            crafter.X_poison_[shown],
            titles=titles,
            amplification=amplification,
            pixel_range=_pixel_range(crafter, X)
            if pixel_range is None
            else pixel_range,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        X_base: ArrayLike,
        X_target: ArrayLike,
        X_poison: ArrayLike,
        *,
        titles: Sequence[str] | None = None,
        amplification: float | None = None,
        pixel_range: tuple[float, float] = (0.0, 1.0),
        ax: Any | None = None,
    ) -> PoisonDisplay:
        """Draw given poisons.

        Parameters
        ----------
        X_base : array-like of shape (n_poisons, n_channels, height, width)
            Base instances, with 1 or 3 channels.
        X_target : array-like of shape (n_poisons, ...) or (1, ...)
            Target instances.
        X_poison : array-like of shape (n_poisons, n_channels, height, width)
            The poisons.
        titles : sequence of str of length n_poisons, default=None
            One per column.
        amplification : float, default=None
            Factor of the difference, > 0; None chooses one.
        pixel_range : tuple of (float, float), default=(0.0, 1.0)
            The values shown as black and white.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        PoisonDisplay

        Raises
        ------
        ValueError
            As for the class.
        """
        display = cls(
            X_base,
            X_target,
            X_poison,
            titles=titles,
            amplification=amplification,
            pixel_range=pixel_range,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any | None = None) -> PoisonDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        PoisonDisplay
            The object itself.
        """
        low, high = self.pixel_range
        base, target, poison = (
            (images - low) / (high - low)
            for images in (self.X_base, self.X_target, self.X_poison)
        )
        difference = poison - base
        self.amplification_ = (
            _default_amplification(difference)
            if self.amplification is None
            else float(self.amplification)
        )
        target = np.broadcast_to(target, base.shape)
        amplified = 0.5 + self.amplification_ * difference
        n_poisons = len(base)
        ax = axes_or_new(ax, figsize=(1.3 + 1.05 * n_poisons, 4.4))
        rows = [_mosaic_row(row) for row in (base, target, poison, amplified)]
        gap = np.ones((rows[0].shape[0] // 12 + 1, *rows[0].shape[1:]))
        mosaic = np.concatenate(
            [part for row in rows for part in (row, gap)][:-1], axis=0
        )
        ax.imshow(mosaic, interpolation="nearest")
        height = rows[0].shape[0]
        width = rows[0].shape[1] / n_poisons
        ax.set_yticks(
            [index * (height + len(gap)) + height / 2 for index in range(4)],
            ["base", "target", "poison", f"change\n× {self.amplification_:g}"],
        )
        ax.set_xticks(
            []
            if self.titles is None
            else [(i + 0.45) * width for i in range(n_poisons)],
            [] if self.titles is None else list(self.titles),
        )
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def plot_poison_example(
    X_base: ArrayLike,
    X_poison: ArrayLike,
    X_target: ArrayLike,
    *,
    base_name: str,
    target_name: str,
    ax: Any | None = None,
) -> Any:
    r"""Draw one poison between its base and its target.

    Parameters
    ----------
    X_base, X_poison, X_target : array-like of shape (n_channels, height, width)
        Images in [0, 1], with 1 or 3 channels.
    base_name : str
        Class of the base, which the poison claims.
    target_name : str
        Class of the target.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the images differ in shape, or have neither 1 nor 3 channels.

    Examples
    --------
    >>> import matplotlib
    >>> import numpy as np
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_poison_example
    >>> image = np.full((1, 8, 8), 0.5)
    >>> ax = plot_poison_example(
    ...     image, image + 0.1, image, base_name="3", target_name="8"
    ... )
    >>> [text.get_text() for text in ax.get_xticklabels()][0]
    'base\nlabel: 3'
    """
    images = [
        _check_images(np.asarray(image)[None], name)
        for image, name in (
            (X_base, "X_base"),
            (X_poison, "X_poison"),
            (X_target, "X_target"),
        )
    ]
    if len({image.shape for image in images}) > 1:
        shapes = ", ".join(str(image.shape[1:]) for image in images)
        raise ValueError(f"X_base, X_poison and X_target differ in shape: {shapes}.")
    row = _mosaic_row(np.concatenate(images))
    ax = axes_or_new(ax, figsize=(4.4, 1.75))
    ax.imshow(row, interpolation="nearest")
    names = [
        f"base\nlabel: {base_name}",
        f"poison\nlabel: {base_name}",
        f"target\nlabel: {target_name}",
    ]
    ax.set_xticks([(i + 0.48) * row.shape[1] / 3 for i in range(3)], names)
    ax.set_yticks([])
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return ax


def _check_crafted_from(X: Any, crafter: Any) -> NDArray[Any]:
    """Return X as an array, if `crafter` can have been fitted on it."""
    array = np.asarray(X)
    input_shape = crafter.input_shape_
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise ValueError(
            f"X: crafter was fitted on instances of shape {input_shape}, but images of "
            "shape (n_channels, height, width) with 1 or 3 channels are needed."
        )
    if array.shape[1:] not in (tuple(input_shape), (math.prod(input_shape),)):
        raise ValueError(
            f"X of shape {array.shape} must hold instances of shape {input_shape} or "
            f"flat rows of {math.prod(input_shape)} values."
        )
    last = int(crafter.poison_indices_.max())
    if last >= len(array):
        raise ValueError(
            f"X has {len(array)} rows, but a poison overwrites row {last}: pass the X "
            "that crafter was fitted on."
        )
    return array


def _pixel_range(crafter: Any, X: NDArray[Any]) -> tuple[float, float]:
    """Range of the poisons: given to the crafter, or of the X that it was fitted on."""
    if crafter.pixel_range is None:
        return float(X.min()), float(X.max())
    low, high = crafter.pixel_range
    return float(np.min(low)), float(np.max(high))


def _check_images(images: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(images, dtype=np.float64)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise ValueError(
            f"{name} of shape {array.shape} must have the shape (n, n_channels, "
            "height, width) with 1 or 3 channels."
        )
    return array


def _default_amplification(difference: NDArray[np.float64]) -> float:
    largest = float(np.abs(difference).max())
    return max(1.0, float(np.floor(0.5 / largest + 1e-9))) if largest else 1.0


def _mosaic_row(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Images side by side with white gaps, of shape (height, total width, 3)."""
    colored = np.clip(images, 0, 1).transpose(0, 2, 3, 1)
    colored = np.broadcast_to(colored, (*colored.shape[:3], 3))
    gap = np.ones((colored.shape[1], colored.shape[2] // 12 + 1, 3))
    return np.concatenate([part for image in colored for part in (image, gap)], axis=1)
