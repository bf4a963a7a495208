"""Trusted rows: rows whose labels are known to be right."""

import hashlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklgm._inputs import as_array, encode_labels

#: Rows as a model takes them, and the index of the class of each.
Trusted = tuple[Any, NDArray[np.int64]]


def check_rows(
    X: ArrayLike, y: ArrayLike, X_name: str, y_name: str
) -> tuple[Any, NDArray[Any]]:
    """Rows as an estimator takes them, with column names if there are any.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Rows.
    y : array-like of shape (n_samples,)
        Their labels.
    X_name, y_name : str
        Names of the parameters for the errors.

    Returns
    -------
    rows : DataFrame or ndarray of shape (n_samples, ...)
        The rows, finite.
    labels : ndarray of shape (n_samples,)
        The labels.

    Raises
    ------
    ValueError
        If a row has no finite values, or there are not as many labels as rows.
    """
    instances = check_array(as_array(X), allow_nd=True, input_name=X_name)
    labels = column_or_1d(as_array(y), warn=True)
    if len(labels) != len(instances):
        raise ValueError(
            f"{y_name} must have a label for each of the {len(instances)} rows of "
            f"{X_name}, got {len(labels)}"
        )
    check_classification_targets(labels)
    return X if hasattr(X, "columns") else instances, labels


def check_trusted(
    trusted: Any, rows: Any, classes: NDArray[Any], *, stacklevel: int
) -> Trusted:
    """Check trusted rows against the rows that are to be judged.

    Parameters
    ----------
    trusted : tuple of (X_trusted, y_trusted)
        As the user gave them.
    rows : ndarray or DataFrame of shape (n_samples, ...)
        The rows to judge.
    classes : ndarray of shape (n_classes,)
        Their labels, sorted.
    stacklevel : int
        Frames above this function to which a warning belongs.

    Returns
    -------
    X_trusted : DataFrame or ndarray of shape (n_trusted, ...)
        The trusted rows, shaped like the others.
    claimed : ndarray of int of shape (n_trusted,)
        Indices of their classes.

    Raises
    ------
    TypeError
        If ``trusted`` is not a pair.
    ValueError
        If rows have another shape, or a label is none of ``classes``.
    """
    if not isinstance(trusted, tuple) or len(trusted) != 2:
        raise TypeError(
            "trusted must be a tuple (X_trusted, y_trusted), got "
            f"{type(trusted).__name__}"
        )
    X, labels = check_rows(*trusted, "X_trusted", "y_trusted")
    if X.shape[1:] != rows.shape[1:]:
        raise ValueError(
            f"trusted rows must have the shape of those of X, {rows.shape[1:]}, "
            f"got {X.shape[1:]}"
        )
    n_shared = count_shared_rows(rows, X)
    if n_shared > 0:
        warnings.warn(
            f"{n_shared} trusted rows are rows of X too: models are trained on them, "
            "so that they score too well and too many others are flagged. Leave them "
            "out of X",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return X, encode_labels(labels, classes, name="y_trusted")


def count_shared_rows(X: Any, X_trusted: Any) -> int:
    """Count trusted rows that have the values of a row of X.

    Parameters
    ----------
    X, X_trusted : array-like of shape (n_rows, ...)
        Rows, of any types of numbers: values are compared as the less precise of the
        two types holds them, so that a copy of another type is known again.

    Returns
    -------
    int
        Number of trusted rows, each counted once however often it is in X.
    """
    a, b = np.asarray(as_array(X)), np.asarray(as_array(X_trusted))
    dtype = _common_type(a.dtype, b.dtype)
    known = set(_hashes(a, dtype))
    return sum(row in known for row in _hashes(b, dtype))


def _common_type(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    floating = [each for each in (a, b) if np.issubdtype(each, np.floating)]
    if floating:
        return min(floating, key=lambda each: each.itemsize)
    return np.promote_types(a, b)


def _hashes(rows: NDArray[Any], dtype: np.dtype[Any]) -> list[bytes]:
    hashes = []
    for row in rows.reshape(len(rows), -1):
        with np.errstate(over="ignore"):
            values = row.astype(dtype)
        if np.issubdtype(dtype, np.number):
            values = values + dtype.type(0)  # minus zero is zero
        hashes.append(hashlib.blake2b(values.tobytes(), digest_size=16).digest())
    return hashes
