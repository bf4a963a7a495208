"""Files whose labels are to be corrected: what is none is refused."""

import numpy as np
import polars as pl
import pytest

from sklgm.datasets._npz_source import NpzSource
from sklgm.datasets._table_source import TextTableSource


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.zeros((2, 1))}, "lacks the array 'y'; it holds .'X'.."),
        ({"X": np.zeros((2, 1)), "y": np.zeros((2, 1))}, r"y must have the shape"),
        ({"X": np.zeros((0, 1)), "y": np.zeros(0)}, r"y must have the shape"),
        (
            {"X": np.zeros((1, 1)), "y": np.array(["2026-01-02"], "M8[D]")},
            "y must hold class labels, got datetime64",
        ),
    ],
)
def test_an_archive_without_labels_is_named(arrays, message, tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=f"rows.npz.*{message}"):
        NpzSource(path)


def test_what_is_no_archive_is_named(tmp_path):
    path = tmp_path / "rows.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is no .npz archive, or is truncated"):
        NpzSource(path)


def test_an_unknown_column_to_leave_out_is_named(tmp_path):
    path = tmp_path / "rows.csv"
    pl.DataFrame({"a": [1, 2], "label": ["u", "v"]}).write_csv(path)
    with pytest.raises(ValueError, match="has no column 'b' of drop_columns"):
        TextTableSource(path, None, ["b"])


def test_an_empty_label_is_none(tmp_path):
    path = tmp_path / "rows.csv"
    pl.DataFrame({"a": [1, 2], "label": ["u", "v"]}).write_csv(path)
    source = TextTableSource(path, None, [])
    assert source.label_of("w") == "w"
    with pytest.raises(ValueError, match="' ' is not a label"):
        source.label_of(" ")


def test_a_quote_that_never_ends_is_named(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('a,label\n1,u\n2,"v\n3,u\n')
    with pytest.raises(ValueError, match=r"rows\.csv"):
        TextTableSource(path, None, [])
