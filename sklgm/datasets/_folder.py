"""Images in class folders, from a directory or from a zip archive read in place."""

import itertools
import os
import stat
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs import (
    ImageFiles,
    check_file_bytes,
    check_on_error,
    decode_images,
    folders_to_read,
    leads_out,
    read_entry,
)
from sklgm.datasets._labelled_splits import (
    LabelledSplits,
    check_test_size,
    scale_pixels,
    stratified_split,
)

# A folder: name to subfolder, or name to the path by which the file is read.
_Tree: TypeAlias = dict[str, "_Tree | str"]

#: Names of splits, in any case.
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")  # first one wins
#: Folders that are read as splits of the data, in any case, and never as classes.
SPLIT_NAMES = TRAIN_NAMES + TEST_NAMES
#: Ends of the names of images, in lower case.
IMAGE_SUFFIXES = {
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
}
# Folders around a file in an archive.
_MOST_FOLDERS = 32
# Names that differ from the file's stem.
_PROPER_NAMES = {"cifar10-jpeg": "CIFAR-10 (JPEG)"}


def load_image_folder(
    path: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    test_size: float = 0.2,
    random_state: int | np.random.RandomState | None = 0,
    on_error: str = "skip",
) -> LabelledSplits:
    """Load images that lie in one folder per class, unpacked or in a zip archive.

    Parameters
    ----------
    path : str or path-like
        A folder, or a ``.zip`` that is read in place. Either holds one folder a
        class, or ``train`` and ``test`` with one folder per class in each; a single
        folder wrapped around that is looked through.
    image_size : int or tuple of int, default=None
        Height and width in pixels to resize to (an int: both), bilinear, without
        keeping the aspect ratio. None keeps the size that all images share; images of
        several sizes are resized to the median height and width, at most 224 pixels,
        and a warning says so.
    test_size : float, default=0.2
        Share of the rows that become test rows, in (0, 1), where the data bring no
        test folder.
    random_state : int, RandomState instance or None, default=0
        Decides which rows become test rows, where the data bring no test folder.
    on_error : {"skip", "stop"}, default="skip"
        Whether an image that cannot be read is left out, with a warning that names it,
        or an error.

    Returns
    -------
    LabelledSplits
        Images of shape (n_samples, n_channels, height, width) in [0, 1], sorted by
        class and file name, with the folder names as labels. There is one channel
        if every image is grayscale, otherwise there are three (RGB).

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If there are no class folders, a class folder has no image or is a link out of
        `path`, a test class has no training images, no image can be read, or one
        cannot and ``on_error="stop"``, the archive is damaged or encrypted, or a
        parameter is out of range.
    TypeError
        If `image_size` or `test_size` is of the wrong type.

    Notes
    -----
    The names of the splits are never class names, and their case does not matter.
    A test folder may also be called ``val``, ``valid`` or ``validation``; where
    there are several, ``test`` is read and the others are not. Hidden files,
    ``__MACOSX``, files that are not images and anything outside the class folders
    are not read, nor what is not a regular file or a link out of `path`. Images are
    turned upright by their EXIF orientation. Transparency is dropped; of an animation
    the first frame is read; 16-bit grayscale is reduced to 8 bits.
    """
    check_test_size(test_size)
    check_on_error(on_error)
    with ExitStack() as stack:
        folders = read_class_folders(path, image_size, stack)
        train_files = _in_order(folders.train_files)
        test_files = _in_order(folders.test_files or {})
        y = _repeat_labels(folders.train_files)
        if folders.test_files is None:
            # Fail before the images are decoded, not after.
            stratified_split(y, test_size=test_size, random_state=random_state)
        else:
            y = np.concatenate([y, _repeat_labels(folders.test_files)])
        decoded = decode_images(
            train_files + test_files,
            folders.read,
            path,
            folders.size,
            on_error,
            n_stored=folders.n_stored,
            stacklevel=2,
        )
    pixels, y = decoded.pixels, y[decoded.kept]
    if folders.test_files is None:
        train, test = stratified_split(
            y, test_size=test_size, random_state=random_state
        )
    else:
        is_train = decoded.kept < len(train_files)
        train, test = np.flatnonzero(is_train), np.flatnonzero(~is_train)
        unknown = np.setdiff1d(y[test], y[train]).tolist()
        if unknown or len(test) == 0:
            raise ValueError(
                f"{path}: of the images that can be read, "
                + (f"the test classes {unknown} have" if unknown else "there are")
                + (" no training images." if unknown else " no test images.")
            )
    return LabelledSplits(
        name=folders.name,
        X_train=scale_pixels(pixels[train]),
        y_train=y[train],
        X_test=scale_pixels(pixels[test]),
        y_test=y[test],
        class_names=tuple(np.unique(y[train]).tolist()),
    )


