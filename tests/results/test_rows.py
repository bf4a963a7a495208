"""Rows of the tidy table and of the trials."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from sklgm.results import TABLE_SCHEMA, TRIALS_SCHEMA, Row, Trial
from tests.tidy_rows import result_of, row, trial


@pytest.mark.parametrize(
    ("cls", "schema"),
    [(Row, TABLE_SCHEMA), (Trial, TRIALS_SCHEMA)],
    ids=["row", "trial"],
)
def test_columns_are_the_fields_in_their_order(cls, schema):
    assert [field.name for field in dataclasses.fields(cls)] == list(schema)


def test_types_follow_the_annotations():
    assert TABLE_SCHEMA["victim"] == pl.String
    assert TABLE_SCHEMA["bound"] == pl.Float64
    assert TABLE_SCHEMA["n"] == pl.Int64
    assert TRIALS_SCHEMA["success"] == pl.Boolean
    assert TRIALS_SCHEMA["target_label"] == pl.String


def test_rows_stand_in_the_table_as_given():
    table = result_of([row("softmax", value=0.25), row("lgm", bound=8 / 255)]).table
    assert table.schema == TABLE_SCHEMA
    assert table["victim"].to_list() == ["softmax", "lgm"]
    assert table["bound"].to_list() == [None, 8 / 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None])
def test_numbers_that_are_not_finite_are_null(value):
    table = result_of([row(value=value, low=value, high=1.0)]).table
    assert table.select("value", "low", "high").row(0) == (None, None, 1.0)


def test_numpy_scalars_and_whole_numbers_are_taken():
    made = row(value=np.float32(0.5), low=0, n=np.int64(3), seed=np.uint8(7))
    assert result_of([made]).table.select("value", "low", "n", "seed").row(0) == (
        0.5,
        0.0,
        3,
        7,
    )
    trials = result_of(trials=[trial(np.int32(4), np.bool_(True))]).trials
    assert trials.select("target_index", "success").row(0) == (4, True)


@pytest.mark.parametrize(
    ("change", "column"),
    [({"value": "0.5"}, "value"), ({"n": 1.5}, "n"), ({"victim": 3}, "victim")],
    ids=["text", "fraction", "number"],
)
def test_a_value_of_another_type_names_its_column(change, column):
    with pytest.raises(TypeError, match=f"column '{column}'"):
        result_of([row(), row(**change)])


def test_rows_must_be_rows():
    with pytest.raises(TypeError, match=r"rows\[1\]=\{\} must be a Row"):
        result_of([row(), {}])
    with pytest.raises(TypeError, match="must be a Trial"):
        result_of([row()], [row()])
