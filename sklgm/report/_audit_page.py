"""The page of an audit of claimed labels."""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm._inputs import ImageFiles
from sklgm._running import import_extra
from sklgm.auditing._result import AuditResult
from sklgm.plotting import ClaimedLikelihoodDisplay, FeatureSpaceDisplay
from sklgm.report._cells import plural
from sklgm.report._page import (
    data_uri,
    figure_png,
    figure_width,
    flat_items,
    page_template,
    write_page,
)

_SCORE_NAMES = {
    "posterior": "log odds that the claimed label is right",
    "likelihood": "standardised log density under the claimed label",
}
#: Longest side, in pixels, of the images that are embedded.
_MAX_IMAGE_SIDE = 128
#: Smaller images are enlarged with sharp pixels, larger ones smoothly.
_CRISP_SIDE = 96
_MAX_MAP_POINTS = 4000
#: More classes than this have no legend in the map.
_MAX_LEGEND = 20
_MAX_NAME = 20
#: Letters that can still be read where a phone shrinks a figure to its width.
_FIGURE_STYLE = {"font.size": 11.5, "legend.fontsize": 10.5}


def render_audit_report(
    result: AuditResult,
    X: ArrayLike | ImageFiles | None = None,
    row_names: Sequence[str] | None = None,
    *,
    title: str,
    class_names: Sequence[str] | None = None,
    command: str = "",
    max_rows: int = 1000,
    max_images: int = 200,
) -> str:
    """Render an audit of claimed labels as one self-contained HTML page.

    The page says in plain words what was found and what that does not prove, shows the
    suspect images beside typical ones, and lists suspects in a table that can be
    sorted and filtered. It loads nothing from elsewhere and holds no date: the same
    result gives the same page.

    Parameters
    ----------
    result : AuditResult
        What the audit found.
    X : array-like of shape (n_samples, ...) or ImageFiles, default=None
        The audited rows. Images of shape (n_samples, n_channels, height, width) with
        1 or 3 channels are shown, clipped to [0, 1], those of dtype uint8 to
        [0, 255]; rows of numbers, (n_samples, n_features), are not. Of files those
        that are shown are read.
    row_names : sequence of str of length n_samples, default=None
        Such as file names.
    title : str
        Heading of the page.
    class_names : sequence of str of length n_classes, default=None
        What ``result.classes`` are called; None takes the labels.
    command : str, default=""
        What made the result, shown with the settings.
    max_rows : int, default=1000
        Most rows of the table, at least 0.
    max_images : int, default=200
        Most suspect images, at least 0.

    Returns
    -------
    str
        The HTML. All text given by the caller, and all text in the result, is
        escaped.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib is not installed.
    ValueError
        If X is neither images nor rows of numbers, if X, `row_names` or `class_names`
        have another length than `result` has, or if `max_rows` or `max_images` is
        negative.

    See Also
    --------
    write_audit_report : Writes it to a file.
    sklgm.audit : Makes the result.

    Notes
    -----
    Images with a side of more than 128 pixels are made smaller.
    """
    for name, limit in (("max_rows", max_rows), ("max_images", max_images)):
        if limit < 0:
            raise ValueError(f"{name}={limit!r} must be at least 0.")
    names = [_unicode(name) for name in _of_length(result.classes, class_names)]
    texts = _RowTexts(result, names, _checked_row_names(row_names, result))
    images = None if X is None else _checked_images(X, len(result.p_values))
    suspects = result.suspects.tolist()
    shown_images = [] if images is None else suspects[:max_images]
    gallery = None if images is None else _Gallery.of(images, result, shown_images)
    n_rows, n_suspects = len(result.p_values), len(suspects)
    listed = [texts.view(row) for row in suspects[:max_rows]]
    cards = [texts.view(row) for row in shown_images]
    return str(
        page_template("audit.html.j2").render(
            title=title,
            command=command,
            result=result,
            n_rows=n_rows,
            n_suspects=n_suspects,
            share=_percent(n_suspects / n_rows if n_rows else 0.0),
            rule=_rule(result),
            noise=_noise(result),
            expected_right=_expected_right(result),
            review=_review(result),
            to_check=_to_check(result, row_names),
            worst_q=_percent(float(result.q_values[suspects].max(initial=0.0))),
            plural=plural,
            named=row_names is not None,
            listed=listed,
            cards=cards,
            choices=_choices(listed + cards, names),
            gallery=gallery,
            unseen_images=X is not None and np.ndim(X) == 4 and images is None,
            class_rows=_class_rows(result, names),
            notes=[_unicode(note) for note in result.notes],
            contradictions=_contradictions(texts, max_rows),
            n_contradictions=len(result.contradictory_pairs),
            figures=_figures(result, names),
            settings=flat_items(result.settings),
            environment=flat_items(result.environment),
        )
    )


