"""A user's own data, whatever its form."""

import os
from pathlib import Path

import numpy as np

from sklgm.datasets._folder import load_image_folder
from sklgm.datasets._labelled_splits import LabelledSplits
from sklgm.datasets._npz import load_npz


def load_path(
    path: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    test_size: float = 0.2,
    random_state: int | np.random.RandomState | None = 0,
    on_error: str = "skip",
) -> LabelledSplits:
    """Load labelled data from a path with the loader that fits it.

    Parameters
    ----------
    path : str or path-like
        A ``.npz`` file (see :func:`load_npz`), or a folder or ``.zip`` of images in
        class folders (see :func:`load_image_folder`).
    image_size : int or tuple of int, default=None
        Height and width in pixels to resize images to; only for image folders.
    test_size : float, default=0.2
        Share of the rows that become test rows, in (0, 1), where the data bring no
        test set.
    random_state : int, RandomState instance or None, default=0
        Decides which rows become test rows, where the data bring no test set.
    on_error : {"skip", "stop"}, default="skip"
        What to do with images that cannot be read, as in :func:`load_image_folder`.

    Returns
    -------
    LabelledSplits
        Training and test rows.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If `path` is neither a ``.npz`` nor a ``.zip`` file nor a folder, if
        `image_size` is given for a ``.npz``, or if the loader refuses the data.
    TypeError
        If `image_size` or `test_size` is of the wrong type.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_dir() or path.suffix.lower() == ".zip":
        return load_image_folder(
            path,
            image_size=image_size,
            test_size=test_size,
            random_state=random_state,
            on_error=on_error,
        )
    if path.suffix.lower() == ".npz":
        if image_size is not None:
            raise ValueError(
                f"image_size is for image folders only, got {image_size!r} for {path}."
            )
        return load_npz(path, test_size=test_size, random_state=random_state)
    raise ValueError(
        f"path must be a .npz file, or a folder or .zip archive with one folder of "
        f"images per class, got {path}."
    )
