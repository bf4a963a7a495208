"""Tables of a run: the tidy table, pivoted as descriptions of protocols say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sklgm.plotting import pool_seeds, victim_color
from sklgm.report._cells import Cell, Table, TableRow, value_cell
from sklgm.report._names import (
    ATTACK_COLUMNS,
    filled,
    groups,
    names_of,
    order_of,
    select,
    sorted_groups,
    titled,
)
from sklgm.results import (
    TABLE_SCHEMA,
    ColumnSpec,
    ProtocolDescription,
    RunResult,
    TableSpec,
)

if TYPE_CHECKING:
    import polars as pl

#: Columns of the tidy table that say what was measured.
_KEY = [c for c in TABLE_SCHEMA if c not in ("value", "low", "high", "n")]

#: Cells by the values of the index.
_Cells = dict[tuple[Any, ...], Cell]


def run_tables(
    result: RunResult, descriptions: Iterable[ProtocolDescription]
) -> list[Table]:
    """Tables of a run, as on its page.

    Parameters
    ----------
    result : RunResult
        The run; any protocol may be missing.
    descriptions : iterable of ProtocolDescription
        Protocols, in the order of the page. Numbers of others are left out.

    Returns
    -------
    list of Table
        Protocol by protocol.
    """
    return [
        table
        for description in descriptions
        for table in protocol_tables(result.table, description)
    ]


def protocol_tables(
    table: pl.DataFrame, description: ProtocolDescription
) -> list[Table]:
    """Make every table of one protocol.

    Parameters
    ----------
    table : DataFrame
        Tidy table.
    description : ProtocolDescription
        The protocol.

    Returns
    -------
    list of Table
        Empty if nothing was measured.
    """
    # What was measured without an attack may be recorded once per attack.
    own = table.filter(protocol=description.name).unique(maintain_order=True)
    tables = []
    for spec in description.tables:
        metrics = tuple({c.metric for c in spec.columns if not _is_clean(c)})
        rows = select(own, {**spec.where, "metric": metrics or ...})
        for values, group in groups(rows, spec.split):
            made = _table(own, group, values, spec)
            if made.rows:
                tables.append(made)
    return tables


def _table(
    own: pl.DataFrame, group: pl.DataFrame, values: Mapping[str, Any], spec: TableSpec
) -> Table:
    """Make one table: `group` says which rows it has, `own` what may fill them."""
    most = group["n_poisons"].max()
    where = {**spec.where, **values}
    if spec.only_most:
        where["n_poisons"] = most
        group = group.filter(n_poisons=most)
    values = {"n_poisons": most, **values}
    columns = [
        column
        for column_spec in spec.columns
        for column in _columns(own, column_spec, where, values, spec)
    ]
    rows = []
    for at in _sorted_index(group, spec):
        keys = tuple(at.values()), _without_attack(at)
        cells = [found.get(keys[0], found.get(keys[1])) for _, found in columns]
        if not any(cells):
            continue
        names = names_of({**values, **at}, spec.noun)
        color = victim_color(at["victim"]) if at.get("victim") else None
        details = "; ".join(filled(spec.details, names))
        rows.append(TableRow(titled(spec.header, names), cells, details, color))
    caption = titled(spec.title, names_of(values, spec.noun))
    titles = [spec.header_title, *(title for title, _ in columns)]
    return _without_empty_columns(Table(caption, titles, rows))


def _columns(
    own: pl.DataFrame,
    column: ColumnSpec,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    spec: TableSpec,
) -> list[tuple[str, _Cells]]:
    """Title and cells of each column of a table that one specification makes."""
    wanted = {**where, **column.where, "metric": column.metric}
    index = list(spec.index)
    if _is_clean(column):
        index = [name for name in index if name not in ATTACK_COLUMNS]
        wanted = {
            name: value
            for name, value in wanted.items()
            if name in column.where or name not in ATTACK_COLUMNS
        }
    if column.only_most:
        wanted["n_poisons"] = values["n_poisons"]
    rows = select(own, wanted)
    if column.minus is not None:
        rows = _differences(rows, select(own, {**wanted, **column.minus}), column.minus)
    instead: _Cells = {}
    if column.otherwise is not None:
        for _, cells in _columns(own, column.otherwise, where, values, spec):
            instead |= cells
    join = [] if column.join is None else [column.join]
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], list[dict[str, Any]]]] = {}
    if not column.by:
        found[()] = {}
    pooled = pool_seeds(rows, [*column.by, *index, *join])
    for row in pooled.iter_rows(named=True):
        of_column = found.setdefault(tuple(row[name] for name in column.by), {})
        of_column.setdefault(tuple(row[name] for name in index), []).append(row)
    columns = []
    for by in sorted(found, key=lambda by: [*map(order_of, column.by, by)]):
        at = dict(zip(column.by, by, strict=True))
        names = names_of({**values, **at}, spec.noun)
        details = filled([column.detail] if column.detail else [], names)
        cells = {key: _cell(rows, column, details) for key, rows in found[by].items()}
        columns.append((titled(column.title, names), instead | cells))
    return columns


def _cell(
    rows: Sequence[Mapping[str, Any]], column: ColumnSpec, details: Sequence[str]
) -> Cell:
    """Show a pooled row, or those that share a cell."""
    if column.join is None:
        victim = rows[0].get("victim")
        return value_cell(
            rows[0],
            column.kind,
            details=details,
            color=victim_color(victim) if victim else None,
            is_difference=column.minus is not None,
        )
    join = column.join
    known = [row for row in rows if row["n_values"]]
    known.sort(key=lambda row: order_of(join, row[join]))
    if not known:
        return Cell("unknown", details)
    texts = [value_cell(row, column.kind).text for row in known]
    joined = " / ".join(str(row[join] or "all") for row in known)
    return Cell(" / ".join(texts), [*details, joined])


def _differences(
    rows: pl.DataFrame, others: pl.DataFrame, minus: Mapping[str, Any]
) -> pl.DataFrame:
    """Values minus those of `others`, seed by seed; see `ColumnSpec.minus`."""
    key = [name for name in _KEY if name not in minus]
    as_set = others.filter(others["variant"].is_null()).drop("variant")
    same = rows.join(others, key, how="left", nulls_equal=True, suffix="_same")
    both = same.join(
        as_set,
        [name for name in key if name != "variant"],
        how="left",
        nulls_equal=True,
        suffix="_as_set",
    )
    other = both["value_same"].fill_null(both["value_as_set"])
    both = both.with_columns(both["value"] - other).drop_nulls("value")
    return both.select(rows.columns).join(others, _KEY, how="anti", nulls_equal=True)


def _sorted_index(group: pl.DataFrame, spec: TableSpec) -> list[dict[str, Any]]:
    """Values of the index, one per row of the table, in its order."""
    rows = [at for at, _ in sorted_groups(group, spec.index)]
    if spec.sort_by is None:
        return rows
    pooled = pool_seeds(group.filter(metric=spec.sort_by), spec.index)
    means = {
        tuple(row[name] for name in spec.index): row["value"] or 0.0
        for row in pooled.iter_rows(named=True)
    }
    first = spec.index[0]  # sorted within each victim
    return sorted(
        rows,
        key=lambda at: (order_of(first, at[first]), -means.get((*at.values(),), 0.0)),
    )


def _is_clean(column: ColumnSpec) -> bool:
    """Whether a column shows what was measured without an attack."""
    return column.where.get("attack", ...) is None


def _without_attack(at: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in at.items() if name not in ATTACK_COLUMNS)


def _without_empty_columns(table: Table) -> Table:
    kept = [
        index
        for index in range(len(table.columns) - 1)
        if any(row.cells[index] is not None for row in table.rows)
    ]
    titles = [table.columns[0], *(table.columns[index + 1] for index in kept)]
    rows = [
        TableRow(row.header, [row.cells[i] for i in kept], row.detail, row.color)
        for row in table.rows
    ]
    return Table(table.caption, titles, rows)


def all_rows_table(table: pl.DataFrame) -> Table:
    """Every number as a row of text; columns without any value are left out.

    Parameters
    ----------
    table : DataFrame
        Tidy table.

    Returns
    -------
    Table
    """
    shown = [name for name in TABLE_SCHEMA if name == "value" or table[name].count()]
    shown = [name for name in shown if name not in ("victim", "low", "high")]
    titles = [*shown]
    titles.insert(titles.index("value") + 1, "95 % interval")
    rows = []
    for row in table.iter_rows(named=True):
        texts = {name: "" if row[name] is None else str(row[name]) for name in shown}
        texts["value"] = "unknown" if row["value"] is None else f"{row['value']:.4g}"
        texts["95 % interval"] = ""
        if row["low"] is not None and row["high"] is not None:
            texts["95 % interval"] = f"{row['low']:.4g} to {row['high']:.4g}"
        cells = [Cell(texts[title]) for title in titles]
        rows.append(TableRow(row["victim"] or "", cells))
    caption = "Every number as it stands in table.parquet"
    return Table(caption, ["victim", *titles], rows)
