"""The page of an audit of claimed labels."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm._inputs import ImageFiles
from sklgm.auditing._result import AuditResult
from sklgm.report._audit_contents import read_contents
from sklgm.report._audit_figures import audit_figures
from sklgm.report._audit_payload import (
    audit_payload,
    data_key,
    script_json,
    shown_rows,
    sorted_pairs,
)
from sklgm.report._audit_texts import (
    as_unicode,
    percent,
    review_text,
    rule_sentence,
    verdict,
)
from sklgm.report._cells import plural
from sklgm.report._page import flat_items, page_template, write_page

#: Parts of the page's script, in order.
_SCRIPTS = ("data", "decisions", "exports", "list", "detail", "matrix", "main")
_MAX_PAIRS = 500
#: Suspects that are listed where no script runs.
_MAX_PLAIN_ROWS = 100


def render_audit_report(
    result: AuditResult,
    X: ArrayLike | Sequence[str] | Mapping[str, Any] | ImageFiles | Any = None,
    row_names: Sequence[str] | None = None,
    *,
    title: str,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    command: str = "",
    max_rows: int = 10_000,
    max_images: int = 1_000,
) -> str:
    """Render an audit of claimed labels as one self-contained HTML page.

    The page says first what was found and what that does not prove. Below, suspects
    can be looked at and decided on, by mouse or by keys: keep, relabel, drop or unsure.
    The browser keeps the decisions, and the page writes them to a file for
    ``audit(..., decisions=...)``. The page loads nothing from elsewhere and holds no
    date: the same result gives the same page.

    Parameters
    ----------
    result : AuditResult
        What the audit found.
    X : array-like, frame, mapping, sequence of str or ImageFiles, default=None
        The audited rows. Images of shape (n_samples, n_channels, height, width) with
        1 or 3 channels are shown, clipped to [0, 1], those of dtype uint8 to
        [0, 255]; of files those that are shown are read. Of rows of numbers,
        (n_samples, n_features), and of a frame or mapping of columns the values are
        shown, with those marked that are unusual in the class that the row claims.
        Texts are shown as texts. Sparse rows are not shown.
    row_names : sequence of str of length n_samples, default=None
        Such as file names.
    title : str
        Heading of the page.
    class_names : sequence of str of length n_classes, default=None
        What ``result.classes`` are called; None takes the labels.
    feature_names : sequence of str of length n_features, default=None
        What the columns of an array X are called; None counts them.
    command : str, default=""
        What made the result, shown with the settings.
    max_rows : int, default=10_000
        Most rows of the list, at least 0. Suspects come first; then rows that the
        audit asks to check, contradictory duplicates, rare classes, and rows that a
        false discovery rate of up to 0.5 would flag.
    max_images : int, default=1_000
        Most rows of the list with images, at least 0.

    Returns
    -------
    str
        The HTML. All text given by the caller, and all text in the result, is
        escaped; no other script than that of the page can run.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib is not installed.
    ValueError
        If X is none of these, if X, `row_names`, `class_names` or `feature_names` have
        another length than `result` or X has, or if `max_rows` or `max_images` is
        negative.

    See Also
    --------
    write_audit_report : Writes it to a file.
    sklgm.audit : Makes the result.

    Notes
    -----
    Images with a side of more than 224 pixels are made smaller, and those with a side
    of 96 pixels and more are compressed as JPEG.
    """
    for name, limit in (("max_rows", max_rows), ("max_images", max_images)):
        if limit < 0:
            raise ValueError(f"{name}={limit!r} must be at least 0.")
    names = [as_unicode(name) for name in _of_length(result.classes, class_names)]
    _check_row_names(row_names, result)
    n_rows, n_suspects = len(result.p_values), len(result.suspects)
    contents = None if X is None else read_contents(X, n_rows, feature_names)
    shown = shown_rows(result, max_rows, max_images)
    payload = audit_payload(
        result,
        shown,
        contents,
        key=data_key(result, X, row_names, title),
        names=names,
        row_names=row_names,
    )
    script = _script()
    finding, details = verdict(result)
    pairs = _pairs(result, names, row_names)
    return str(
        page_template("workbench/page.html.j2").render(
            title=title,
            command=command,
            result=result,
            script=script,
            script_digest=_digest(script),
            style=_asset("style.css"),
            payload=script_json(payload),
            finding=finding,
            details=details,
            rule=rule_sentence(result),
            review=review_text(result),
            n_to_check=0 if result.rows_to_check is None else len(result.rows_to_check),
            n_rows=n_rows,
            n_suspects=n_suspects,
            n_listed=len(shown.listed),
            n_hidden=n_suspects - int(np.isin(result.suspects, shown.listed).sum()),
            plural=plural,
            plain_rows=_plain_rows(result, names, row_names),
            is_unseen=X is not None and contents is None,
            class_rows=_class_rows(result, names),
            notes=[as_unicode(note) for note in result.notes],
            pairs=pairs,
            n_pairs=0
            if result.duplicate_pairs is None
            else len(result.duplicate_pairs),
            n_contradictions=len(result.contradictory_pairs),
            named=row_names is not None,
            figures=audit_figures(result, names),
            settings=flat_items(result.settings),
            environment=flat_items(result.environment),
        )
    )


def write_audit_report(
    path: str | os.PathLike[str],
    result: AuditResult,
    X: ArrayLike | Sequence[str] | Mapping[str, Any] | ImageFiles | Any = None,
    row_names: Sequence[str] | None = None,
    *,
    title: str,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    command: str = "",
    max_rows: int = 10_000,
    max_images: int = 1_000,
) -> Path:
    """Write the page of `render_audit_report` to a file.

    Parameters
    ----------
    path : str or path
        File to write; its folder is made.
    result : AuditResult
        What the audit found.
    X : array-like, frame, mapping, sequence of str or ImageFiles, default=None
        The audited rows, which are shown.
    row_names : sequence of str of length n_samples, default=None
        Such as file names.
    title : str
        Heading of the page.
    class_names : sequence of str of length n_classes, default=None
        What ``result.classes`` are called; None takes the labels.
    feature_names : sequence of str of length n_features, default=None
        What the columns of an array X are called; None counts them.
    command : str, default=""
        What made the result, shown with the settings.
    max_rows : int, default=10_000
        Most rows of the list, at least 0.
    max_images : int, default=1_000
        Most rows of the list with images, at least 0.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib is not installed.
    ValueError
        If an argument does not fit `result`, as for `render_audit_report`.
    """
    page = render_audit_report(
        result,
        X,
        row_names,
        title=title,
        class_names=class_names,
        feature_names=feature_names,
        command=command,
        max_rows=max_rows,
        max_images=max_images,
    )
    return write_page(path, page)


def _of_length(
    classes: NDArray[Any], class_names: Sequence[str] | None
) -> Sequence[Any]:
    if class_names is None:
        return list(classes.tolist())
    if len(class_names) != len(classes):
        raise ValueError(
            f"class_names has {len(class_names)} entries for {len(classes)} classes."
        )
    return class_names


def _check_row_names(row_names: Sequence[str] | None, result: AuditResult) -> None:
    if row_names is not None and len(row_names) != len(result.p_values):
        raise ValueError(
            f"row_names has {len(row_names)} entries for {len(result.p_values)} "
            "audited rows."
        )


def _asset(name: str) -> str:
    folder = importlib.resources.files("sklgm.report").joinpath("workbench")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _digest(script: str) -> str:
    """By which a browser knows the one script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _plain_rows(
    result: AuditResult, names: Sequence[str], row_names: Sequence[str] | None
) -> list[dict[str, Any]]:
    """First suspects, for browsers without scripts."""
    return [
        _row_texts(result, row, names, row_names)
        for row in result.suspects[:_MAX_PLAIN_ROWS].tolist()
    ]


