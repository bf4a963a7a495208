"""Columns that give away the label or the order of the rows."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sklgm._inputs._some_rows import some_rows

# Rows that are looked at: a column that tells the label tells it in any part.
_MOST_ROWS = 5000
_LEAST_ROWS = 10
# Of the rows that are not of the largest class, those that may be told wrongly.
_MOST_WRONG = 0.02
# Rank correlation with the number of the row.
_LEAST_CORRELATION = 0.98
_MOST_NAMED = 5


def warn_of_telling_columns(
    columns: Iterable[tuple[str, NDArray[Any]]],
    labels: NDArray[Any],
    *,
    how: str = "",
    stacklevel: int,
) -> None:
    """Warn of columns that tell the label alone, or run with the order of the rows.

    Parameters
    ----------
    columns : iterable of (str, ndarray of shape (n_samples,))
        Name and values of each: numbers or text; None and NaN are missing.
    labels : ndarray of shape (n_samples,)
        Claimed labels.
    how : str, default=""
        How they are left out, to be put in brackets.
    stacklevel : int
        Frames above this function to which warnings belong.

    Notes
    -----
    Such as an identifier in sorted rows, a file name, or a copy of the labels: a
    classifier learns the claims themselves from them, and no label looks wrong.
    """
    rows = rows_looked_at(len(labels))
    if len(rows) < _LEAST_ROWS:
        return
    _, y = np.unique(labels[rows], return_inverse=True)
    telling, ordered = [], []
    for name, values in columns:
        ranks = _ranks(values[rows])
        if ranks is None:
            continue
        if _tells_label(ranks, y):
            telling.append(name)
        elif _runs_with_rows(ranks):
            ordered.append(name)
    how = f" ({how})" if how else ""
    for names, what in (
        (telling, "tell nearly every label alone"),
        (ordered, "run with the order of the rows, as an identifier does"),
    ):
        if names:
            warnings.warn(
                f"These columns {what}: {_listed(names)}. Leave them out{how} unless "
                "they are features: wrong labels are not found by what was made from "
                "the labels.",
                UserWarning,
                stacklevel=stacklevel + 1,
            )


def rows_looked_at(n_rows: int) -> NDArray[np.intp]:
    """Rows that :func:`warn_of_telling_columns` looks at.

    Parameters
    ----------
    n_rows : int
        Number of all rows.

    Returns
    -------
    ndarray of int of shape (n_looked_at,)
        At most 5,000 rows, as :func:`~sklgm._inputs.some_rows` chooses them.
    """
    return some_rows(n_rows, _MOST_ROWS)


def _ranks(values: NDArray[Any]) -> NDArray[np.intp] | None:
    """Rank of each value among the distinct ones; None where some are missing."""
    if values.dtype.kind in "OUS":
        texts = values.astype(object)
        if any(text is None or text != text for text in texts):
            return None
        values = np.array([str(text) for text in texts])
    elif values.dtype.kind == "f" and np.isnan(values).any():
        return None
    ranks: NDArray[np.intp] = np.unique(values, return_inverse=True)[1]
    return ranks


def _tells_label(ranks: NDArray[np.intp], y: NDArray[np.intp]) -> bool:
    """Whether rows of the same value, or of the next ones, have the same label."""
    n_rows, n_values = len(y), int(ranks.max()) + 1
    n_others = n_rows - int(np.bincount(y).max())
    if n_others == 0 or n_values < 2:
        return False
    if n_values <= n_rows // 2:
        table = np.zeros((n_values, int(y.max()) + 1), dtype=np.intp)
        np.add.at(table, (ranks, y), 1)
        most = table.max(axis=1)
        n_wrong = n_rows - int(most[most > 1].sum())
    else:
        in_order = y[np.argsort(ranks, kind="stable")]
        n_changes = int(np.count_nonzero(np.diff(in_order)))
        # As many as there are classes part them; both rows at a change are unsure.
        n_wrong = 2 * (n_changes - int(y.max()))
    return n_wrong <= _MOST_WRONG * n_others


def _runs_with_rows(ranks: NDArray[np.intp]) -> bool:
    if int(ranks.max()) + 1 < 0.9 * len(ranks):
        return False
    correlation = np.corrcoef(rankdata(ranks), np.arange(len(ranks)))[0, 1]
    return bool(abs(correlation) >= _LEAST_CORRELATION)


def _listed(names: list[str]) -> str:
    listed = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = len(names) - _MOST_NAMED
    return listed if more <= 0 else f"{listed} and {more} more"
