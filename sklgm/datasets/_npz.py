"""Arrays in a numpy ``.npz`` archive."""

import os
import stat
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs import ARRAYS, check_expansion, to_float
from sklgm.datasets._labelled_splits import (
    LabelledSplits,
    check_test_size,
    scale_pixels,
    stratified_split,
)


def load_npz(
    path: str | os.PathLike[str],
    *,
    test_size: float = 0.2,
    random_state: int | np.random.RandomState | None = 0,
) -> LabelledSplits:
    """Load labelled rows from a ``.npz`` file, as :func:`numpy.savez` writes it.

    Parameters
    ----------
    path : str or path-like
        A file with the arrays ``X`` and ``y`` and, optionally, ``X_test`` and
        ``y_test``. Pickled objects are not read.
    test_size : float, default=0.2
        Share of the rows that become test rows, in (0, 1), where the file brings no
        ``X_test``.
    random_state : int, RandomState instance or None, default=0
        Decides which rows become test rows, where the file brings no ``X_test``.

    Returns
    -------
    LabelledSplits
        The rows in stored order, as float32, or as float64 where float32 would lose
        the differences of a column, and the labels as they are stored.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If the file is no ``.npz`` archive, is damaged or holds pickled objects; if
        an array is missing, is of the wrong type or length, or holds values that
        are not finite in float32; or if `test_size` is out of range.
    TypeError
        If `test_size` is not a number.

    Notes
    -----
    ``X`` has the shape (n_samples, n_features), (n_samples, height, width) or
    (n_samples, n_channels, height, width). Images with the channels last are moved
    to channels first; they are known by a last axis of length 1 or 3 where the
    second axis has another length. Images of type uint8 are divided by 255, so that
    they lie in [0, 1]; every other number is cast to float32 and left as it is,
    and so are rows of plain features whatever their type. Rows of features with a
    column such as Unix times, which is a single number in float32, stay float64.
    """
    path = Path(path)
    check_test_size(test_size)
    arrays = _read_arrays(path)

    X, y = arrays["X"], arrays["y"]
    _check_rows(X, "X", path)
    _check_labels(y, "y", len(X), path)
    if "X_test" not in arrays:
        X = _to_float(_to_channels_first(X), "X", path)
        train, test = stratified_split(
            y, test_size=test_size, random_state=random_state
        )
        X_train, y_train, X_test, y_test = X[train], y[train], X[test], y[test]
    else:
        _check_rows(arrays["X_test"], "X_test", path)
        _check_labels(arrays["y_test"], "y_test", len(arrays["X_test"]), path)
        _check_same_kind(arrays, path)
        X_train = _to_float(_to_channels_first(X), "X", path)
        X_test = _to_float(_to_channels_first(arrays["X_test"]), "X_test", path)
        if X_train.dtype != X_test.dtype:  # one has a column that float32 would lose
            X_train, X_test = (
                np.ascontiguousarray(rows, dtype=np.float64)
                for rows in (X, arrays["X_test"])
            )
        y_train, y_test = y, arrays["y_test"]
    return LabelledSplits(
        name=path.stem,
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        class_names=tuple(str(label) for label in np.unique(y_train)),
    )


def read_npz_rows(path: Path) -> tuple[NDArray[np.floating[Any]], NDArray[Any]]:
    """Read the arrays X and y of a ``.npz`` file, and no others.

    Parameters
    ----------
    path : pathlib.Path
        As for :func:`load_npz`.

    Returns
    -------
    X : ndarray of float32 or float64
        Rows in stored order; rows of features may hold NaN.
    y : ndarray of shape (n_samples,)
        Labels as they are stored.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`load_npz`.
    """
    arrays = _read_arrays(path)
    X, y = arrays["X"], arrays["y"]
    _check_rows(X, "X", path)
    _check_labels(y, "y", len(X), path)
    return _to_float(_to_channels_first(X), "X", path, may_be_missing=True), y


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if not stat.S_ISREG(path.stat().st_mode) or not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz archive, or is truncated or damaged.")
    check_members(path)
    try:
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = sorted(archive.files)
            arrays = {
                name: archive[name]
                for name in ("X", "y", "X_test", "y_test")
                if name in names
            }
    except Exception as error:  # a damaged archive may raise anything
        if "Object arrays" in str(error):
            raise ValueError(
                f"{path} holds arrays of Python objects; pickled objects are not read. "
                f"Store numbers, and labels as integers or strings."
            ) from error
        raise ValueError(f"{path} is truncated or damaged: {error}") from error

    required = {"X", "y"}
    if {"X_test", "y_test"} & set(arrays):
        required |= {"X_test", "y_test"}
    missing = sorted(required - set(arrays))
    if missing:
        raise ValueError(f"{path} lacks the arrays {missing}; it holds {names}.")
    # A member that is no .npy file comes back as its bytes.
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: {name} is not an array.")
    return arrays


