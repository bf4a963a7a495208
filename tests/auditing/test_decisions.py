import numpy as np
import pytest

from sklgm.auditing import read_decisions
from sklgm.auditing._decisions import check_decisions


def written(tmp_path, text):
    path = tmp_path / "decisions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_decisions_are_read_from_a_file(tmp_path):
    path = written(
        tmp_path,
        "\ufeffname,row,decision\na.png,3, Keep\nb.png,0,relabel\nc.png,7,\n"
        "d.png,9,unsure\n",
    )
    assert read_decisions(path) == {3: "keep", 0: "relabel", 9: "unsure"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row,label\n1,keep\n", "has no column decision"),
        ("row,decision\nx,keep\n", "line 2: row 'x' is not a row number"),
        ("row,decision\n1,bad\n", "line 2: decision 'bad' must be one of keep"),
        ("row,decision\n1,keep\n1,drop\n", "line 3: row 1 has two decisions"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_decisions(written(tmp_path, text))


def test_unsure_rows_are_left_out():
    checked = check_decisions({4: "drop", 1: "keep", 2: "unsure"}, 5)
    np.testing.assert_array_equal(checked.rows, [1, 4])
    np.testing.assert_array_equal(checked.is_right, [True, False])
