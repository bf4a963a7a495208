"""The 8 x 8 digits that scikit-learn bundles."""

import numpy as np

from sklgm.datasets._labelled_splits import LabelledSplits, stratified_split


def load_digits_images(
    *,
    test_size: float = 0.25,
    random_state: int | np.random.RandomState | None = 0,
) -> LabelledSplits:
    """Load scikit-learn's 1,797 handwritten digits as images.

    Needs no download. The split is stratified and keeps the bundled order.

    Parameters
    ----------
    test_size : float, default=0.25
        Share of the rows that become test rows, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        Decides which rows become test rows.

    Returns
    -------
    LabelledSplits
        Images of shape (n_samples, 1, 8, 8) in [0, 1] (the bundled values 0 to 16
        divided by 16) with integer labels 0 to 9.

    Raises
    ------
    ValueError
        If `test_size` is outside (0, 1) or leaves a side without rows of a class.
    TypeError
        If `test_size` is not a number.

    Examples
    --------
    >>> from sklgm.datasets import load_digits_images
    >>> digits = load_digits_images()
    >>> digits.X_train.shape, digits.X_test.shape
    ((1347, 1, 8, 8), (450, 1, 8, 8))
    """
    from sklearn.datasets import load_digits  # it imports much

    bunch = load_digits()
    X = (bunch.images[:, np.newaxis] / 16).astype(np.float32)  # (n, 1, 8, 8)
    y = bunch.target.astype(np.int64)
    train, test = stratified_split(y, test_size=test_size, random_state=random_state)
    return LabelledSplits(
        name="digits",
        X_train=X[train],
        y_train=y[train],
        X_test=X[test],
        y_test=y[test],
        class_names=tuple(str(digit) for digit in range(10)),
    )
