"""Label flips: the dirty-label attack to compare with."""

from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state, column_or_1d

from sklgm._random import RandomState


def flip_labels(
    y: ArrayLike,
    share: float,
    random_state: RandomState = None,
    *,
    noise: Literal["symmetric", "pair"] = "symmetric",
) -> NDArray[Any]:
    """Give a share of the rows the label of another class.

    The dirty-label reference beside clean-label poisons. The rows are drawn without
    replacement.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of at least two classes.
    share : float
        Share of the rows to flip, in [0, 1]; their number is rounded.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.
    noise : {"symmetric", "pair"}, default="symmetric"
        ``"symmetric"``: each row gets one of the other classes with equal probability.
        ``"pair"``: it gets the class after its own in sorted order, the first after the
        last, so that flips depend on the class.

    Returns
    -------
    ndarray of shape (n_samples,)
        The labels, a copy.

    Raises
    ------
    ValueError
        If `share` is not in [0, 1], `noise` is unknown, or `y` has fewer than two
        classes.

    See Also
    --------
    PoisonCrafter : Poisons that keep their labels.

    Examples
    --------
    >>> from sklgm.poisoning import flip_labels
    >>> y = ["cat", "dog", "cat", "dog"]
    >>> flip_labels(y, 1.0, random_state=0).tolist()
    ['dog', 'cat', 'dog', 'cat']
    """
    if not isinstance(share, Real) or not 0 <= share <= 1:
        raise ValueError(f"share must be a float in [0, 1], got {share!r}")
    if noise not in ("symmetric", "pair"):
        raise ValueError(f"noise must be 'symmetric' or 'pair', got {noise!r}")
    classes, y_encoded = np.unique(column_or_1d(y), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y must have at least 2 classes to flip labels, got {len(classes)}"
        )
    rng = check_random_state(random_state)
    n_flipped = round(share * len(y_encoded))
    flipped = rng.choice(len(y_encoded), size=n_flipped, replace=False)
    most = len(classes) if noise == "symmetric" else 2
    shift = rng.randint(1, most, size=n_flipped)
    y_encoded[flipped] = (y_encoded[flipped] + shift) % len(classes)
    labels: NDArray[Any] = classes[y_encoded]
    return labels
