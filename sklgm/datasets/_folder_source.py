"""Image folders with corrected labels."""

from __future__ import annotations

import csv
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sklgm._inputs import is_image
from sklgm._running import Progress
from sklgm.datasets._folder import (
    SPLIT_NAMES,
    ClassFolders,
    is_hidden,
    read_class_folders,
)
from sklgm.datasets._label_source import Corrections, LabelSource

_MOST_BYTES = 255  # of a name, on common file systems
# What separates folders here or on Windows, or ends a name in C.
_FORBIDDEN = ("/", "\\", "\0")


class FolderSource(LabelSource):
    """Images in one folder per class, or in a ``.zip`` archive of such folders.

    Parameters
    ----------
    path : pathlib.Path
        As for :func:`~sklgm.datasets.load_image_folder`; the rows are the training
        images.
    stack : contextlib.ExitStack
        Closes the archive in the end.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._folders: ClassFolders = read_class_folders(path, None, stack)
        files, self.labels = self._folders.train_images()
        self.names = tuple(files)

    def is_readable(self, row: int) -> bool:
        """Whether the image of a row can be decoded."""
        assert self.names is not None
        name = self.names[row]
        return is_image(lambda: self._folders.read(name))

    def test_classes(self) -> set[str]:
        """Folders of test images."""
        return set(self._folders.test_files or {})

    def label_of(self, text: str) -> Any:
        """Check that a class can be a folder."""
        is_split = text.lower() in SPLIT_NAMES
        if (
            not text.strip()
            or is_hidden(text)
            or any(letter in text for letter in _FORBIDDEN)
            or len(os.fsencode(text)) > _MOST_BYTES
            or is_split
        ):
            raise ValueError(
                f"{text!r} cannot be the name of a class folder: it "
                + (
                    "is read as a split of the data"
                    if is_split
                    else "is not a plain name"
                )
            )
        return text

    def write(self, to: Path, corrections: Corrections, progress: Progress) -> int:
        """Copy training images into the folders of their labels, and other splits."""
        assert self.names is not None
        places = self._places(corrections)
        for file in self._folders.other_files:
            places[file] = "/".join(self._parts(file))
        as_archive = to.suffix.lower() == ".zip"
        opened = _archive(to) if as_archive else _folder(to)
        stage = "copy images"
        progress(stage, 0, len(places))
        relabelled = {self.names[row] for row in corrections.new_labels}
        images = set(self.names)
        n_skipped = 0
        skipped: list[str] = []
        with opened as put:
            for n_done, (file, place) in enumerate(places.items(), start=1):
                try:
                    content = self._folders.read(file)
                except Exception as error:  # damaged archives may raise anything
                    if file in relabelled:
                        raise
                    skipped.append(f"{file} ({error})")
                    n_skipped += file in images
                else:
                    origin = None if self._is_archive else self.path / file
                    put(place, content, origin)
                progress(stage, n_done, len(places))
        if skipped:
            more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
            warnings.warn(
                f"{skipped[0]}{more} in {self.path} cannot be read, and is not in the "
                "copy",
                UserWarning,
                stacklevel=4,
            )
        return n_skipped

    def write_index(self, to: Path, corrections: Corrections) -> None:
        """Write a list of path and label instead of copies of the images.

        Parameters
        ----------
        to : pathlib.Path
            CSV file; there is nothing yet. Paths are relative to the source, in its
            own bytes where they are not Unicode.
        corrections : Corrections
            What is otherwise than in the source.
        """
        assert self.names is not None
        with to.open(
            "x", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            lines = csv.writer(file)
            lines.writerow(["path", "label"])
            for row in np.flatnonzero(corrections.kept(len(self.names))).tolist():
                label = corrections.new_labels.get(row, str(self.labels[row]))
                lines.writerow([self.names[row], label])

    @property
    def _is_archive(self) -> bool:
        return not self.path.is_dir()

    def _parts(self, file: str) -> list[str]:
        """Folders and name of a file; some archives have the separator of Windows."""
        file = file.replace("\\", "/") if self._is_archive else file
        return [part for part in file.split("/") if part not in ("", ".")]

    def _places(self, corrections: Corrections) -> dict[str, str]:
        """Where each training image goes; the name changes where it is taken."""
        assert self.names is not None
        is_kept = corrections.kept(len(self.names))
        places = {
            name: "/".join(self._parts(name))
            for row, name in enumerate(self.names)
            if is_kept[row] and row not in corrections.new_labels
        }
        taken = {place.casefold() for place in places.values()}
        for row, label in sorted(corrections.new_labels.items()):
            *above, own_class, name = self._parts(self.names[row])
            stem, suffix = os.path.splitext(name)
            number, place = 1, "/".join([*above, label, name])
            while place.casefold() in taken:
                more = "" if number == 1 else f"-{number}"
                renamed = f"{stem}-{own_class}{more}{suffix}"
                number, place = number + 1, "/".join([*above, label, renamed])
            taken.add(place.casefold())
            places[self.names[row]] = place
        return places


_Put = Callable[[str, bytes, Path | None], None]


@contextmanager
def _folder(to: Path) -> Iterator[_Put]:
    to.mkdir()

    def put(place: str, content: bytes, origin: Path | None) -> None:
        target = to / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(content)
        if origin is not None:
            shutil.copystat(origin, target)

    yield put


@contextmanager
def _archive(to: Path) -> Iterator[_Put]:
    # Images are compressed themselves.
    with zipfile.ZipFile(to, "x") as archive:

        def put(place: str, content: bytes, origin: Path | None) -> None:
            if "\\" in place:  # some programs take it for a folder
                raise ValueError(
                    f"to={str(to)!r}: an archive cannot hold the name {place!r}, which "
                    "has a backslash; write a folder"
                )
            try:
                archive.writestr(place, content)
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"to={str(to)!r}: an archive cannot hold the name {place!r}, which "
                    "is not Unicode; write a folder"
                ) from error

        yield put
