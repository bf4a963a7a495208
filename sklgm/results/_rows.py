"""Rows of the tidy table and of the table of trials, and the types of their columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sklgm._running import import_extra

if TYPE_CHECKING:
    import polars as pl
else:
    pl = import_extra("polars", "cli")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number, with all that is needed to place it in a table.

    Parameters
    ----------
    dataset : str
        Display name, for instance ``"CIFAR-10 (JPEG)"``.
    protocol : str
        How it was measured: the name of a :class:`ProtocolDescription`.
    victim : str or None, default=None
        The model that was measured, such as ``"softmax"`` or ``"lgm_trim"``.
    variant : str or None, default=None
        How it differs from the model of that name, such as ``"diag"`` or
        ``"margin=1"``; None for the model itself.
    score : str or None, default=None
        Kind of score that ranks the rows, such as ``"posterior"``; None where the
        number has none.
    detector : str or None, default=None
        The detector that was measured, such as ``"deep_knn"``; None without.
    attack : str or None, default=None
        Name of the attack without its bound; None without an attack.
    bound : float or None, default=None
        Largest change of a pixel that the attack may make, in units of the pixel
        range; None for no bound.
    reach : float or None, default=None
        Reach of an adaptive attack, where it is varied.
    share : float or None, default=None
        Share of rows that are poisons, or of labels that are flipped, in [0, 1], where
        the protocol sets it.
    n_poisons : int, default=0
        Number of poisons per target; 0 without.
    metric : str
        What the number is, such as ``"attack_success_rate"`` or ``"auroc"``.
    value : float or None
        The number; None where it is unknown.
    low, high : float or None, default=None
        Ends of the 95 % interval; None if there is none.
    n : int
        Number of cases behind `value`: the targets that count, the outliers, or the
        test rows.
    seed : int
        Seed of the run.
    """

    dataset: str
    protocol: str
    victim: str | None = None
    variant: str | None = None
    score: str | None = None
    detector: str | None = None
    attack: str | None = None
    bound: float | None = None
    reach: float | None = None
    share: float | None = None
    n_poisons: int = 0
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One target under attack.

    Parameters
    ----------
    dataset, protocol : str
        As in :class:`Row`.
    victim, variant, attack : str or None, default=None
        As in :class:`Row`.
    bound, reach, share : float or None, default=None
        As in :class:`Row`.
    n_poisons : int, default=0
        Number of poisons crafted for this target.
    seed : int
        Seed of the run.
    target_index : int or None, default=None
        Row of the target in the test set.
    target_label : str or None, default=None
        True label of the target, as text.
    base_label : str or None, default=None
        Label that the poisons claim, as text.
    control_label : str or None, default=None
        What the model refitted without poisons predicts for the target.
    predicted_label : str or None, default=None
        What the model refitted with the poisons predicts for the target.
    success : bool or None, default=None
        Whether the target got its base label.
    counted : bool or None, default=None
        Whether the target is one of those behind the rate of the victim: the control
        got it right.
    collision_ratio : float or None, default=None
        Mean of |f_poison - f_target| / |f_base - f_target|, at least 0.
    l2 : float or None, default=None
        Mean Euclidean norm of the perturbation, in units of the pixel range.
    linf : float or None, default=None
        Largest change of a pixel, in units of the pixel range.
    control_margin : float or None, default=None
        log p(target label) - log p(base label) of the target without the poisons, in
        natural units.
    margin : float or None, default=None
        The same with the poisons.
    auroc : float or None, default=None
        Of the posterior of the claimed labels by the model refitted with the poisons:
        these against the other rows.
    n_iter : int or None, default=None
        Iterations of the attack.
    stop_reason : str or None, default=None
        Why the attack stopped.
    """

    dataset: str
    protocol: str
    victim: str | None = None
    variant: str | None = None
    attack: str | None = None
    bound: float | None = None
    reach: float | None = None
    share: float | None = None
    n_poisons: int = 0
    seed: int
    target_index: int | None = None
    target_label: str | None = None
    base_label: str | None = None
    control_label: str | None = None
    predicted_label: str | None = None
    success: bool | None = None
    counted: bool | None = None
    collision_ratio: float | None = None
    l2: float | None = None
    linf: float | None = None
    control_margin: float | None = None
    margin: float | None = None
    auroc: float | None = None
    n_iter: int | None = None
    stop_reason: str | None = None


_TYPES = {"str": pl.String, "float": pl.Float64, "int": pl.Int64, "bool": pl.Boolean}


def _schema(cls: type[Row] | type[Trial]) -> pl.Schema:
    """Column types of a class of rows, read from its annotations."""
    return pl.Schema(
        {field.name: _TYPES[str(field.type).split(" |")[0]] for field in fields(cls)}
    )


#: Columns of the tidy table and their polars types.
TABLE_SCHEMA = _schema(Row)

#: Columns of the table of trials and their polars types.
TRIALS_SCHEMA = _schema(Trial)


def frame_of(rows: Iterable[Row] | Iterable[Trial], cls: type) -> pl.DataFrame:
    """Gather rows in a data frame.

    Parameters
    ----------
    rows : iterable of Row or Trial
        All of them instances of `cls`. Scalars may be numpy's.
    cls : type
        ``Row`` or ``Trial``.

    Returns
    -------
    DataFrame
        Of the schema of `cls`.

    Raises
    ------
    TypeError
        If a row is of another class, or a value is of another type than its column.
    """
    all_rows = list(rows)
    for index, row in enumerate(all_rows):
        if not isinstance(row, cls):
            raise TypeError(f"rows[{index}]={row!r} must be a {cls.__name__}.")
    columns = []
    for name, dtype in _schema(cls).items():
        values = [getattr(row, name) for row in all_rows]
        try:
            columns.append(pl.Series(name, values, dtype=dtype, strict=True))
        except TypeError as error:
            raise TypeError(f"column {name!r}: {error}") from error
    return pl.DataFrame(columns)


def checked_frame(frame: pl.DataFrame, schema: pl.Schema, name: str) -> pl.DataFrame:
    """Check the columns of a table.

    Parameters
    ----------
    frame : DataFrame
        The table.
    schema : Schema
        What it must have.
    name : str
        Name of the table for the error.

    Returns
    -------
    DataFrame
        `frame`, with null where numbers are not finite.

    Raises
    ------
    ValueError
        If a column is missing, unknown, of another type or at another place.
    """
    if frame.schema != schema:
        found, wanted = set(frame.schema.items()), set(schema.items())
        wrong = sorted({column for column, _ in found ^ wanted}) or ["order"]
        raise ValueError(
            f"{name} must have the columns of its schema, each of its type and at its "
            f"place: {', '.join(wrong)} differs."
        )
    number = pl.col(pl.Float64)
    return frame.with_columns(pl.when(number.is_finite()).then(number))