def list_image_folder(
    path: str | os.PathLike[str],
) -> tuple[ImageFiles, NDArray[Any]]:
    """List images that lie in one folder per class, without reading them.

    Use it with :func:`sklgm.features.extract`, for more images than fit into memory or
    for images of several sizes.

    Parameters
    ----------
    path : str or path-like
        As for :func:`load_image_folder`; where there are training and test folders,
        the training folders.

    Returns
    -------
    files : ImageFiles
        Their names, sorted by class and name.
    y : ndarray of shape (n_samples,)
        Names of their folders.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If there are no class folders, a class folder has no image, or the archive is
        damaged or encrypted.
    """
    with ExitStack() as stack:
        folders = read_class_folders(path, None, stack)
    names = _in_order(folders.train_files)
    roots = folders_to_read(folders.path) if folders.path.is_dir() else ()
    files = ImageFiles(names, folders.path, roots)
    return files, _repeat_labels(folders.train_files)


@dataclass(frozen=True)
class ClassFolders:
    """Image files of each class, and how they are read.

    Attributes
    ----------
    name : str
        Name of the data set.
    path : pathlib.Path
        Folder or archive.
    train_files, test_files : dict of str to list of str, or None
        Files of each class, sorted; ``test_files`` is None where the data bring no
        test folder.
    other_files : tuple of str
        Images of all splits but the training one, of which loading takes the first.
    read : callable
        Returns the content of a file.
    size : tuple of int or None
        Height and width to resize to.
    """

    name: str
    path: Path
    train_files: dict[str, list[str]]
    test_files: dict[str, list[str]] | None
    other_files: tuple[str, ...]
    read: Callable[[str], bytes]
    size: tuple[int, int] | None

    @property
    def n_stored(self) -> int | None:
        """Bytes of the archive; None of a folder."""
        return None if self.path.is_dir() else self.path.stat().st_size

    def train_images(self) -> tuple[list[str], NDArray[Any]]:
        """List the training images.

        Returns
        -------
        files : list of str
            Files, by class and file name.
        y : ndarray of shape (n_files,)
            Names of their folders.
        """
        return _in_order(self.train_files), _repeat_labels(self.train_files)


def read_class_folders(
    path: str | os.PathLike[str],
    image_size: int | tuple[int, int] | None,
    stack: ExitStack,
) -> ClassFolders:
    """Find the image files of each class.

    Parameters
    ----------
    path : str or path-like
        As for :func:`load_image_folder`.
    image_size : int, tuple of int or None
        Likewise.
    stack : contextlib.ExitStack
        Closes the archive, after the images are decoded.

    Returns
    -------
    ClassFolders
        The files.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As :func:`load_image_folder`.
    """
    path = Path(path)
    size = check_image_size(image_size)
    tree, read = _open_tree(path, stack)
    train_tree, test_tree, other_trees = _find_splits(tree, path)
    train_files = _find_class_files(train_tree, path)
    test_files = None if test_tree is None else _find_class_files(test_tree, path)
    unknown = sorted(set(test_files or {}) - set(train_files))
    if unknown:
        raise ValueError(
            f"{path}: the test classes {unknown} have no training images; the "
            f"training classes are {list(train_files)}."
        )
    stem = path.resolve().name if path.is_dir() else path.stem
    name = _PROPER_NAMES.get(stem, stem)
    other_files = tuple(file for other in other_trees for file in _all_images(other))
    return ClassFolders(name, path, train_files, test_files, other_files, read, size)


