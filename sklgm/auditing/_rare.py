"""Classes of too few rows, and names that look misspelt."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As difflib measures it: "catt" and "cat" have 0.86.
_LEAST_ALIKE = 0.8
# A misspelt class has at most so many rows, or this share of the other's.
_MOST_MISSPELT = 3
_MISSPELT_SHARE = 0.05
_MOST_NAMED = 10


def is_rare(
    claimed: NDArray[np.int64],
    n_classes: int,
    folds: NDArray[np.intp],
    groups: NDArray[Any] | None,
) -> NDArray[np.bool_]:
    """Tell classes that have too few rows to be judged.

    Parameters
    ----------
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.
    n_classes : int
        Number of classes.
    folds : ndarray of shape (n_samples,)
        Fold that holds each row out.
    groups : ndarray of shape (n_samples,) or None
        Groups that are held out together.

    Returns
    -------
    ndarray of bool of shape (n_classes,)
        Whether the class has fewer rows (or groups) than there are folds, unless all
        but one have.
    """
    n_folds = int(folds.max()) + 1
    units = np.arange(len(claimed)) if groups is None else groups
    counts = np.array([len(np.unique(units[claimed == k])) for k in range(n_classes)])
    rare: NDArray[np.bool_] = counts < n_folds
    # Of few rows in all there is nothing to judge the others by.
    return rare if np.count_nonzero(~rare) > 1 else np.zeros(n_classes, dtype=bool)


def similar_names(
    classes: Sequence[Any], counts: NDArray[np.intp]
) -> list[tuple[str, str]]:
    """Pairs of a class name that looks misspelt, and the one that may be meant.

    Parameters
    ----------
    classes : sequence of shape (n_classes,)
        Labels; only texts are compared.
    counts : ndarray of shape (n_classes,)
        Rows of each class.

    Returns
    -------
    list of (str, str)
        Names that differ in case, spaces or signs only, however frequent; and rare
        names that differ from a frequent one by few letters.
    """
    names = {
        name: int(n)
        for name, n in zip(classes, counts, strict=True)
        if isinstance(name, str)
    }
    pairs = []
    for name, n_own in names.items():
        others = sorted(
            (other for other, n in names.items() if (n, other) > (n_own, name)),
            key=lambda other: (-names[other], other),
        )
        alike = [other for other in others if _letters(other) == _letters(name)]
        if not alike:
            alike = [
                other
                for other in others
                if n_own <= max(_MOST_MISSPELT, _MISSPELT_SHARE * names[other])
                and 2 * n_own <= names[other]
                and _is_misspelling(name, other)
            ]
        if alike:
            best = max(alike, key=lambda other: _likeness(name, other))
            pairs.append((name, best))
    return pairs


def describe_rare(
    rare: Sequence[Any],
    rows: Sequence[NDArray[np.intp]],
    n_folds: int,
    pairs: Sequence[tuple[str, str]],
) -> list[str]:
    """Say which classes are too rare to judge, and which names look misspelt.

    Parameters
    ----------
    rare : sequence of shape (n_rare,)
        Labels of the rare classes.
    rows : sequence of ndarray of int
        Rows of each.
    n_folds : int
        Number of folds.
    pairs : sequence of (str, str)
        As :func:`similar_names` gives them.

    Returns
    -------
    list of str
        One sentence for each class.
    """
    meant = dict(pairs)
    said = []
    for label, own in zip(rare, rows, strict=True):
        listed = ", ".join(map(str, own[:_MOST_NAMED].tolist()))
        more = f" and {len(own) - _MOST_NAMED} more" if len(own) > _MOST_NAMED else ""
        n_own = "1 row" if len(own) == 1 else f"{len(own)} rows"
        sentence = (
            f"Class {label!r} is too rare to judge: it has {n_own}, fewer than "
            f"the {n_folds} folds. Look at row{'s' * (len(own) > 1)} {listed}{more}."
        )
        if label in meant:
            sentence += f" Is it a misspelling of {meant.pop(label)!r}?"
        said.append(sentence)
    said += [
        f"Class {name!r} looks like another spelling of {other!r}."
        for name, other in meant.items()
    ]
    return said


def _letters(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", "", folded) or name


def _is_misspelling(name: str, other: str) -> bool:
    a, b = _letters(name), _letters(other)
    if re.sub(r"\d", "", a) == re.sub(r"\d", "", b) or min(len(a), len(b)) < 3:
        return False  # numbered classes, or too short to tell
    is_turned = sorted(a) == sorted(b)  # such as "dgo"
    return is_turned or _likeness(name, other) >= _LEAST_ALIKE


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, _letters(name), _letters(other)).ratio()