def write_audit_report(
    path: str | os.PathLike[str],
    result: AuditResult,
    X: ArrayLike | ImageFiles | None = None,
    row_names: Sequence[str] | None = None,
    *,
    title: str,
    class_names: Sequence[str] | None = None,
    command: str = "",
    max_rows: int = 1000,
    max_images: int = 200,
) -> Path:
    """Write the page of `render_audit_report` to a file.

    Parameters
    ----------
    path : str or path
        File to write; its folder is made.
    result : AuditResult
        What the audit found.
    X : array-like of shape (n_samples, ...) or ImageFiles, default=None
        The audited rows; images are shown.
    row_names : sequence of str of length n_samples, default=None
        Such as file names.
    title : str
        Heading of the page.
    class_names : sequence of str of length n_classes, default=None
        What ``result.classes`` are called; None takes the labels.
    command : str, default=""
        What made the result, shown with the settings.
    max_rows : int, default=1000
        Most rows of the table, at least 0.
    max_images : int, default=200
        Most suspect images, at least 0.

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


def _checked_row_names(
    row_names: Sequence[str] | None, result: AuditResult
) -> Sequence[str] | None:
    if row_names is not None and len(row_names) != len(result.p_values):
        raise ValueError(
            f"row_names has {len(row_names)} entries for {len(result.p_values)} "
            "audited rows."
        )
    return row_names


class _FileImages:
    """Images in files, decoded when they are shown; smaller ones are not enlarged."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files
        self.shape = (len(files), 3, _MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        image = self.files.image(row)
        image.thumbnail((_MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE))
        return np.asarray(image).transpose(2, 0, 1)


def _checked_images(
    X: ArrayLike | ImageFiles, n_samples: int
) -> NDArray[Any] | _FileImages | None:
    """Return images that can be shown, None where X holds none."""
    images = _FileImages(X) if isinstance(X, ImageFiles) else X
    shape = np.shape(images)
    if len(shape) not in (2, 4):
        raise ValueError(
            f"X of shape {shape} must have the shape (n_samples, n_features) or "
            "(n_samples, n_channels, height, width)."
        )
    if shape[0] != n_samples:
        raise ValueError(f"X has {shape[0]} rows, but {n_samples} were audited.")
    is_shown = len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) > 0
    if isinstance(images, _FileImages):
        return images
    return np.asarray(images) if is_shown else None


@dataclass(frozen=True)
class _RowTexts:
    """What the page says of a row."""

    result: AuditResult
    class_names: Sequence[str]
    row_names: Sequence[str] | None

    def view(self, row: int) -> dict[str, Any]:
        result = self.result
        claimed = _index_of(result.claimed_labels[row], result.classes)
        likely = _index_of(result.likely_labels[row], result.classes)
        name = "" if self.row_names is None else _unicode(self.row_names[row])
        claimed_name, likely_name = self.class_names[claimed], self.class_names[likely]
        return {
            "row": row,
            "name": name,
            "claimed": claimed,
            "claimed_name": claimed_name,
            "likely": likely,
            "likely_name": likely_name,
            "search": " ".join([str(row), name, claimed_name, likely_name]),
            # Texts for the eye (and the filter), numbers for sorting.
            "p": _short(result.p_values[row]),
            "q": _short(result.q_values[row]),
            "score": _short(result.scores[row], digits=3),
            "wrong": None if result.p_wrong is None else _short(result.p_wrong[row]),
            "p_number": _exact(result.p_values[row]),
            "q_number": _exact(result.q_values[row]),
            "score_number": _exact(result.scores[row]),
        }


def _contradictions(texts: _RowTexts, max_rows: int) -> list[dict[str, Any]]:
    """Duplicates that claim different labels, as the page lists them."""
    result = texts.result
    if result.duplicate_pairs is None or result.is_exact_pair is None:
        return []
    is_exact = {
        tuple(pair): exact
        for pair, exact in zip(
            result.duplicate_pairs.tolist(), result.is_exact_pair.tolist(), strict=True
        )
    }
    return [
        {
            "first": texts.view(pair[0]),
            "second": texts.view(pair[1]),
            "kind": "equal" if is_exact[tuple(pair)] else "nearly equal",
        }
        for pair in result.contradictory_pairs[:max_rows].tolist()
    ]


