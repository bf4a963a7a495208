"""Parquet tables: one file, or a folder of files that hold some rows each."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklgm._inputs import ARRAYS, check_expansion, folders_to_read, leads_out
from sklgm._running import import_extra
from sklgm.datasets._folder import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    TRAIN_NAMES,
    is_hidden,
)

if TYPE_CHECKING:
    import polars

_SUFFIX = ".parquet"
# Folders around the files: of the whole, of a split.
_MOST_FOLDERS = 3
# As the Hugging Face Hub reads names of files, beside those of image folders.
_SPLIT_NAMES = {*SPLIT_NAMES, "dev", "eval", "evaluation"}


@dataclass(frozen=True)
class ParquetFiles:
    """Files that are one table together.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the folder around all of them.
    files : tuple of pathlib.Path
        Files in the order of their rows; where there are splits, those of training.
    other_files : tuple of pathlib.Path
        Files of other splits.
    """

    path: Path
    files: tuple[Path, ...]
    other_files: tuple[Path, ...] = ()

    @property
    def n_stored(self) -> int:
        """Bytes that the table takes on the disk."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.path.resolve().name if self.path.is_dir() else self.path.stem

    def scan(self) -> tuple[polars.LazyFrame, int]:
        """Look at the table without reading its rows.

        Returns
        -------
        lazy : polars.LazyFrame
            The table.
        n_rows : int
            Its number of rows.

        Raises
        ------
        ValueError
            If a file is damaged, has other columns than the first, or is small for
            what it expands to.
        """
        polars = import_extra("polars", "cli")
        try:
            lazy = polars.scan_parquet(
                list(self.files), glob=False, hive_partitioning=False
            )
            schema = lazy.collect_schema()
            n_rows = lazy.select(polars.len()).collect().item()
        except Exception as error:  # a damaged table may raise anything
            raise self._unreadable(error) from error
        n_bits = sum(_bits_of(dtype, polars) for dtype in schema.dtypes())
        check_expansion(
            n_bits * n_rows // 8,
            self.n_stored,
            ARRAYS,
            str(self.path),
            "if you trust the file, store it as .csv",
        )
        return lazy, n_rows

    def read(self) -> polars.DataFrame:
        """Read the table.

        Returns
        -------
        polars.DataFrame
            Rows of all files.

        Raises
        ------
        ValueError
            As :meth:`scan`.
        """
        lazy, _ = self.scan()
        try:
            return lazy.collect()
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ValueError:
        """Say which file is damaged, or has other columns than the first."""
        polars = import_extra("polars", "cli")
        schemas: dict[Path, dict[str, Any]] = {}
        for file in self.files:
            try:
                schemas[file] = dict(polars.read_parquet_schema(file))
            except Exception as damage:
                return ValueError(f"{file} cannot be read: {damage}")
        known = schemas[self.files[0]]
        for file, schema in schemas.items():
            if schema != known:  # whatever their order
                return ValueError(
                    f"{file} must have the columns of {self.files[0].name}, "
                    f"{_shown(known)}, got {_shown(schema)}."
                )
        return ValueError(f"{self.path} cannot be read: {error}")


def find_parquet_files(path: Path) -> ParquetFiles | None:
    """Find the files of a Parquet table.

    Parameters
    ----------
    path : pathlib.Path
        A ``.parquet`` file, or a folder with such files. They lie directly in it, in
        its folder ``data``, in the only folder that it holds, or in one folder per
        split. What is hidden, or called ``_...``, is not read. Of files whose names
        have a split, such as ``train-00000-of-00002.parquet``, the training files are
        the table. Beside folders of images they are none.

    Returns
    -------
    ParquetFiles or None
        None if there are none.

    Raises
    ------
    ValueError
        If something of such a name is not a regular file, is a link out of `path` or
        to another of the files, or lies in another folder; if names tell of several
        tables of the split; or if there are images beside it that are not of two
        classes.
    """
    if not path.is_dir():
        is_table = path.suffix.lower() == _SUFFIX
        return ParquetFiles(path, (path,)) if is_table else None
    roots = folders_to_read(path)
    if n_folders := _folders_of_images(path):
        if n_folders == 1 and (table := next(_all_tables(path, roots), None)):
            raise ValueError(
                f"{path} holds images, but not of two classes, and .parquet files, "
                f"such as {table}: give the folder of one kind."
            )
        return None
    folder: Path | None = path
    for _ in range(_MOST_FOLDERS):
        if folder is None or leads_out(folder, roots):
            break
        splits: dict[str, list[Path]] = {}
        for file in _tables_in(folder, roots):
            splits.setdefault(_split_of(file.stem), []).append(file)
        if not splits:
            for name, inner in _folders_in(folder).items():
                if name.lower().removesuffix(_SUFFIX) in _SPLIT_NAMES:
                    files = list(_tables_in(inner, roots))
                    splits.setdefault(_split_of(name), []).extend(files)
            splits = {name: files for name, files in splits.items() if files}
        if splits:
            wanted = next(s for s in ("train", "", "test") if s in splits)
            others = [f for s, files in splits.items() if s != wanted for f in files]
            if wanted:
                _check_one_table(path, folder, splits[wanted])
            _check_no_more(path, roots, [*splits[wanted], *others])
            return ParquetFiles(path, tuple(splits[wanted]), tuple(others))
        inner_folders = _folders_in(folder)
        folder = inner_folders.get("data")
        if folder is None and len(inner_folders) == 1:
            folder = next(iter(inner_folders.values()))
    _check_no_more(path, roots, [])
    return None


