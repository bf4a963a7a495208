"""Tables as specifications say."""

import pytest

from sklgm.report import protocol_tables
from sklgm.report._protocol_tables import all_rows_table
from sklgm.results import ColumnSpec, ProtocolDescription, TableSpec
from tests.tidy_rows import CLEAN, area, control, plain, rate, row, table_of

RATE = ColumnSpec("attack_success_rate", "Misled", "rate")
ACCURACY = ColumnSpec("clean_accuracy", "Accuracy", "share")


def tables(rows, *columns, **changes):
    values = {"title": "{dataset}, {attack}", "where": {"attack": ...}}
    spec = TableSpec(**values | {"columns": columns} | changes)
    description = ProtocolDescription(
        name="transfer", title="t", question="q", tables=(spec,)
    )
    return protocol_tables(table_of(rows), description)


def cells(table):
    """Text and details of each cell, row by row."""
    return [
        [
            [] if cell is None else plain([cell.text, *cell.details])
            for cell in row.cells
        ]
        for row in table.rows
    ]


def headers(table):
    return [(row.header, row.detail) for row in table.rows]


# Rows and tables


def test_rows_are_victims_in_their_order_with_variants_behind_them():
    rows = [rate("other_net", 1), rate("lgm", 1, variant="diag"), rate("lgm", 1)]
    (table,) = tables([*rows, rate("softmax", 1)], RATE)
    assert headers(table) == [
        ("softmax", ""),
        ("L-GM", ""),
        ("L-GM (diag)", ""),
        ("other net", ""),
    ]


def test_a_table_for_each_value_of_the_columns_to_split_by():
    rows = [rate("lgm", 1, bound=8 / 255), rate("lgm", 2), rate("lgm", 3, dataset="b")]
    made = tables([*rows, control("lgm", 4)], RATE)
    assert [table.caption for table in made] == [
        "digits, feature collision, l-infinity 8/255",
        "digits, feature collision",
        "b, feature collision",
    ]


def test_only_rows_of_the_protocol_that_meet_the_conditions_are_shown():
    rows = [rate("lgm", 1), rate("lgm", 2, protocol="frontier")]
    rows += [rate("softmax", 3), rate("lgm_trim", 4, variant="diag")]
    where = {"victim": ("lgm", "lgm_trim"), "variant": None}
    (table,) = tables(rows, RATE, where=where)
    assert headers(table) == [("L-GM", "")]


def test_header_and_details_name_the_values_of_the_index():
    rows = [rate("lgm", 1, share=0.05), rate("lgm", 2, bound=0.5, n_poisons=1)]
    (table,) = tables(
        rows,
        RATE,
        split=(),
        index=("attack", "bound", "reach", "n_poisons", "share", "victim"),
        title="all",
        header="{attack}",
        header_title="Attack",
        details=("{n_poisons}", "{share} of the class"),
        noun="row",
    )
    assert table.columns == ["Attack", "Misled"]
    assert [(h, *plain([d])) for h, d in headers(table)] == [
        ("feature collision, l-infinity 0.5", "1 row"),
        ("feature collision", "25 rows; 5 % of the class"),
    ]


def test_rows_are_sorted_by_a_metric_within_each_victim():
    rows = [row("lgm", value=v, variant=n) for n, v in [("a", 0.2), ("b", 0.9)]]
    (table,) = tables(
        [*rows, row("softmax", value=0.1)], ACCURACY, sort_by=row().metric
    )
    assert [header for header, _ in headers(table)] == [
        "softmax",
        "L-GM (b)",
        "L-GM (a)",
    ]


def test_a_table_of_the_largest_number_of_poisons():
    rows = [row("lgm"), row("softmax", n_poisons=5)]
    (table,) = tables(rows, ACCURACY, only_most=True, title="{n_poisons}")
    assert (table.caption, headers(table)) == ("25 poisons", [("L-GM", "")])


def test_nothing_measured_makes_no_table():
    assert tables([], RATE) == []
    assert tables([row("lgm")], RATE) == []


# Columns


def test_a_column_for_each_value_and_none_where_nothing_was_measured():
    rows = [rate("lgm", 1, n_poisons=5), rate("lgm", 2), rate("softmax", 3)]
    by_count = ColumnSpec(
        "attack_success_rate", "{n_poisons}", "rate", by=("n_poisons",)
    )
    (table,) = tables(rows, by_count, ColumnSpec("l2", "Norm"))
    assert table.columns == ["Model", "5 poisons", "25 poisons"]
    assert [[bool(cell) for cell in row] for row in cells(table)] == [
        [False, True],
        [True, True],
    ]


def test_only_the_largest_number_of_poisons_fills_a_column():
    rows = [rate("lgm", 1, n_poisons=5), rate("lgm", 2)]
    most = ColumnSpec("attack_success_rate", "At {n_poisons}", "rate", only_most=True)
    (table,) = tables(rows, most)
    assert table.columns == ["Model", "At 25 poisons"]
    assert cells(table)[0][0][1] == "2 of 50"


