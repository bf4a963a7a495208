"""Columns of text as what they hold: numbers, truth values, dates, or text.

All columns are asked at once: a call of Polars takes longer than a short column.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sklgm._running import import_extra

if TYPE_CHECKING:
    import polars

#: What stands for a missing number. An empty field is missing in any column.
_MISSING = ("NA", "N/A", "#N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "-")
# Not \d, which is any digit of Unicode.
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_PLAIN = rf"^({_NUMBER}|[+-]?inf|[+-]?Inf|[+-]?Infinity)$"
_INTEGER = r"^[+-]?[0-9]+$"
_LEADING_ZERO = r"^[+-]?0[0-9]"
# Such as 1,5 or 1.234,5 and -0,25e3.
_DECIMAL_COMMA = r"^[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)?(,[0-9]+)?([eE][+-]?[0-9]+)?$"
# Such as 1,234.5 beside 12: no number of thousands begins with a zero.
_GROUPED_BY_COMMA = r"^[+-]?([0-9]{1,3}|[1-9][0-9]{0,2}(,[0-9]{3})+)(\.[0-9]+)?$"
_TRUTH_VALUE = r"^(true|false)$"
_ISO_DATE = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?Z?$"
)
_DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
)
_DOTTED_DATE = r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}$"


def parsed_columns(
    table: polars.DataFrame, has_decimal_comma: bool = False
) -> polars.DataFrame:
    """Convert columns of text to what they hold, where nothing is merged by that.

    Parameters
    ----------
    table : polars.DataFrame
        Columns of String.
    has_decimal_comma : bool, default=False
        Whether ``1,234`` is one and not more than a thousand.

    Returns
    -------
    polars.DataFrame
        Columns of Int64, Float64, Boolean, Datetime, or the text.
    """
    pl = import_extra("polars", "cli")
    texts = _by_position(table)
    stripped = texts.select(pl.all().str.strip_chars())
    known = _without_missing(stripped)
    is_missing = _of_each(known, pl.all().count() == 0)
    missing, others = is_missing, _except(known, is_missing)
    plain = _all_matching(others, _PLAIN)
    others = _except(others, plain)
    grouped = [] if has_decimal_comma else _all_matching(others, _GROUPED_BY_COMMA)
    others = _except(others, grouped)
    with_comma = _all_matching(others, _DECIMAL_COMMA)
    others = _except(others, with_comma)
    of_thousands = pl.all().str.replace_all(",", "", literal=True)
    without_points = pl.all().str.replace_all(".", "", literal=True)
    numbers = _beside(
        known.select(plain),
        known.select(grouped).select(of_thousands),
        known.select(with_comma).select(
            without_points.str.replace(",", ".", literal=True)
        ),
    )
    lowered = others.select(pl.all().str.to_lowercase())
    truths = _all_matching(lowered, _TRUTH_VALUE)
    others = _except(others, truths)
    rest = stripped.select(others.columns).select(pl.all().replace({"": None}))
    converted = texts.with_columns(
        *(
            known.select(missing).select(pl.all().cast(pl.Float64))
            if len(table) > 0
            else ()
        ),
        *_numbers(texts, numbers),
        *lowered.select(truths).select(pl.all() == "true"),
        *rest.with_columns(*_dates(rest)),
    )
    converted.columns = table.columns
    return converted


def parsed_labels(texts: polars.Series) -> Any:
    """Convert labels to whole numbers where each is written as one; else text.

    Parameters
    ----------
    texts : polars.Series of String
        The labels.

    Returns
    -------
    polars.Series of Int64, Float64 or String
        ``"007"`` stays text, for it is not ``"7"``; ``"1.0"`` is the number.
    """
    pl = import_extra("polars", "cli")
    stripped = texts.str.strip_chars().to_frame("0")
    is_zero_first = pl.all().str.contains(_LEADING_ZERO).any()
    if not _all_matching(stripped, rf"^{_NUMBER}$") or _of_each(
        stripped, is_zero_first
    ):
        return texts
    is_whole = bool(_all_matching(stripped, _INTEGER))
    labels = stripped["0"].alias(texts.name)
    numbers = labels.cast(pl.Int64 if is_whole else pl.Float64, strict=False)
    if numbers.null_count() > labels.null_count():  # more digits than a number has
        return texts
    return numbers


def holds_decimal_commas(table: polars.DataFrame) -> bool:
    """Whether a column of text holds numbers that must have a decimal comma.

    Parameters
    ----------
    table : polars.DataFrame
        Columns of String.

    Returns
    -------
    bool
        False where all commas may as well part thousands.
    """
    pl = import_extra("polars", "cli")
    texts = _by_position(table)
    has_comma = pl.all().str.contains(",", literal=True).any()
    texts = texts.select(_of_each(texts, has_comma))
    known = _without_missing(texts.select(pl.all().str.strip_chars()))
    numbers = known.select(_all_matching(known, _DECIMAL_COMMA))
    numbers = numbers.select(_of_each(numbers, has_comma))
    return len(_all_matching(numbers, _GROUPED_BY_COMMA)) < numbers.width


def _by_position(table: polars.DataFrame) -> polars.DataFrame:
    """Name columns by their place: Polars takes a name such as ``^.*$`` for many."""
    renamed = table.clone()
    renamed.columns = [str(position) for position in range(table.width)]
    return renamed


def _without_missing(stripped: polars.DataFrame) -> polars.DataFrame:
    pl = import_extra("polars", "cli")
    return stripped.select(pl.all().replace(dict.fromkeys(("", *_MISSING))))


def _of_each(table: polars.DataFrame, expression: Any) -> list[str]:
    """Columns of which something is true."""
    if table.width == 0:
        return []
    (values,) = table.select(expression).rows()
    return [name for name, value in zip(table.columns, values, strict=True) if value]


def _all_matching(table: polars.DataFrame, pattern: str) -> list[str]:
    """Columns where all values that are there match, and there are some."""
    pl = import_extra("polars", "cli")
    return _of_each(table, pl.all().str.contains(pattern).min())


def _except(table: polars.DataFrame, names: Iterable[str]) -> polars.DataFrame:
    left_out = set(names)
    return table.select(name for name in table.columns if name not in left_out)


def _beside(*tables: polars.DataFrame) -> polars.DataFrame:
    """Columns of all tables, of which some have none."""
    pl = import_extra("polars", "cli")
    beside: polars.DataFrame = pl.DataFrame([c for table in tables for c in table])
    return beside


def _numbers(texts: polars.DataFrame, known: polars.DataFrame) -> polars.DataFrame:
    """Numbers of columns; their text where two values would become one number."""
    pl = import_extra("polars", "cli")
    zero_first = _of_each(known, pl.all().str.contains(_LEADING_ZERO).any())
    whole = _all_matching(_except(known, zero_first), _INTEGER)
    floats = _except(known, whole).select(pl.all().cast(pl.Float64, strict=False))
    integers = known.select(whole).select(pl.all().cast(pl.Int64, strict=False))
    merged = _fewer(floats.select(zero_first), known, pl.all().n_unique())
    # More digits than an integer has: an identifier.
    merged += _fewer(integers, known, pl.all().count())
    return _beside(floats, integers).with_columns(*texts.select(merged))


def _fewer(
    converted: polars.DataFrame, known: polars.DataFrame, count: Any
) -> list[str]:
    """Columns of which there are fewer values once they are converted."""
    if converted.width == 0:
        return []
    (now,), (before,) = (
        converted.select(count).rows(),
        known.select(converted.columns).select(count).rows(),
    )
    compared = zip(converted.columns, now, before, strict=True)
    return [name for name, n_now, n_before in compared if n_now < n_before]


def _dates(texts: polars.DataFrame) -> Iterable[polars.Series]:
    """Dates of the columns all of whose values are written as such."""
    pl = import_extra("polars", "cli")
    iso, dotted = _all_matching(texts, _ISO_DATE), _all_matching(texts, _DOTTED_DATE)

    def read(text: Any, form: str) -> Any:
        return text.str.to_datetime(form, time_unit="us", strict=False)

    plain = {
        name: pl.col(name).str.replace("T", " ", literal=True).str.strip_chars_end("Z")
        for name in iso
    }
    dates = texts.select(
        *(
            pl.coalesce(*(read(text, form) for form in _DATE_FORMATS)).alias(name)
            for name, text in plain.items()
        ),
        *(read(pl.col(name), "%d.%m.%Y") for name in dotted),
    )
    return _except(dates, _fewer(dates, texts, pl.all().count()))
