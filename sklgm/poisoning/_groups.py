"""Which bases and targets belong together, and what is crafted at once."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm._inputs import encode_labels
from sklgm.poisoning._attack import Attack
from sklgm.poisoning._surrogate import Surrogate


def group_rows(
    attack: Attack,
    n_poisons: int,
    n_targets: int,
    poison_group: ArrayLike | None,
    target_group: ArrayLike | None,
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Give the groups numbers from 0, and list the targets of each.

    Parameters
    ----------
    attack : Attack
        How many targets a group may have.
    n_poisons, n_targets : int
        Numbers of bases and targets.
    poison_group, target_group : array-like of int or None
        See `craft`.

    Returns
    -------
    group : ndarray of int of shape (n_poisons,)
        Group of each base.
    targets : list of ndarray of int
        Rows of the targets of each group.

    Raises
    ------
    ValueError
        If groups do not fit, a base has no target, or a group too many.
    """
    of_target = (
        np.arange(n_targets)
        if target_group is None
        else _checked_groups("target_group", target_group, n_targets)
    )
    names = np.unique(of_target)
    if poison_group is not None:
        of_poison = _checked_groups("poison_group", poison_group, n_poisons)
    elif len(names) == 1:
        of_poison = np.repeat(names, n_poisons)
    elif target_group is None and n_targets == n_poisons:
        of_poison = names
    else:
        raise ValueError(
            f"X_target holds {n_targets} targets in {len(names)} groups for "
            f"{n_poisons} bases: give one for each base, one for all, or poison_group"
        )
    orphans = np.setdiff1d(of_poison, names)
    if len(orphans) > 0:
        raise ValueError(f"poison_group={orphans[0]} has no target in target_group")
    targets = [np.flatnonzero(of_target == name) for name in names]
    most = max((len(rows) for rows in targets), default=1)
    if most > 1 and not attack.takes_several_targets:
        raise ValueError(
            f"target_group has {most} targets in one group, but "
            f"attack={attack.name!r} takes one"
        )
    return np.searchsorted(names, of_poison), targets


def _checked_groups(name: str, groups: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    numbers = np.asarray(groups)
    if numbers.shape != (n_rows,) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be {n_rows} ints, one per row, got shape {numbers.shape} of "
            f"dtype {numbers.dtype}"
        )
    return numbers.astype(np.int64)


def base_classes(
    attack: Attack, base_label: Any, group: NDArray[np.int64], surrogate: Surrogate
) -> NDArray[np.int64] | None:
    """Look up the class that each poison claims, one per group.

    Parameters
    ----------
    attack : Attack
        Whether it asks for the class.
    base_label : label, array-like of shape (n_poisons,) or None
        See `craft`.
    group : ndarray of int of shape (n_poisons,)
        Group of each base.
    surrogate : Surrogate
        Whose classes they are.

    Returns
    -------
    ndarray of int of shape (n_poisons,) or None
        Class indices; None where the attack does not ask.

    Raises
    ------
    ValueError
        If labels are missing, unknown, or mixed in a group.
    """
    if not attack.needs_base_label:
        return None
    if base_label is None:
        raise ValueError(f"attack={attack.name!r} needs base_label")
    labels = np.broadcast_to(np.asarray(base_label), group.shape)
    if surrogate.classes is None:
        base_class = labels.astype(np.int64)
        if base_class.min(initial=0) < 0:
            raise ValueError(f"base_label must be >= 0, got {base_class.min()}")
    else:
        base_class = encode_labels(labels, surrogate.classes, name="base_label")
    for k in np.unique(group):
        if len(np.unique(base_class[group == k])) > 1:
            raise ValueError(
                f"base_label differs within poison_group {k}: the poisons of a group "
                "claim one label"
            )
    return base_class


def chunk_rows(
    attack: Attack,
    group: NDArray[np.int64],
    targets: list[NDArray[np.int64]],
    batch_size: int,
) -> list[NDArray[np.int64]]:
    """Cut the bases into chunks that are crafted at once.

    Parameters
    ----------
    attack : Attack
        Whether the poisons of a group stay together.
    group : ndarray of int of shape (n_poisons,)
        Group of each base.
    targets : list of ndarray of int
        Rows of the targets of each group.
    batch_size : int
        Poisons at once, but for a group that is larger.

    Returns
    -------
    list of ndarray of int of shape (n_groups, n_together)
        Rows of the bases; the groups of a chunk are of one size.
    """
    if attack.is_joint:
        rows_of = [np.flatnonzero(group == k) for k in np.unique(group)]
    else:
        rows_of = list(np.arange(len(group))[:, None])
    # Groups of one size make one array.
    by_size: dict[tuple[int, int], list[NDArray[np.int64]]] = {}
    for rows in rows_of:
        size = (len(rows), len(targets[group[rows[0]]]))
        by_size.setdefault(size, []).append(rows)
    chunks = []
    for (n_together, _), alike in by_size.items():
        n_at_once = max(1, batch_size // n_together)
        for start in range(0, len(alike), n_at_once):
            chunks.append(np.stack(alike[start : start + n_at_once]))
    return chunks
