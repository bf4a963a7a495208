"""Carry out decisions on rows: a relabelled, filtered copy of the data."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from sklgm._running import Progress, show_nothing
from sklgm.auditing._decision_list import Decision, read_decision_lines
from sklgm.datasets._folder_source import FolderSource
from sklgm.datasets._label_source import Corrections, LabelSource
from sklgm.datasets._npz_source import NpzSource
from sklgm.datasets._parquet_files import ParquetFiles, find_parquet_files
from sklgm.datasets._table_source import ParquetSource, TextTableSource
from sklgm.datasets._tables import TABLES, TEXT_TABLES
from sklgm.persistence._lists import listed


@dataclass(frozen=True)
class AppliedDecisions:
    """What became of a data set by decisions on its rows.

    Parameters
    ----------
    path : str
        The copy.
    n_rows : int
        Rows of the copy; of images the files in the training folders, without those
        that could not be copied.
    n_kept, n_relabelled, n_dropped, n_unsure : int
        Rows by decision; unsure ones are kept.
    n_undecided : int
        Rows without a decision, which are kept.
    new_classes : tuple of str
        Labels that no row of the source has.
    lost_classes : tuple of str
        Labels of the source that no row of the copy has.
    """

    path: str
    n_rows: int
    n_kept: int
    n_relabelled: int
    n_dropped: int
    n_unsure: int
    n_undecided: int
    new_classes: tuple[str, ...]
    lost_classes: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Collect the numbers, as JSON has them.

        Returns
        -------
        dict
            All attributes.
        """
        return asdict(self)


def apply_decisions(
    decisions: str | os.PathLike[str],
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
    index: bool = False,
    progress: Progress | None = None,
) -> AppliedDecisions:
    """Write a copy of a data set in which decisions on its rows are carried out.

    Rows with the decision ``relabel`` get their new label, those with ``drop`` are left
    out, all others stay as they are. The source is only read. What
    ``sklgm apply`` does, as a function.

    Parameters
    ----------
    decisions : path-like
        CSV file with the columns ``row``, counted from 0 as the audit counts them, and
        ``decision``; ``new_label``, or else ``likely_label``, for rows to relabel; and
        ``claimed_label`` and ``name``, where they are, to tell that the decisions were
        made for these data. Other columns, and rows without a decision, are ignored.
    path : path-like
        What was audited: an image folder or a ``.zip`` of one, a folder of
        ``.parquet`` files, or a ``.npz``, ``.csv``, ``.tsv``, ``.tab`` or ``.parquet``
        file.
    to : path-like
        Where the copy goes: a folder, or a ``.zip``, for images, a folder for a folder
        of ``.parquet`` files, else a file of the same type. It must not be there yet,
        but for an empty folder, nor lie in ``path``.
    label_column : str or None, default=None
        Column of the labels, for tables, as in :func:`~sklgm.datasets.load_rows`.
    drop_columns : sequence of str, default=()
        Columns that the audit ignored; they are copied all the same.
    index : bool, default=False
        For images: write a CSV file of ``path``, relative to the source, and ``label``
        instead of copying images.
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.

    Returns
    -------
    AppliedDecisions
        How many rows were kept, relabelled and dropped.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    FileExistsError
        If ``to`` is there already.
    ValueError
        If decisions name a row twice or one that does not exist, are none of the four,
        relabel without another label, or were made for other data; if the source can
        hold no such label; if no row would be left; or if paths or options do not fit.
    OSError
        If the copy cannot be written, such as on a full disk.

    Warns
    -----
    UserWarning
        Where files are not in the copy, because they cannot be read.

    See Also
    --------
    sklgm.audit : Says which rows to decide on.
    read_decisions : Reads decisions that correct the next audit of the same data.

    Notes
    -----
    The copy is written beside ``to`` and renamed when it is complete: an error or
    Ctrl-C leaves nothing half-written.

    *Images* keep their names and bytes, also damaged ones, which no audit judged; an
    image whose name is taken in the folder of its new label is called after its old
    label, too. Test images are copied as they are. Other files are not copied. *Tables
    of text*: every byte but the labels stays. *Parquet*: all columns, types and
    metadata stay, and so do files and their names; those of other splits are copied as
    they are. *Arrays*: rows are dropped from every array that has a row for each
    label, but those called ``*_test`` or ``*_val``.

    Decisions are of one data set: after this, audit the copy, whose rows are counted
    anew.
    """
    path = Path(path)
    to = Path(os.path.realpath(to))
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    lines = read_decision_lines(decisions)
    parquet = find_parquet_files(path)
    _check_target(path, to, index, is_table=parquet is not None)
    with ExitStack() as stack:
        source = _opened(path, parquet, label_column, drop_columns, stack)
        rows = _source_rows(source, lines, progress or show_nothing)
        classes = np.unique(source.labels).tolist()
        new_labels, dropped = {}, set()
        for line, row in zip(lines, rows, strict=True):
            _check_claim(source, line, row)
            if line.decision == "relabel":
                new_labels[row] = _new_label(source, classes, line, row)
            elif line.decision == "drop":
                dropped.add(row)
        corrections = Corrections(new_labels, frozenset(dropped))
        result = _result(source, lines, corrections, to)
        with _written_beside(to) as partial:
            if not index:
                n_skipped = source.write(partial, corrections, progress or show_nothing)
                result = replace(result, n_rows=result.n_rows - n_skipped)
            elif isinstance(source, FolderSource):
                source.write_index(partial, corrections)
    return result