def _row_texts(
    result: AuditResult,
    row: int,
    names: Sequence[str],
    row_names: Sequence[str] | None,
) -> dict[str, Any]:
    return {
        "row": row,
        "name": "" if row_names is None else as_unicode(row_names[row]),
        "claimed": names[_index_of(result.claimed_labels[row], result.classes)],
        "likely": names[_index_of(result.likely_labels[row], result.classes)],
        "wrong": ""
        if result.p_wrong is None
        else f"{100 * result.p_wrong[row]:.3g}\N{NO-BREAK SPACE}%",
        "p": f"{result.p_values[row]:.2g}",
    }


def _pairs(
    result: AuditResult, names: Sequence[str], row_names: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Duplicates as the page lists them."""
    pairs, is_exact, differ = (
        array[:_MAX_PAIRS].tolist() for array in sorted_pairs(result)
    )
    return [
        {
            "rows": [_row_texts(result, row, names, row_names) for row in pair],
            "kind": "equal" if exact else "nearly equal",
            "differs": differs,
        }
        for pair, exact, differs in zip(pairs, is_exact, differ, strict=True)
    ]


def _class_rows(result: AuditResult, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table of claimed classes."""
    is_suspect = result.is_suspect
    rows: list[dict[str, Any]] = []
    for k, label in enumerate(result.classes):
        is_claimed = result.claimed_labels == label
        n_claimed = int(np.count_nonzero(is_claimed))
        likely = result.likely_labels[is_claimed & is_suspect].tolist()
        others = Counter(_index_of(other, result.classes) for other in likely)
        del others[k]
        # The first class, where several are as frequent.
        mode = min(others, key=lambda other: (-others[other], other), default=None)
        rows.append(
            {
                "name": names[k],
                "n_rows": n_claimed,
                "n_suspects": len(likely),
                "share": percent(len(likely) / n_claimed if n_claimed else 0.0),
                "mode": None if mode is None else names[mode],
                "n_mode": 0 if mode is None else others[mode],
            }
        )
    return rows


def _index_of(label: Any, classes: NDArray[Any]) -> int:
    return int(np.searchsorted(classes, label))
