"""What a protocol asks, and which tables and figures its rows fill: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeAlias

#: Which rows are meant: a value, or a tuple of values, by column. None is "no value",
#: and ``...`` is any value but none.
Where: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class ColumnSpec:
    """A column of a table, or several.

    Parameters
    ----------
    metric : str
        As in :class:`sklgm.results.Row`.
    title : str
        Heading, with names in braces as in :class:`TableSpec`.
    kind : {"rate", "share", "area", "number"}, default="number"
        How values are pooled over seeds and written. ``"rate"``: successes and cases
        are summed, in percent, with counts and a Wilson interval; ``"share"``: mean, in
        percent; ``"area"``: mean, in [0, 1], with three digits; ``"number"``: the same
        of any range. Intervals of the first three are drawn, too.
    where : mapping, optional
        Which rows of the table fill the column; it goes before the conditions of the
        table. With ``{"attack": None}`` the column holds what was measured without an
        attack, whatever attack the table is about.
    by : tuple of str, default=()
        One column of the table for each value of these columns.
    join : str or None, default=None
        A further column whose values share a cell, as in ``0.95 / 0.90``, named below.
    only_most : bool, default=False
        Whether only rows with the largest number of poisons count.
    detail : str, default=""
        What stands below each value, with names in braces.
    minus : mapping or None, default=None
        The difference to the rows with these values in their columns, seed by seed, is
        shown instead; compared is the same variant, where it was measured, else the
        model itself. Rows that are compared with themselves stay empty.
    otherwise : ColumnSpec or None, default=None
        What fills a cell for which there is no row.
    """

    metric: str
    title: str
    kind: Literal["rate", "share", "area", "number"] = "number"
    _: KW_ONLY
    where: Where = field(default_factory=dict)
    by: tuple[str, ...] = ()
    join: str | None = None
    only_most: bool = False
    detail: str = ""
    minus: Where | None = None
    otherwise: ColumnSpec | None = None


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """A kind of table that the rows of a protocol fill.

    Texts may name columns in braces: ``{dataset}``, ``{victim}`` (with its variant),
    ``{attack}`` (with bound and reach), ``{n_poisons}`` (``"25 poisons"``),
    ``{share}``, ``{score}``, ``{detector}``, ``{variant}``.

    Parameters
    ----------
    title : str
        Caption of each table.
    columns : tuple of ColumnSpec
        Columns, from left to right. Those without any value are left out.
    where : mapping, optional
        Which rows of the tidy table are meant: a value, or a tuple of values, by
        column. None is "no value", and ``...`` is any value but none.
    split : tuple of str, default=("dataset", "attack", "bound", "reach")
        One table for each combination of values of these columns.
    index : tuple of str, default=("victim", "variant")
        One row for each combination of values of these columns, sorted by them.
    header : str, default="{victim}"
        Name of a row.
    header_title : str, default="Model"
        Heading of the names.
    details : tuple of str, default=()
        What stands below the name; texts that name a missing value are left out.
    noun : str, default="poison"
        What ``n_poisons`` counts.
    sort_by : str or None, default=None
        A metric by whose mean the rows of each victim are sorted, highest first.
    only_most : bool, default=False
        Whether only rows with the largest number of poisons count.
    """

    title: str
    columns: tuple[ColumnSpec, ...]
    where: Where = field(default_factory=dict)
    split: tuple[str, ...] = ("dataset", "attack", "bound", "reach")
    index: tuple[str, ...] = ("victim", "variant")
    header: str = "{victim}"
    header_title: str = "Model"
    details: tuple[str, ...] = ()
    noun: str = "poison"
    sort_by: str | None = None
    only_most: bool = False


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """A kind of figure that rows or arrays of a protocol fill.

    Parameters
    ----------
    kind : {"certified_accuracy", "success_rates", "frontier", "poison_images", \
            "poison_example", "feature_scatter", "score_histogram", "roc_curves"}
        What is drawn. The first three are drawn from the tidy table, the others from
        :class:`PoisonImages`, :class:`FeatureScatter` and :class:`DetectionScores`.
    title : str
        Heading, with names in braces as in :class:`TableSpec`.
    caption : str
        What there is to see, in full sentences; names in braces.
    alt : str
        What the figure shows, for those who do not see it.
    where : mapping, optional
        Which rows or arrays are meant, as in :class:`TableSpec`.
    split : tuple of str, default=()
        One figure for each combination of values of these columns.
    options : mapping, optional
        Arguments of the function that draws it, such as ``{"score": "posterior"}``.
    """

    kind: Literal[
        "certified_accuracy",
        "success_rates",
        "frontier",
        "poison_images",
        "poison_example",
        "feature_scatter",
        "score_histogram",
        "roc_curves",
    ]
    title: str
    caption: str
    alt: str
    where: Where = field(default_factory=dict)
    split: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeadlineSpec:
    """What the verdict of a run compares first in the numbers of a protocol.

    Parameters
    ----------
    metric : {"certified_accuracy", "attack_success_rate", "auroc", "clean_accuracy"}
        What is compared, at the largest number of poisons.
    title : str, default="{dataset}, {attack}"
        What a verdict on this protocol alone is headed by, with names in braces as in
        :class:`TableSpec`.
    """

    metric: Literal[
        "certified_accuracy", "attack_success_rate", "auroc", "clean_accuracy"
    ]
    title: str = "{dataset}, {attack}"


@dataclass(frozen=True, kw_only=True)
class ProtocolDescription:
    """What a protocol asks, and which tables and figures its rows fill.

    Parameters
    ----------
    name : str
        Value of the column ``protocol``.
    title : str
        Heading of its section.
    question : str
        What it asks and how, in one or two sentences.
    tables : tuple of TableSpec, default=()
        Its tables, in their order.
    figures : tuple of FigureSpec, default=()
        Its figures, in their order.
    headline : HeadlineSpec or None, default=None
        What the verdict of a run compares first; None: the verdict leaves it out.
    is_result : bool, default=True
        Whether its numbers are results; False where settings are chosen by them.
    """

    name: str
    title: str
    question: str
    tables: tuple[TableSpec, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    headline: HeadlineSpec | None = None
    is_result: bool = True