@dataclass(frozen=True)
class _Gallery:
    """Suspect images and the typical ones beside them, as addresses."""

    suspects: dict[int, str]
    typical: dict[int, str]
    typical_of_class: list[list[int]]
    is_crisp: bool

    @classmethod
    def of(
        cls,
        images: NDArray[Any] | _FileImages,
        result: AuditResult,
        rows: Sequence[int],
    ) -> _Gallery:
        """Encode the suspect `rows` of `images`, and each typical one once."""
        typical_of_class = [
            [row for row in of_class if row >= 0]
            for of_class in result.typical_rows.tolist()
        ]
        shown = {
            _index_of(label, result.classes)
            for labels in (result.claimed_labels, result.likely_labels)
            for label in labels[list(rows)]
        }
        typical = sorted({row for k in shown for row in typical_of_class[k]})
        return cls(
            suspects={row: _image_uri(images[row]) for row in rows},
            typical={row: _image_uri(images[row]) for row in typical},
            typical_of_class=typical_of_class,
            is_crisp=max(images.shape[2:]) < _CRISP_SIDE,
        )


def _image_uri(image: NDArray[Any]) -> str:
    """Encode an image of shape (n_channels, height, width) as PNG."""
    pillow = import_extra("PIL.Image", "cli")
    if image.dtype != np.uint8:
        finite = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
        image = np.rint(255 * np.clip(finite, 0, 1)).astype(np.uint8)
    if len(image) == 1:
        picture = pillow.fromarray(image[0])
    else:
        # (height, width, n_channels)
        picture = pillow.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    picture.thumbnail((_MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return data_uri("image/png", buffer.getvalue())


def _choices(
    views: Sequence[dict[str, Any]], names: Sequence[str]
) -> dict[str, list[tuple[int, str]]]:
    """Classes among the shown suspects, as (index, name)."""
    return {
        kind: [(k, names[k]) for k in sorted({view[kind] for view in views})]
        for kind in ("claimed", "likely")
    }


def _class_rows(result: AuditResult, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table of claimed classes."""
    is_suspect = result.is_suspect
    rows: list[dict[str, Any]] = []
    for k, label in enumerate(result.classes):
        is_claimed = result.claimed_labels == label
        n_claimed = int(np.count_nonzero(is_claimed))
        likely = result.likely_labels[is_claimed & is_suspect].tolist()
        n_suspects = len(likely)
        share = n_suspects / n_claimed if n_claimed else 0.0
        others = Counter(_index_of(other, result.classes) for other in likely)
        del others[k]
        # The first class, where several are as frequent.
        mode = min(others, key=lambda other: (-others[other], other), default=None)
        rows.append(
            {
                "index": k,
                "name": names[k],
                "n_rows": n_claimed,
                "n_suspects": n_suspects,
                "share": _percent(share),
                "share_number": share,
                "mode": None if mode is None else names[mode],
                "mode_index": -1 if mode is None else mode,
                "n_mode": 0 if mode is None else others[mode],
            }
        )
    largest = max((row["share_number"] for row in rows), default=0.0) or 1.0
    return [row | {"length": row["share_number"] / largest} for row in rows]


def _figures(result: AuditResult, names: Sequence[str]) -> list[dict[str, Any]]:
    matplotlib = import_extra("matplotlib", "cli")
    with matplotlib.rc_context(_FIGURE_STYLE):
        figures = [_histogram(result), _feature_map(result, names)]
    return [figure for figure in figures if figure is not None]


def _histogram(result: AuditResult) -> dict[str, Any] | None:
    scores = np.asarray(result.scores, dtype=np.float64)
    is_finite = np.isfinite(scores)
    if not is_finite.any():
        return None
    threshold = float(result.threshold) if math.isfinite(result.threshold) else None
    floor = _lowest_drawn(scores[is_finite], threshold)
    top = scores[is_finite].max()
    drawn = np.nan_to_num(scores, nan=floor, posinf=top, neginf=floor)
    n_below = int(np.count_nonzero(~(scores >= floor)))
    ax = _new_axes((5.6, 3.6))
    ClaimedLikelihoodDisplay.from_predictions(
        np.maximum(drawn, floor),
        result.is_suspect,
        threshold=threshold,
        xlabel=_SCORE_NAMES.get(result.score_kind, "score of the claimed label"),
        group_names=("other rows", "suspects"),
        ax=ax,
    )
    caption = (
        "How plausible each claimed label is; further right is more plausible. Bars "
        "show the share of their own group, so that few suspects stay visible beside "
        "many other rows."
    )
    if threshold is None:
        caption += " There is no threshold: no score is low enough to be flagged."
    elif result.n_trusted:
        caption += (
            " Each fold has its own threshold; the dashed line is their median, so "
            "that a few rows may lie on the wrong side of it."
        )
    else:
        caption += " Suspects lie left of the dashed line, about."
    if n_below:
        caption += (
            f" Rows below {floor:.3g} ({plural(n_below, 'row')}) are drawn there."
        )
    return _figure_view(
        "Scores",
        caption,
        f"Histograms of the scores of {plural(int((~result.is_suspect).sum()), 'row')} "
        f"that are no suspects and of {plural(len(result.suspects), 'suspect')}",
        ax.figure,
    )


def _lowest_drawn(scores: NDArray[np.float64], threshold: float | None) -> float:
    """Score below which bars would squeeze all others together."""
    low, high = np.quantile(scores, [0.01, 0.99])
    if threshold is not None:
        low = min(threshold, high)
    span = float(high - low) or 1.0
    return max(float(scores.min()), float(low) - 4 * span)


def _feature_map(result: AuditResult, names: Sequence[str]) -> dict[str, Any] | None:
    features = np.asarray(result.map_features, dtype=np.float64)
    if features.ndim != 2 or features.shape[1] < 2:
        return None
    is_finite = np.isfinite(features).all(axis=1)
    features, rows = features[is_finite], result.map_rows[is_finite]
    if len(rows) < 2:
        return None
    is_suspect = result.is_suspect[rows]
    drawn = _drawn_points(is_suspect)
    ax = _new_axes((5.9, 4.3))
    FeatureSpaceDisplay.from_predictions(
        features[drawn],
        result.claimed_labels[rows[drawn]],
        is_poison=is_suspect[drawn],
        classes=result.classes,
        class_names=[_legend_name(name) for name in names],
        ax=ax,
    )
    legend = ax.get_legend()
    n_crosses = int(np.count_nonzero(is_suspect[drawn]))
    if n_crosses:
        # The display speaks of poisons, which an audit cannot know.
        legend.get_texts()[-1].set_text(f"suspects (n = {n_crosses:,})")
    caption = (
        "Where the model sees the rows: colours are the labels they claim, crosses are "
        "suspects. A suspect often lies among rows of another colour. Only rows of the "
        "first fold are shown, since only the features of one model can be compared."
    )
    if features.shape[1] > 2:
        caption += (
            f" The {features.shape[1]} features are projected to the plane in which "
            "they vary most; what lies together here may be apart in the others."
        )
    if len(drawn) < len(rows):
        caption += (
            f" {len(drawn):,} of {len(rows):,} rows are drawn, {n_crosses:,} of "
            f"{plural(int(is_suspect.sum()), 'suspect')} among them, evenly chosen."
        )
    if len(names) > _MAX_LEGEND:
        legend.remove()
        caption += f" The colours of the {len(names)} classes are not named."
    return _figure_view(
        "Map of the features",
        caption,
        f"Scatter of the features of {plural(len(drawn), 'row')} by claimed class, "
        f"with {plural(n_crosses, 'suspect')} as crosses",
        ax.figure,
    )


def _drawn_points(is_suspect: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Choose evenly which points are drawn, and all where there are few.

    Half of them may be suspects, more where there are not as many others.
    """
    if len(is_suspect) <= _MAX_MAP_POINTS:
        return np.arange(len(is_suspect))
    suspects, others = np.flatnonzero(is_suspect), np.flatnonzero(~is_suspect)
    n_suspects = min(
        len(suspects), max(_MAX_MAP_POINTS // 2, _MAX_MAP_POINTS - len(others))
    )
    chosen = [
        group[np.linspace(0, len(group) - 1, n, dtype=np.intp)]
        for group, n in (
            (suspects, n_suspects),
            (others, _MAX_MAP_POINTS - n_suspects),
        )
        if n > 0
    ]
    return np.sort(np.concatenate(chosen))


def _unicode(name: Any) -> str:
    """Escape bytes of a file name that are no Unicode: no font has them."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def _legend_name(name: str) -> str:
    """Write a class so that matplotlib takes it literally."""
    if len(name) > _MAX_NAME:
        name = name[: _MAX_NAME - 1] + "…"
    # Formulas stand between dollars; empty names and a leading underscore are hidden.
    hidden = name == "" or name.startswith("_")
    return (" " if hidden else "") + name.replace("$", r"\$")


def _new_axes(figsize: tuple[float, float]) -> Any:
    # Not by pyplot, which would keep the figure open.
    figure = import_extra("matplotlib.figure", "cli").Figure(
        figsize=figsize, layout="constrained"
    )
    return figure.subplots()


def _figure_view(title: str, caption: str, alt: str, figure: Any) -> dict[str, Any]:
    return {
        "title": title,
        "caption": caption,
        "alt": alt,
        "uri": data_uri("image/png", figure_png(figure)),
        "width": figure_width(figure),
    }


def _index_of(label: Any, classes: NDArray[Any]) -> int:
    return int(np.searchsorted(classes, label))


def _rule(result: AuditResult) -> dict[str, str]:
    """Say what makes a row a suspect: short, in a sentence, and for the filter."""
    ((name, value),) = result.rule.items()
    percent = _percent(value)
    return {
        "fdr": {
            "fact": "Promise",
            "short": f"q ≤ {value:.3g}",
            "small": f"{percent} right labels among the suspects, at most about",
            "sentence": f"where q is at most {value:.3g}: of all suspects about "
            f"{percent} at most are expected to have right labels",
            "largest_p": "",
        },
        "false_alarm_rate": {
            "fact": "Level",
            "short": f"p ≤ {value:.3g}",
            "small": f"flags {_one_in(value)} right labels",
            "sentence": f"where p is at most {value:.3g}, so about {percent} of the "
            "rows with right labels become suspects by chance",
            "largest_p": f"{value:.3g}",
        },
        "contamination": {
            "fact": "Share",
            "short": percent,
            "small": "of the rows are suspects, as asked for",
            "sentence": f"if it is among the {percent} that are most implausible",
            "largest_p": "",
        },
    }[name]


def _noise(result: AuditResult) -> dict[str, str] | None:
    """Estimated share of wrong labels, and what is left open."""
    if result.noise_share is None:
        return None
    interval = ""
    if result.noise_share_interval is not None:
        low, high = result.noise_share_interval
        interval = f"{_percent(low)} to {_percent(high)}"
    return {"share": _percent(result.noise_share), "interval": interval}


def _expected_right(result: AuditResult) -> str | None:
    n_expected = result.n_expected_right
    return None if n_expected is None else f"{n_expected:,.0f}"


def _review(result: AuditResult) -> str | None:
    """Say in a few sentences what decisions on rows show."""
    review = result.review
    if review is None:
        return None
    text = (
        f"{plural(review.n_checked, 'row')} checked, {review.n_wrong:,} of them wrong; "
        f"{review.n_wrong_expected:.1f} were expected. "
    )
    precision = review.precision
    if precision is not None:
        text += (
            f"Of {plural(precision.n_targets, 'checked suspect')} "
            f"{_percent(precision.value)} had wrong labels ({_percent(precision.low)} "
            f"to {_percent(precision.high)}). "
        )
    if review.n_worth_checking == 0:
        return text + "No other row is rather wrong than right: stop here."
    return text + (
        f"{plural(review.n_worth_checking, 'unchecked row')} more are rather wrong "
        f"than right; beyond these, {review.n_wrong_beyond:,.0f} wrong labels are "
        "expected among all others."
    )


def _to_check(result: AuditResult, row_names: Sequence[str] | None) -> list[str]:
    """Rows to check, by name if there are names."""
    if result.rows_to_check is None:
        return []
    rows = result.rows_to_check.tolist()
    return [str(row) if row_names is None else str(row_names[row]) for row in rows]


def _percent(share: float) -> str:
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"


def _one_in(rate: float) -> str:
    """Say a rate in whole rows."""
    return f"one in {round(1 / rate):,}" if 0 < rate <= 0.5 else _percent(rate)


def _short(value: float, digits: int = 2) -> str:
    return f"{float(value):.{digits}g}"


def _exact(value: float) -> str:
    """Write a number so that JavaScript reads the same one."""
    value = float(value)
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)