def _check_target(path: Path, to: Path, index: bool, *, is_table: bool) -> None:
    """Refuse to overwrite anything, or to write into the source."""
    is_folder = path.is_dir()
    is_images = not is_table and (is_folder or path.suffix.lower() == ".zip")
    if index and not is_images:
        raise ValueError(f"index=True is for images only, got {path}")
    real = Path(os.path.realpath(path))
    if to == real or (is_folder and to.is_relative_to(real)):
        raise ValueError(f"to={str(to)!r} must not lie in {path}, which is only read")
    is_empty = to.is_dir() and not any(to.iterdir())
    if os.path.lexists(to) and not is_empty:
        raise FileExistsError(f"to={str(to)!r} is there already; name another")
    end = to.suffix.lower()
    is_single = index or not (is_folder or is_images)
    expected = ""
    if is_single:
        suffix = ".csv" if index else path.suffix
        if end != suffix.lower():
            expected = f"{suffix} file"
    elif is_table and end in (*TEXT_TABLES, ".npz", ".zip"):
        expected = "folder"
    elif not is_table and end in (*TABLES, ".npz"):
        expected = "folder or a .zip file"
    if expected or (is_empty and (is_single or end == ".zip")):
        raise ValueError(
            f"to={str(to)!r} must be a {expected or 'file'}, for {path} is copied"
            + (" as a list" if index else " in its own form")
        )


def _opened(
    path: Path,
    parquet: ParquetFiles | None,
    label_column: str | None,
    drop_columns: Sequence[str],
    stack: ExitStack,
) -> LabelSource:
    suffix = path.suffix.lower()
    if suffix not in TEXT_TABLES and parquet is None:
        for name, value in (
            ("label_column", label_column),
            ("drop_columns", drop_columns),
        ):
            if value:
                raise ValueError(f"{name} is for tables only, got {value!r} for {path}")
    if parquet is None and (path.is_dir() or suffix == ".zip"):
        return FolderSource(path, stack)
    if not (path.is_file() or path.is_dir()):
        raise ValueError(f"path must be a folder or a regular file, got {path}")
    if parquet is not None:  # first: a folder may be called .csv
        return ParquetSource(parquet, label_column, drop_columns)
    if suffix == ".npz":
        return NpzSource(path)
    if suffix in TEXT_TABLES:
        return TextTableSource(path, label_column, drop_columns)
    raise ValueError(
        f"path must be an image folder, a .zip of one, a folder of .parquet files, or "
        f"a .npz, "
        f"{', '.join(TABLES[:-1])} or {TABLES[-1]} file, got {path}"
    )


def _source_rows(
    source: LabelSource, lines: Sequence[Decision], progress: Progress
) -> list[int]:
    """Rows of the source that the decisions are about.

    An audit counts the images that it could read. Where names tell that none before
    those of the decisions was left out, images are not decoded for that.
    """
    rows = [line.row for line in lines]
    names = source.names
    if names is not None and not _are_named(names, lines):
        readable = []
        progress("read images", 0, len(names))
        for row in range(len(names)):
            if source.is_readable(row):
                readable.append(row)
            progress("read images", row + 1, len(names))
        _check_rows(lines, len(readable))
        return [readable[row] for row in rows]
    _check_rows(lines, len(source.labels))
    return rows


def _are_named(names: tuple[str, ...], lines: Sequence[Decision]) -> bool:
    return len(set(names)) == len(names) and all(
        line.row < len(names)
        and line.name in (names[line.row], listed(names[line.row]))
        for line in lines
    )