def check_image_size(image_size: Any) -> tuple[int, int] | None:
    """Check a size of images.

    Parameters
    ----------
    image_size : int, pair of int or None
        As the user gave it.

    Returns
    -------
    tuple of int or None
        Height and width; None to keep the images' own size.

    Raises
    ------
    ValueError, TypeError
        If it is none of these.
    """
    if image_size is None:
        return None
    is_pair = isinstance(image_size, (tuple, list))
    sides = list(image_size) if is_pair else [image_size, image_size]
    expected = "an int or a pair of ints (height, width) of at least 1, or None"
    if not all(
        isinstance(side, (int, np.integer)) and not isinstance(side, bool)
        for side in sides
    ):
        raise TypeError(f"image_size must be {expected}, got {image_size!r}.")
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size must be {expected}, got {image_size!r}.")
    return int(sides[0]), int(sides[1])


def _open_tree(path: Path, stack: ExitStack) -> tuple[_Tree, Callable[[str], bytes]]:
    """Return the files below a folder or in an archive, and how to read one."""
    if path.is_dir():
        roots = folders_to_read(path)
        return _scan_folder(path, roots), lambda file: _read_file(path / file, roots)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.suffix.lower() != ".zip":
        raise ValueError(f"path must be a folder or a .zip archive, got {path}.")
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{path} is not a zip archive, or is truncated or damaged: {error}"
        ) from error
    return _scan_archive(archive, path), partial(read_entry, archive)


def _scan_folder(
    folder: Path, roots: tuple[str, ...], prefix: str = "", depth: int = 4
) -> _Tree:
    # A wrapping folder, a split, a class and one more to notice what lies too deep.
    # The limit also ends a loop of symbolic links.
    tree: _Tree = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if not entry.is_dir():
                # Whatever it is: reading it fails, with its name, if it is not a file.
                tree[entry.name] = f"{prefix}{entry.name}"
            elif leads_out(entry.path, roots):
                raise ValueError(
                    f"{folder / entry.name} is a link that leads out of {roots[0]}: "
                    "nothing is read there. Copy the folder, or give the one it leads "
                    "to."
                )
            elif depth > 0:
                tree[entry.name] = _scan_folder(
                    folder / entry.name, roots, f"{prefix}{entry.name}/", depth - 1
                )
    return tree


def _read_file(path: Path, roots: tuple[str, ...]) -> bytes:
    """Content of a regular file; opening a pipe would wait for ever."""
    if leads_out(path, roots):
        raise ValueError(f"it is a link that leads out of {roots[0]}")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    check_file_bytes(status.st_size)
    return path.read_bytes()


def _scan_archive(archive: zipfile.ZipFile, path: Path) -> _Tree:
    tree: _Tree = {}
    for info in archive.infolist():
        # Some tools write the separator of Windows.
        parts = info.filename.replace("\\", "/").split("/")
        is_folder = parts[-1] == ""
        parts = [part for part in parts if part not in ("", ".")]
        if ".." in parts:
            raise ValueError(f"{path} holds an entry outside itself: {info.filename}.")
        if not parts or any(is_hidden(part) for part in parts):
            continue
        if info.flag_bits & 1:
            raise ValueError(
                f"{path} is encrypted ({info.filename}); unpack it and load the folder."
            )
        if len(parts) > _MOST_FOLDERS:
            raise ValueError(
                f"{path} holds {parts[0]}/... in {len(parts)} folders, more than "
                f"{_MOST_FOLDERS}."
            )
        folder = tree
        for part in parts if is_folder else parts[:-1]:
            subfolder = folder.setdefault(part, {})
            if not isinstance(subfolder, dict):
                raise _ambiguous(path, info.filename)
            folder = subfolder
        if not is_folder:
            is_read = os.path.splitext(parts[-1])[1].lower() in IMAGE_SUFFIXES
            if is_read and parts[-1] in folder:
                raise _ambiguous(path, info.filename)
            folder[parts[-1]] = info.filename
    return tree


