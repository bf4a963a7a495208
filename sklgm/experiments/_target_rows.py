"""Which test rows are targets, and which training rows become their poisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Share of a class that the largest number of poisons may be, unless shares are asked.
_MAX_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets drawn from the test rows, and the bases drawn for each.

    Attributes
    ----------
    rows : ndarray of shape (n_targets,)
        Rows of the test set.
    labels, base_labels : ndarray of shape (n_targets,)
        True label of each target, and the label its poisons claim.
    base_rows : ndarray of shape (n_targets, max_poisons)
        Training rows of the base class; the first n serve n poisons.
    n_counted : int
        Largest number of targets that count for a model.
    """

    rows: NDArray[np.int64]
    labels: NDArray[Any]
    base_labels: NDArray[Any]
    base_rows: NDArray[np.int64]
    n_counted: int


def draw_targets(
    is_right: NDArray[np.bool_],
    y_test: NDArray[Any],
    y_base: NDArray[Any],
    *,
    n_targets: int,
    n_bases: int,
    seed: int,
) -> Targets:
    """Draw test rows until every victim's control gets enough of them right.

    Parameters
    ----------
    is_right : ndarray of bool of shape (n_victims, n_test)
        Whether a victim's control arm classifies the test row correctly.
    y_test : ndarray of shape (n_test,)
        Labels of the test rows.
    y_base : ndarray of shape (n_rows,)
        Labels of the rows that bases are drawn from.
    n_targets : int
        How many each control has to get right.
    n_bases : int
        Bases to draw for each target.
    seed : int
        Seed of the draw.

    Returns
    -------
    Targets
        In the order drawn. Fewer count where the test rows run out.
    """
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(is_right.shape[1])
    n_right = np.cumsum(is_right[:, order], axis=1)
    enough = np.flatnonzero((n_right >= n_targets).all(axis=0))
    rows = order[: enough[0] + 1] if len(enough) else order
    classes = np.unique(y_base)
    labels = y_test[rows]
    base_labels = np.array(
        [rng.choice(classes[classes != label]) for label in labels], dtype=classes.dtype
    )
    base_rows = np.array(
        [
            rng.choice(np.flatnonzero(y_base == label), n_bases, replace=False)
            for label in base_labels
        ]
    )
    return Targets(rows, labels, base_labels, base_rows, n_targets)


def scaled_counts(n_poisons: Sequence[int], y_train: NDArray[Any]) -> dict[int, None]:
    """Numbers of poisons, the largest at most 10 % of a class of the training rows.

    Parameters
    ----------
    n_poisons : sequence of int
        Numbers asked for, >= 1.
    y_train : ndarray of shape (n_train,)
        Labels of the rows that victims are trained on, class-balanced.

    Returns
    -------
    dict of int to None
        Distinct counts >= 1, increasing; no share was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> list(scaled_counts((1, 5, 25), np.repeat([0, 1], 44)))
    [1, 4]
    """
    factor = min(1.0, _MAX_SHARE * _smallest_class(y_train) / max(n_poisons))
    return dict.fromkeys(sorted({max(1, round(factor * n)) for n in n_poisons}))


def share_counts(shares: Sequence[float], y_train: NDArray[Any]) -> dict[int, float]:
    """Numbers of poisons that make shares of a class.

    Parameters
    ----------
    shares : sequence of float in (0, 0.5)
        Poisoned shares of the base class.
    y_train : ndarray of shape (n_train,)
        Labels of the rows that victims are trained on, class-balanced.

    Returns
    -------
    dict of int to float
        The share that was asked for by distinct counts >= 1, increasing; less than
        half of a class.

    Raises
    ------
    ValueError
        If a class has too few rows to have less than half of them poisoned.

    Examples
    --------
    >>> import numpy as np
    >>> share_counts((0.01, 0.05, 0.1), np.repeat([0, 1], 250))
    {2: 0.01, 12: 0.05, 25: 0.1}
    """
    n_of_class = _smallest_class(y_train)
    most = (n_of_class - 1) // 2
    if most < 1:
        raise ValueError(
            f"shares={tuple(shares)!r} of a class need at least 3 training rows of "
            f"each class, got {n_of_class}"
        )
    counts: dict[int, float] = {}
    for share in sorted(shares):
        counts.setdefault(min(most, max(1, round(share * n_of_class))), share)
    return counts


def _smallest_class(y: NDArray[Any]) -> int:
    return int(np.unique(y, return_counts=True)[1].min())