def check_members(path: Path) -> None:
    """Refuse an archive of arrays before any is read.

    Parameters
    ----------
    path : pathlib.Path
        A ``.npz`` file.

    Raises
    ------
    ValueError
        If it is damaged, two arrays have one name, or they would take far more memory
        than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # a damaged archive may raise anything
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    names = [member.filename.removesuffix(".npy") for member in members]
    twice = [name for name, n_times in Counter(names).items() if n_times > 1]
    if twice:
        raise ValueError(
            f"{path} holds several arrays of the name {twice[0]}: which of them is "
            "meant cannot be told."
        )
    check_expansion(
        sum(member.file_size for member in members),
        path.stat().st_size,
        ARRAYS,
        f"the arrays in {path}",
        "if you trust the file, store them with numpy.savez",
    )


def _check_rows(X: NDArray[Any], name: str, path: Path) -> None:
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} must hold real numbers, got {X.dtype}.")
    if X.ndim not in (2, 3, 4) or X.size == 0:
        raise ValueError(
            f"{path}: {name} must have the shape (n_samples, n_features), "
            f"(n_samples, height, width) or (n_samples, n_channels, height, width), "
            f"with no axis empty, got {X.shape}."
        )


def _check_labels(y: NDArray[Any], name: str, n_samples: int, path: Path) -> None:
    if y.shape != (n_samples,):
        raise ValueError(
            f"{path}: {name} must have one label for each of the {n_samples} rows, "
            f"shape ({n_samples},), got {y.shape}."
        )
    is_whole = y.dtype.kind == "f" and bool(np.all(np.isfinite(y) & (y == np.rint(y))))
    if y.dtype.kind not in "biuU" and not is_whole:
        raise ValueError(
            f"{path}: {name} must hold class labels, that is whole numbers or "
            f"strings, got {y.dtype}."
        )


def _check_same_kind(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    """Raise unless the test rows can be read like the training rows."""
    X, y, X_test, y_test = (arrays[name] for name in ("X", "y", "X_test", "y_test"))
    if X.shape[1:] != X_test.shape[1:]:
        raise ValueError(
            f"{path}: X and X_test must have rows of one shape, got {X.shape[1:]} and "
            f"{X_test.shape[1:]}."
        )
    if (X.dtype == np.uint8) != (X_test.dtype == np.uint8):
        raise ValueError(
            f"{path}: X and X_test must both be uint8 or neither, got {X.dtype} and "
            f"{X_test.dtype}."
        )
    if (y.dtype.kind == "U") != (y_test.dtype.kind == "U"):
        raise ValueError(
            f"{path}: y and y_test must both be strings or neither, got {y.dtype} and "
            f"{y_test.dtype}."
        )
    unknown = np.setdiff1d(y_test, y).tolist()
    if unknown:
        raise ValueError(f"{path}: y_test holds labels that y lacks: {unknown}.")


def _to_channels_first(X: NDArray[Any]) -> NDArray[Any]:
    if X.ndim == 3:
        return X[:, np.newaxis]  # (n_samples, 1, height, width)
    if X.ndim == 4 and X.shape[3] in (1, 3) and X.shape[1] not in (1, 3):
        return X.transpose(0, 3, 1, 2)  # (n_samples, n_channels, height, width)
    return X


def _to_float(
    X: NDArray[Any], name: str, path: Path, *, may_be_missing: bool = False
) -> NDArray[np.floating[Any]]:
    if X.ndim == 4 and X.dtype == np.uint8:
        return np.ascontiguousarray(scale_pixels(X))
    if X.ndim == 2:
        converted = to_float(X)
    else:
        with np.errstate(over="ignore"):
            converted = np.ascontiguousarray(X, dtype=np.float32)
    is_fine = np.abs(converted) <= np.finfo(np.float32).max
    if may_be_missing and X.ndim == 2:
        is_fine |= np.isnan(converted)
    if not is_fine.all():
        raise ValueError(
            f"{path}: {name} holds values that are NaN, infinite or too large for "
            f"float32."
        )
    return converted