def test_a_column_without_the_attack_is_the_same_for_all_attacks():
    rows = [rate("lgm", 1, bound=0.5), rate("lgm", 2), control("lgm", 3)]
    clean = ColumnSpec("attack_success_rate", "Control", "rate", where={"attack": None})
    for table in tables(rows, RATE, clean):
        assert cells(table)[0][1][1] == "3 of 50"
    (table,) = tables(rows, RATE, clean, split=(), index=("bound", "victim"))
    assert table.caption == "none, none"  # of several
    assert [row[1][1] for row in cells(table)] == ["3 of 50", "3 of 50"]


def test_a_column_falls_back_where_there_is_no_row():
    without = ColumnSpec(
        "clean_accuracy", "", "share", where={"attack": None}, detail="without"
    )
    column = ColumnSpec(
        "clean_accuracy", "Accuracy", "share", detail="with", otherwise=without
    )
    rows = [rate("lgm", 1), rate("softmax", 1), row("lgm", value=0.25)]
    rows += [row(victim, value=0.5, **CLEAN) for victim in ("lgm", "softmax")]
    (table,) = tables(rows, RATE, column)
    assert [row[1][:2] for row in cells(table)] == [
        ["50.0 %", "without"],
        ["25.0 %", "with"],
    ]


def test_values_of_a_further_column_share_a_cell():
    rows = [area("lgm", 0.75, "posterior"), area("lgm", 0.5, "likelihood")]
    rows.append(row("lgm", "auroc", None, score="combined"))
    (table,) = tables(rows, ColumnSpec("auroc", "AUROC", "area", join="score"))
    assert cells(table) == [[["0.500 / 0.750", "likelihood / posterior"]]]


def test_differences_are_taken_seed_by_seed_to_the_same_variant_or_the_model_itself():
    rows = [
        row("softmax", value=0.5),
        row("softmax", value=0.25, variant="b"),
        row("softmax", value=0.75, seed=1),
        row("lgm", value=0.5, variant="a"),
        row("lgm", value=0.5, variant="a", seed=1),
        row("lgm", value=0.5, variant="b"),
        row("lgm", value=0.5, variant="b", seed=2),
    ]
    minus = {"victim": "softmax"}
    (table,) = tables(
        rows, ACCURACY, ColumnSpec("clean_accuracy", "Less", "share", minus=minus)
    )
    assert [row[1] for row in cells(table)] == [
        [],
        [],
        ["−12.5 points", "−25.0 to +0.0 points over 2 seeds"],
        ["+25.0 points"],
    ]


# Cells


@pytest.mark.parametrize(
    ("rows", "column", "expected"),
    [
        ([rate("lgm", 14)], RATE, ["28 %", "14 of 50", "17 to 42 %"]),
        (
            [rate("lgm", 1), rate("lgm", 3, seed=1)],
            RATE,
            ["4 %", "4 of 100", "2 to 10 %"],
        ),
        ([rate("lgm", 0, 0)], RATE, ["unknown", "no target counts"]),
        ([row(value=None)], ACCURACY, ["unknown"]),
        ([row(n=10_000)], ACCURACY, ["50.0 %", "n = 10,000"]),
        (
            [row(low=0.25, high=0.75)],
            ACCURACY,
            ["50.0 %", "25.0 % to 75.0 %", "n = 50"],
        ),
        (
            [row(), row(value=0.75, seed=1)],
            ACCURACY,
            ["62.5 %", "50.0 % to 75.0 % over 2 seeds"],
        ),
        (
            [row(value=0.9998)],
            ColumnSpec("clean_accuracy", "", "area"),
            ["> 0.999", "n = 50"],
        ),
    ],
    ids=["rate", "seeds", "uncounted", "unknown", "n", "interval", "range", "near-1"],
)
def test_a_cell_holds_value_interval_and_n(rows, column, expected):
    (table,) = tables(rows, column)
    assert cells(table) == [[expected]]


def test_intervals_in_the_unit_range_are_drawn():
    columns = [RATE, ColumnSpec("auroc", "", "area"), ColumnSpec("l2", "")]
    rows = [rate("lgm", 14), area("lgm", 0.5), row(metric="l2", low=0.1, high=0.9)]
    ((with_rate, with_area, with_number),) = (
        r.cells for r in tables(rows, *columns)[0].rows
    )
    assert with_rate.interval[1] == 0.28
    assert with_area.interval == (0.49, 0.5, 0.51)
    assert with_number.interval is None


# All numbers


def test_all_rows_are_listed_without_empty_columns():
    table = all_rows_table(table_of([row(value=None), rate("softmax", 14, bound=0.5)]))
    assert "detector" not in table.columns
    texts = [cell.text for cell in table.rows[1].cells]
    shown = dict(zip(table.columns[1:], texts, strict=True))
    assert table.rows[1].header == "softmax"
    assert (shown["bound"], shown["value"], shown["95 % interval"]) == (
        "0.5",
        "0.28",
        "0.1747 to 0.4167",
    )
    assert table.rows[0].cells[table.columns.index("value") - 1].text == "unknown"
