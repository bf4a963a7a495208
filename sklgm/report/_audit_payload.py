"""What the script of an audit's page reads: listed rows, classes, pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sklgm.auditing._result import AuditResult
from sklgm.report._audit_contents import Contents, ShownRows
from sklgm.report._audit_texts import as_unicode, rule_short

#: Bits of why a row is listed.
SUSPECT, TO_CHECK, DUPLICATE, RARE = 1, 2, 4, 8
#: False discovery rates to choose from; rows beyond the last are not listed.
_RATES = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
)
_N_TOP = 3
#: Pairs whose images are embedded.
_MAX_PICTURED_PAIRS = 100
_MAX_SAMPLED = 256


def script_json(data: Any) -> str:
    """Write data so that they can stand in an element ``script``.

    Parameters
    ----------
    data : object
        As JSON has it.

    Returns
    -------
    str
        JSON without any character that ends an element or begins a tag.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data_key(
    result: AuditResult, X: Any, row_names: Sequence[str] | None, title: str = ""
) -> str:
    """Name the audited data, the same in all audits of them.

    Parameters
    ----------
    result : AuditResult
        An audit.
    X : object
        Its rows, or None.
    row_names : sequence of str or None
        Their names.
    title : str, default=""
        Title of the page, which tells data apart whose rows are not known.

    Returns
    -------
    str
        A digest of labels, names and some of the rows: decisions are kept under it in
        the browser, also when the audit is made again with them. They name classes by
        number, so that the classes are part of it.
    """
    digest = hashlib.blake2b(digest_size=16)
    told = [result.classes.tolist(), result.claimed_labels.tolist(), row_names or ()]
    if X is None:
        told.append([title])
    for texts in told:
        for text in texts:
            digest.update(as_unicode(text).encode() + b"\0")
        digest.update(b"\1")
    for part in _sampled(X):
        digest.update(part + b"\1")
    return digest.hexdigest()