def _ambiguous(path: Path, name: str) -> ValueError:
    return ValueError(
        f"{path} holds several entries of the name {name}: which of them is meant "
        "cannot be told. Unpack it, and load the folder."
    )


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not read.

    Parameters
    ----------
    name : str
        Without the folders above it.

    Returns
    -------
    bool
        True of hidden ones and of what macOS puts into archives.
    """
    return name.startswith(".") or name == "__MACOSX"


def _subfolders(tree: _Tree) -> dict[str, _Tree]:
    return {
        name: tree_or_file
        for name, tree_or_file in sorted(tree.items())
        if isinstance(tree_or_file, dict)
    }


def _image_files(tree: _Tree) -> list[str]:
    return [
        tree_or_file
        for name, tree_or_file in sorted(tree.items())
        if isinstance(tree_or_file, str)
        and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    ]


def _holds_images(tree: _Tree) -> bool:
    return bool(_image_files(tree)) or any(
        _holds_images(subfolder) for subfolder in _subfolders(tree).values()
    )


def _all_images(tree: _Tree) -> list[str]:
    below = (_all_images(subfolder) for subfolder in _subfolders(tree).values())
    return [*_image_files(tree), *itertools.chain.from_iterable(below)]


def _find_splits(tree: _Tree, path: Path) -> tuple[_Tree, _Tree | None, list[_Tree]]:
    """Return the folders of the training and the test classes, and of all other splits.

    The test classes are among the others.
    """
    splits = _named_splits(tree)
    subfolders = list(_subfolders(tree).values())
    if (
        not splits
        and len(subfolders) == 1
        and not _image_files(subfolders[0])
        and _subfolders(subfolders[0])
    ):
        tree = subfolders[0]  # a folder wrapped around everything
        splits = _named_splits(tree)
    if not splits:
        return tree, None, []

    train = next((splits[name] for name in TRAIN_NAMES if name in splits), None)
    test = next((splits[name] for name in TEST_NAMES if name in splits), None)
    if train is None:
        raise ValueError(
            f"{path} holds {', '.join(map(repr, splits))} but no 'train' folder; these "
            f"names are read as splits of the data, not as classes."
        )
    return train, test, [split for split in splits.values() if split is not train]


def _named_splits(tree: _Tree) -> dict[str, _Tree]:
    return {
        name.lower(): subfolder
        for name, subfolder in _subfolders(tree).items()
        if name.lower() in SPLIT_NAMES
    }


def _find_class_files(tree: _Tree, path: Path) -> dict[str, list[str]]:
    """Return the image files of each class, classes and files sorted by name."""
    classes = _subfolders(tree)
    if not classes:
        raise ValueError(
            f"{path} holds no class folders; expected one folder of images per class, "
            f"or 'train' and 'test' with one folder per class in each."
        )
    for name, folder in classes.items():
        if any(_holds_images(below) for below in _subfolders(folder).values()):
            raise ValueError(
                f"{path}: the class folder {name!r} holds images in subfolders; they "
                f"must lie directly in it."
            )
        if not _image_files(folder):
            raise ValueError(f"{path}: the class folder {name!r} holds no image.")
    return {name: _image_files(folder) for name, folder in classes.items()}


def _in_order(class_files: dict[str, list[str]]) -> list[str]:
    return [file for of_class in class_files.values() for file in of_class]


def _repeat_labels(class_files: dict[str, list[str]]) -> NDArray[Any]:
    counts = [len(files) for files in class_files.values()]
    return np.repeat(np.array(list(class_files)), counts)
