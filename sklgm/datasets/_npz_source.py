"""Arrays of a ``.npz`` archive with corrected labels."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import Progress
from sklgm.datasets._label_source import Corrections, LabelSource, parsed_label
from sklgm.datasets._npz import check_members

# They have rows of their own, of which there may be as many.
_OTHER_SPLITS = ("test", "testing", "val", "valid", "validation")
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NpzSource(LabelSource):
    """Rows of a ``.npz`` archive with an array ``y`` of labels.

    Parameters
    ----------
    path : pathlib.Path
        The archive.

    Raises
    ------
    ValueError
        If it is not an archive, or has no labels.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is no .npz archive, or is truncated or damaged.")
        check_members(path)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                names = sorted(archive.files)
                labels = archive["y"] if "y" in names else None
        except Exception as error:  # a damaged archive may raise anything
            raise ValueError(f"{path} cannot be read: {error}") from error
        if labels is None:
            raise ValueError(f"{path} lacks the array 'y'; it holds {names}.")
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or len(labels) == 0:
            raise ValueError(f"{path}: y must have the shape (n_samples,).")
        if labels.dtype.kind not in "biufU":
            raise ValueError(f"{path}: y must hold class labels, got {labels.dtype}.")
        self.labels = labels

    def test_classes(self) -> set[str]:
        """Labels of ``y_test``."""
        with np.load(self.path, allow_pickle=False) as archive:
            if "y_test" not in archive.files:
                return set()
            return {str(label) for label in np.unique(archive["y_test"])}

    def label_of(self, text: str) -> Any:
        """Take what the array can hold."""
        return parsed_label(text, self.labels.dtype, f"y of {self.path}")

    def write(self, to: Path, corrections: Corrections, progress: Progress) -> int:
        """Write all arrays, those with one row per label without what was dropped."""
        is_kept = corrections.kept(len(self.labels))
        stage = "write arrays"
        with (
            zipfile.ZipFile(self.path) as source,
            zipfile.ZipFile(to, "x", allowZip64=True) as target,
        ):
            members = source.infolist()
            progress(stage, 0, len(members))
            for n_done, member in enumerate(members, start=1):
                name = member.filename.removesuffix(".npy")
                array = None
                if name == "y":
                    array = self._corrected(corrections)[is_kept]
                elif not is_kept.all() and not _is_of_other_split(name):
                    array = self._filtered(source, member, is_kept)
                written = zipfile.ZipInfo(member.filename, member.date_time)
                written.compress_type = member.compress_type
                with target.open(written, "w", force_zip64=True) as file:
                    if array is not None:
                        np.lib.format.write_array(file, array, allow_pickle=False)
                    else:
                        with source.open(member) as content:
                            while part := content.read(1 << 20):
                                file.write(part)
                progress(stage, n_done, len(members))
        return 0

    def _corrected(self, corrections: Corrections) -> NDArray[Any]:
        if self.labels.dtype.kind != "U":
            labels = self.labels.copy()
        else:  # a new class may have a longer name
            new = [str(label) for label in corrections.new_labels.values()]
            width = max([self.labels.dtype.itemsize // 4, *map(len, new), 1])
            labels = self.labels.astype(f"{self.labels.dtype.byteorder}U{width}")
        for row, label in corrections.new_labels.items():
            labels[row] = label
        return labels

    def _filtered(
        self, source: zipfile.ZipFile, member: zipfile.ZipInfo, is_kept: NDArray[Any]
    ) -> NDArray[Any] | None:
        """Rows that are kept; None of an array that has no row for each label."""
        with source.open(member) as content:
            try:
                version = np.lib.format.read_magic(content)
            except ValueError:  # no array
                return None
            read_header = _READ_HEADER.get(version)
            if read_header is None:
                raise ValueError(
                    f"{self.path}: {member.filename} has version {version} of the "
                    "format, of which rows cannot be dropped"
                )
            shape, _, dtype = read_header(content)
        if shape[:1] != (len(is_kept),):
            return None
        if dtype.hasobject:
            raise ValueError(
                f"{self.path}: {member.filename} holds Python objects, of which rows "
                "cannot be dropped: pickled objects are not read. Store them as "
                "strings or numbers"
            )
        with source.open(member) as content:
            array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
        kept: NDArray[Any] = array[is_kept]
        return kept


def _is_of_other_split(name: str) -> bool:
    """Whether an array is called as those of test or validation rows are."""
    return any(name.lower().endswith(f"_{split}") for split in _OTHER_SPLITS)
