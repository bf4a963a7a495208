"""Tables as lines of plain text."""

import pytest

from sklgm.report import detail_lines
from sklgm.report._cells import Cell, Table, TableRow
from sklgm.report._plain_text import sentence_lines, table_lines

NARROW = "\N{NO-BREAK SPACE}"
TABLE = Table(
    "How often",
    ["Model", "Fooled, by far", "Accuracy"],
    [
        TableRow("softmax", [Cell("7 of 25", ["28 %", "14 to 48 %"]), None], "diag"),
        TableRow("L-GM + trim", [Cell("0 of 25"), Cell(f"98.2{NARROW}%")]),
    ],
)


def test_a_table_has_a_line_per_row_and_titles_that_end_together():
    assert table_lines(TABLE, 30) == [
        "             Fooled,",
        "Model         by far  Accuracy",
        "softmax      7 of 25         \N{EN DASH}",
        "L-GM + trim  0 of 25    98.2 %",
    ]


def test_titles_take_one_line_where_there_is_room():
    assert table_lines(TABLE)[0] == "Model        Fooled, by far  Accuracy"


def test_long_names_break_between_words():
    assert table_lines(TABLE, 28)[-2:] == [
        "L-GM +     0 of 25    98.2 %",
        "  trim",
    ]


def test_details_stand_column_below_column_with_all_numbers():
    assert detail_lines(TABLE) == [
        "How often",
        "  Fooled, by far",
        "    softmax, diag    7 of 25  28 %; 14 to 48 %",
        "    L-GM + trim      0 of 25",
        "  Accuracy",
        "    L-GM + trim       98.2 %",
    ]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_sentences_break_between_words_and_keep_numbers_with_units(width):
    text = f"a well-known share of 98.2{NARROW}% of the rows " * 5
    lines = sentence_lines(text, width)
    assert max(map(len, lines)) <= width
    assert " ".join(lines) == text.replace(NARROW, " ").strip()
    assert not any(line.endswith(("98.2", "well-")) for line in lines)