def _sampled(X: Any) -> Iterator[bytes]:
    """Yield some of the rows, in whatever container they are."""
    if sparse.issparse(X):
        X = X.tocsr().data
    names = getattr(X, "columns", X.keys() if isinstance(X, Mapping) else None)
    parts = [X] if names is None else [X[name] for name in names]
    if names is None and not isinstance(X, np.ndarray | list | tuple):
        return  # files and data sets are known by names
    if names is not None:
        yield repr([str(name) for name in names]).encode()
    for part in parts:
        values = (
            part if isinstance(part, np.ndarray | list | tuple) else np.asarray(part)
        )
        some = values[:: max(1, -(-len(values) // _MAX_SAMPLED))]
        is_plain = isinstance(some, np.ndarray) and some.dtype != object
        texts = some if isinstance(some, list | tuple) else some.tolist()
        yield (
            np.ascontiguousarray(some).tobytes()
            if is_plain
            else repr([as_unicode(text) for text in texts]).encode()
        )


def shown_rows(result: AuditResult, max_rows: int, max_images: int) -> ShownRows:
    """Choose the rows that the page lists.

    Parameters
    ----------
    result : AuditResult
        The audit.
    max_rows : int
        Most rows of the list.
    max_images : int
        Most rows of it with images.

    Returns
    -------
    ShownRows
        Suspects first; then rows to check, of contradictory pairs and of rare
        classes; then rows that a higher false discovery rate would flag. In the order
        of the audit's ranking.
    """
    ranking, reasons = result.ranking, _reasons(result)
    is_near = result.q_values <= _RATES[-1]
    # Stable: within each group the most suspect first.
    group = np.select([reasons & SUSPECT > 0, reasons > 0, is_near], [0, 1, 2], 3)
    order = ranking[np.argsort(group[ranking], kind="stable")]
    chosen = order[group[order] < 3][:max_rows]
    is_chosen = np.isin(ranking, chosen)
    listed = ranking[is_chosen].tolist()
    claimed = np.searchsorted(result.classes, result.claimed_labels)
    likely = np.searchsorted(result.classes, result.likely_labels)
    classes = sorted({*claimed[listed].tolist(), *likely[listed].tolist()})
    is_suspect = result.is_suspect
    # Suspects come first: the slider may ask for others, which need no image.
    with_images = chosen[:max_images].tolist()
    if max_images > 0:
        pairs = sorted_pairs(result)[0][:_MAX_PICTURED_PAIRS]
        with_images += [int(row) for row in pairs.ravel()]
    return ShownRows(
        listed=listed,
        claimed=claimed[listed].tolist(),
        with_images=with_images,
        compared={k: np.flatnonzero((claimed == k) & ~is_suspect) for k in classes},
        typical={
            k: [row for row in result.typical_rows[k].tolist() if row >= 0]
            for k in classes
        },
    )


def _reasons(result: AuditResult) -> NDArray[np.intp]:
    reasons = np.where(result.is_suspect, SUSPECT, 0).astype(np.intp)
    for rows, bit in (
        (result.rows_to_check, TO_CHECK),
        (result.contradictory_pairs.ravel(), DUPLICATE),
        (result.too_rare, RARE),
    ):
        if rows is not None:
            reasons[rows] |= bit
    return reasons


def sorted_pairs(
    result: AuditResult,
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """Order duplicates: those that contradict each other first.

    Parameters
    ----------
    result : AuditResult
        The audit.

    Returns
    -------
    ndarray of int of shape (n_pairs, 2)
        Rows.
    ndarray of bool of shape (n_pairs,)
        Whether they are equal.
    ndarray of bool of shape (n_pairs,)
        Whether their labels differ.
    """
    if result.duplicate_pairs is None or result.is_exact_pair is None:
        nothing = np.empty(0, dtype=bool)
        return np.empty((0, 2), dtype=np.intp), nothing, nothing
    pairs = np.asarray(result.duplicate_pairs).reshape(-1, 2)
    labels = result.claimed_labels[pairs]
    differ = np.asarray(labels[:, 0] != labels[:, 1], dtype=bool)
    order = np.argsort(~differ, kind="stable")
    return pairs[order], np.asarray(result.is_exact_pair)[order], differ[order]


def audit_payload(
    result: AuditResult,
    shown: ShownRows,
    contents: Contents | None,
    *,
    key: str,
    names: Sequence[str],
    row_names: Sequence[str] | None,
) -> dict[str, Any]:
    """Collect what the script reads.

    Parameters
    ----------
    result : AuditResult
        The audit.
    shown : ShownRows
        Its rows that are listed.
    contents : Contents or None
        What they hold.
    key : str
        Of :func:`data_key`.
    names : sequence of str
        What classes are called.
    row_names : sequence of str or None
        What rows are called.

    Returns
    -------
    dict
        As JSON has it. Arrays of rows have the order of ``shown.listed``.
    """
    rows, reasons = shown.listed, _reasons(result)
    likely = np.searchsorted(result.classes, result.likely_labels[rows])
    rates, audited = _rates(result)
    return {
        "key": key,
        "nRows": len(result.p_values),
        "classes": list(names),
        "labels": [as_unicode(label) for label in result.classes.tolist()],
        "rates": rates,
        "audited": audited,
        "rule": rule_short(result),
        "row": rows,
        "name": None
        if row_names is None
        else [as_unicode(row_names[row]) for row in rows],
        "claimed": shown.claimed,
        "likely": likely.tolist(),
        "wrong": None
        if result.p_wrong is None
        else [_short(result.p_wrong[row]) for row in rows],
        "p": [_short(result.p_values[row]) for row in rows],
        "q": [float(result.q_values[row]) for row in rows],
        "reasons": reasons[rows].tolist(),
        "top": _top(result, rows),
        "contents": None if contents is None else contents.payload(shown),
    }


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _rates(result: AuditResult) -> tuple[list[float], int]:
    """Rates of the slider, and which of them stands for the audit's own rule."""
    own = result.fdr
    if own is None:
        own = float(result.q_values[result.suspects].max(initial=0.0)) or 0.1
    rates = sorted({*_RATES, own})
    return rates, rates.index(own)


def _top(result: AuditResult, rows: Sequence[int]) -> list[list[list[float]]] | None:
    """Most probable classes of each row: index and probability, as the model said."""
    if result.log_proba is None or len(rows) == 0:
        return None
    log_proba = np.asarray(result.log_proba, dtype=np.float64)[list(rows)]
    top = np.argsort(-log_proba, axis=1, kind="stable")[:, :_N_TOP]
    p = np.exp(np.take_along_axis(log_proba, top, axis=1))
    return [
        [[k, round(share, 4)] for k, share in zip(ks, shares, strict=True)]
        for ks, shares in zip(top.tolist(), p.tolist(), strict=True)
    ]