def _check_rows(lines: Sequence[Decision], n_rows: int) -> None:
    for line in lines:
        if line.row >= n_rows:
            raise ValueError(
                f"decisions, line {line.line}: there is no row {line.row}, rows are 0 "
                f"to {n_rows - 1}: were they made for other data?"
            )


def _check_claim(source: LabelSource, line: Decision, row: int) -> None:
    """Refuse decisions that were made for other data."""
    facts: list[tuple[str, str | None, Any]] = [
        ("claimed_label", line.claimed_label, source.labels[row])
    ]
    if source.names is not None:
        facts.append(("name", line.name, source.names[row]))
    elif line.name and (texts := source.texts_of(row)):
        is_named = any(line.name in (text, listed(text)) for text in texts)
        facts.append(("name", line.name, line.name if is_named else texts[0]))
    for what, said, here in facts:
        is_known = said in (str(here), listed(here)) or _is_number(said, here)
        if said and not is_known:
            raise ValueError(
                f"decisions, line {line.line}: {what} of row {line.row} is "
                f"{str(here)!r} here, not {said!r}: they were made for other data, "
                "or these have changed since they were audited"
            )


def _is_number(text: str | None, label: Any) -> bool:
    """Whether a text is the number that a label is, however it is written: 2.0 is 2."""
    if not text or isinstance(label, bool | np.bool_):
        return False
    if not isinstance(label, int | float | np.number):
        return False
    try:
        return Decimal(text.strip()) == Decimal(str(label))
    except InvalidOperation:
        return False


def _new_label(
    source: LabelSource, classes: Sequence[Any], line: Decision, row: int
) -> Any:
    """Label that a row gets: one of the source, or a new class."""
    place = f"decisions, line {line.line}: row {line.row} is to be relabelled"
    text = line.new_label
    if not text.strip():
        raise ValueError(
            f"{place}, but has no label: it belongs into the column new_label"
        )
    written: tuple[Callable[[Any], str], ...] = (str, listed, lambda k: str(k).strip())
    for as_text, wanted in zip(written, (text, text, text.strip()), strict=True):
        same = [label for label in classes if as_text(label) == wanted]
        if same:
            break
    else:
        same = [label for label in classes if _is_number(text, label)]
    try:
        label = same[0] if same else source.label_of(text.strip())
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if label == source.labels[row]:
        raise ValueError(f"{place}, but {text!r} is the label that it has")
    return label


def _result(
    source: LabelSource,
    lines: Sequence[Decision],
    corrections: Corrections,
    to: Path,
) -> AppliedDecisions:
    """Count what becomes of the rows; refuse to drop all of them."""
    n_rows = len(source.labels)
    is_kept = corrections.kept(n_rows)
    if not is_kept.any():
        raise ValueError("decisions drop every row: there is nothing to write")
    before = {str(label) for label in np.unique(source.labels)}
    unchanged = is_kept.copy()
    unchanged[list(corrections.new_labels)] = False
    after = {str(label) for label in np.unique(source.labels[unchanged])}
    after |= {str(label) for label in corrections.new_labels.values()}
    untrained = sorted((before - after) & source.test_classes())
    if untrained:
        raise ValueError(
            f"decisions leave no training row of the class {untrained[0]!r}, which "
            "test rows have: the copy could not be read as one data set. Keep a row of "
            "it, or take its test rows out of the source"
        )
    counts = Counter(line.decision for line in lines)
    return AppliedDecisions(
        path=str(to),
        n_rows=int(np.count_nonzero(is_kept)),
        n_kept=counts["keep"],
        n_relabelled=counts["relabel"],
        n_dropped=counts["drop"],
        n_unsure=counts["unsure"],
        n_undecided=n_rows - len(lines),
        new_classes=tuple(sorted(after - before)),
        lost_classes=tuple(sorted(before - after)),
    )


@contextmanager
def _written_beside(to: Path) -> Iterator[Path]:
    """Write a file or folder under another name, and rename it when it is complete."""
    to.parent.mkdir(parents=True, exist_ok=True)
    # The suffix says whether it is an archive.
    partial = to.with_name(f".partial-{secrets.token_hex(4)}{to.suffix}")
    try:
        yield partial
        if to.is_dir():
            to.rmdir()  # it is empty, or this fails
        if os.path.lexists(to):  # it was not there before
            raise FileExistsError(f"to={str(to)!r} is there already; name another")
        os.rename(partial, to)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)