def _tables_in(folder: Path, roots: tuple[str, ...]) -> Iterator[Path]:
    """List Parquet files of a folder, numbers in their names in order."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.lower().endswith(_SUFFIX)]
    known: set[str] = set()
    for name in sorted(names, key=_natural):
        file = folder / name
        if not _is_read(name) or file.is_dir():  # a folder, as Spark writes it
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the name of {ascii(str(file))} is not UTF-8: give the file another."
            ) from error
        if leads_out(file, roots):
            raise ValueError(
                f"{file} is a link that leads out of {roots[0]}: nothing is read "
                "there. Copy the file, or give the folder it leads to."
            )
        try:
            mode = file.stat().st_mode
        except OSError as error:
            raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
        if not stat.S_ISREG(mode):
            raise ValueError(f"{file} is not a regular file.")
        real = os.path.realpath(file)
        if real in known:
            raise ValueError(
                f"{file} is a link to {real}, which is read already: remove one."
            )
        known.add(real)
        yield file


def _folders_in(folder: Path) -> dict[str, Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir()]
    return {name: folder / name for name in sorted(names) if _is_read(name)}


def _folders_of_images(path: Path) -> int:
    """Count folders with images below a path, not hidden; two are as good as more."""
    n_folders = 0
    for _, inner, names in os.walk(path):
        inner[:] = [name for name in inner if not is_hidden(name)]
        n_folders += any(
            os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not is_hidden(name)
            for name in names
        )
        if n_folders == 2:
            break
    return n_folders


def _all_tables(path: Path, roots: tuple[str, ...]) -> Iterator[Path]:
    """List Parquet files in any folder below a path; refuse folders that lead out."""
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if _is_read(name)]
        for name in inner:
            if leads_out(Path(folder, name), roots):
                raise ValueError(
                    f"{Path(folder, name)} is a link that leads out of {path}: nothing "
                    "is read there. Copy the folder, or give the one it leads to."
                )
        for name in names:
            if name.lower().endswith(_SUFFIX) and _is_read(name):
                yield Path(folder, name)


def _check_one_table(path: Path, folder: Path, files: Sequence[Path]) -> None:
    """Refuse files of one split whose names say that they are of several tables."""
    tables: dict[str, Path] = {}
    for file in files:
        named = file if file.parent == folder else file.parent
        words = re.split("[0-9]", named.name.lower())[0].removesuffix(_SUFFIX)
        tables.setdefault(words.rstrip("-_. "), file)
    if len(tables) > 1:
        one, other, *_ = tables.values()
        raise ValueError(
            f"{path} holds .parquet files of several tables, such as {one} and "
            f"{other}: give the file or the folder of one table."
        )


def _check_no_more(path: Path, roots: tuple[str, ...], files: Sequence[Path]) -> None:
    """Refuse to leave tables unread."""
    found = {*files}
    for file in _all_tables(path, roots):
        if file not in found:
            raise ValueError(
                f"{path} holds .parquet files in several folders, such as {file}: "
                "give the folder of one table."
            )


def _is_read(name: str) -> bool:
    return not (is_hidden(name) or name.startswith("_"))


def _natural(name: str) -> list[Any]:
    """Key by which ``part.10`` comes after ``part.9``, and names never tie."""
    parts = re.split(r"([0-9]+)", name)
    return [[int(p) if i % 2 else p for i, p in enumerate(parts)], name]


def _split_of(name: str) -> str:
    """Tell the split of a file: ``"train"``, ``"test"`` or ``""``."""
    for word in re.split(r"[-_. 0-9]+", name.lower()):
        if word in _SPLIT_NAMES:
            return "train" if word in TRAIN_NAMES else "test"
    return ""


def _shown(schema: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in schema.items())


def _bits_of(dtype: Any, polars: Any) -> int:
    """Bits that a value takes at least."""
    if dtype == polars.Boolean:
        return 1
    for bits in (8, 16, 32):
        if dtype in (getattr(polars, f"Int{bits}"), getattr(polars, f"UInt{bits}")):
            return bits
    return 32 if dtype == polars.Float32 else 64
