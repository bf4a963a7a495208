"""Parquet of numbers is read some rows at a time, and is the same as read at once."""

import datetime
import warnings
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from sklgm import audit
from sklgm._running import _scratch
from sklgm.datasets import _labelled_rows, _large_table, load_rows
from sklgm.datasets._parquet_files import ParquetFiles

N_ROWS = 57
LABELS = np.array(["cat", "dog"])[np.random.default_rng(0).permutation(N_ROWS) % 2]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a table at once, and a few rows at a time; say whether that was done."""
    streamed = []
    features_of_large = _large_table.features_of_large

    def noted(*args, **kwargs):
        features = features_of_large(*args, **kwargs)
        streamed.append(features is not None)
        return features

    monkeypatch.setattr(_labelled_rows, "features_of_large", noted)
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))

    def outcome(path, settings):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                loaded = load_rows(path, **settings)
            except ValueError as error:
                loaded = str(error)
        return loaded, sorted(str(each.message) for each in told)

    def both(table, n_values=24, row_group_size=20, **settings):
        path = tmp_path / "rows.parquet"
        table.write_parquet(path, row_group_size=row_group_size)
        expected = outcome(path, settings)
        assert streamed == []
        with monkeypatch.context() as context:
            context.setattr(_large_table, "_LARGE", 1)
            context.setattr(_large_table, "_N_VALUES", n_values)
            context.setattr(_scratch, "_LARGE", 100)
            context.setattr(_scratch, "_CHUNK_ROWS", 13)
            result = outcome(path, settings)
        return result, expected, bool(streamed and streamed.pop())

    return both


def table(**columns):
    return pl.DataFrame({**columns, "label": LABELS})


def assert_same(result, expected):
    (rows, told), (known, also_told) = result, expected
    assert told == also_told
    if isinstance(known, str):
        assert rows == known
        return
    assert rows.X.dtype == known.X.dtype
    np.testing.assert_array_equal(rows.X, known.X)
    np.testing.assert_array_equal(rows.y, known.y)
    assert rows.y.dtype == known.y.dtype
    assert (rows.name, rows.feature_names) == (known.name, known.feature_names)
    assert (rows.groups is None) == (known.groups is None)
    if known.groups is not None:
        np.testing.assert_array_equal(rows.groups, known.groups)


RNG = np.random.default_rng(1)
FLOATS = RNG.normal(size=N_ROWS)
INTEGERS = RNG.integers(0, 100, N_ROWS)
TIMES = 1.7e9 + RNG.integers(0, 1000, N_ROWS)
HOLED = [None if i % 9 == 4 else float(i * i % 31) for i in range(N_ROWS)]
EMBEDDINGS = RNG.normal(size=(N_ROWS, 3))
NUMBERS = {
    "float64": pl.Series(FLOATS),
    "float32": pl.Series(FLOATS, dtype=pl.Float32),
    "times": pl.Series(TIMES),
    "nan": pl.Series(np.where(INTEGERS > 80, np.nan, FLOATS)),
    "missing": pl.Series(HOLED),
    "missing integers": pl.Series(HOLED).cast(pl.Int32),
    "missing at first": pl.Series([None] * 40 + [1.5] * 17),
    "nothing": pl.Series([None] * N_ROWS),
    "boolean": pl.Series(INTEGERS > 50),
    "decimal": pl.Series([Decimal(int(i)) / 4 for i in INTEGERS]),
    "duration": pl.Series([datetime.timedelta(seconds=int(i)) for i in INTEGERS]),
    "time": pl.Series([datetime.time(int(i) % 24, int(i) % 7) for i in INTEGERS]),
    "lists": pl.Series(EMBEDDINGS.tolist()),
    "array": pl.Series(EMBEDDINGS.tolist(), dtype=pl.Array(pl.Float32, 3)),
    "lists of one": pl.Series([[float(i)] for i in INTEGERS]),
    **{
        str(dtype): pl.Series(INTEGERS).cast(dtype)
        for dtype in (
            pl.Int8, pl.Int16, pl.Int32, pl.Int64,
            pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_every_kind_are_those_read_at_once(load, name):
    made = table(first=INTEGERS % 7, column=NUMBERS[name])
    for n_values in (1, 24, 10_000):
        result, expected, was_streamed = load(made, n_values)
        assert was_streamed
        assert_same(result, expected)


def test_all_kinds_together_are_those_read_at_once(load):
    for label in (LABELS, LABELS == "cat", np.where(LABELS == "cat", 7, 1)):
        made = pl.DataFrame({**NUMBERS, "label": label})
        result, expected, was_streamed = load(made)
        assert was_streamed
        assert_same(result, expected)
        assert isinstance(result[0].X.base, np.memmap)  # float64, for the times


def test_numbers_that_float32_holds_are_cast_in_a_file(load):
    result, expected, _ = load(table(a=FLOATS, b=INTEGERS))
    assert_same(result, expected)
    assert isinstance(result[0].X, np.memmap)
    assert result[0].X.dtype == np.float32


def test_labels_groups_and_dropped_columns_are_no_features(load):
    made = table(
        text=LABELS, a=FLOATS, group=[f"g{i % 5}" for i in range(N_ROWS)], b=INTEGERS
    ).rename({"label": "kind"})
    settings = {"label_column": "kind", "drop_columns": ["text"]}
    for more in ({"group_column": "group"}, {"group_column": "b"}):
        settings["drop_columns"] = ["text", *({"group", "b"} - {*more.values()})]
        result, expected, was_streamed = load(made, **settings, **more)
        assert was_streamed
        assert_same(result, expected)


def test_columns_that_tell_labels_are_named_alike(load):
    made = table(a=FLOATS, copy=(LABELS == "cat") * 3, number=np.arange(N_ROWS) * 2.5)
    result, expected, was_streamed = load(made)
    assert was_streamed
    assert_same(result, expected)
    assert len(expected[1]) == 2


ODD = {
    "text": table(a=FLOATS, b=LABELS[::-1]),
    "date": table(b=[datetime.date(2020, 1, 1 + i % 28) for i in range(N_ROWS)]),
    "one text late": table(a=FLOATS, b=["1"] * 56 + ["x"]),
    "large integers": table(a=2**60 + INTEGERS * 1000),
    "merged integers": table(a=2**60 + INTEGERS),
    "large integer late": table(a=[*INTEGERS[:50].tolist(), *[2**60] * 7]),
    "counter": table(a=FLOATS, b=np.arange(N_ROWS) + 5),
    "infinite": table(a=[*FLOATS[:50], *[np.inf] * 7]),
    "too large": table(a=FLOATS * 1e300),
    "missing lists": table(a=[*EMBEDDINGS[:50].tolist(), *[None] * 7]),
    "lists of several lengths": table(a=[*[[1.0, 2.0]] * 50, *[[1.0]] * 7]),
    "lists with gaps": table(a=[[1.0, None, float(i)] for i in INTEGERS]),
    "empty lists": table(a=[[]] * N_ROWS).cast({"a": pl.List(pl.Float64)}),
    "lists of text": table(a=[["x"]] * N_ROWS),
    "bytes": table(a=[b"no image"] * N_ROWS),
    "no features": table(),
    "missing labels": table(a=FLOATS).with_columns(
        label=pl.Series([None, *LABELS[1:]])
    ),
    "labels that are none": table(a=FLOATS).with_columns(label=FLOATS),
    "no label": table(a=FLOATS).rename({"label": "kind"}),
    "two labels": table(a=FLOATS, y=LABELS),
    "no rows": table(a=FLOATS)[:0],
}


@pytest.mark.parametrize("name", ODD)
def test_what_must_be_looked_at_as_a_whole_is_read_at_once(load, name):
    result, expected, was_streamed = load(ODD[name])
    assert not was_streamed
    if isinstance(expected[0], str) or isinstance(expected[0].X, np.ndarray):
        assert_same(result, expected)
    else:
        assert result[0].X.equals(expected[0].X)


@pytest.mark.parametrize(
    "settings",
    [
        {"group_column": "g"},
        {"group_column": "a", "drop_columns": ["a"]},
        {"group_column": "label"},
        {"drop_columns": ["g"]},
        {"label_column": "g"},
        {"image_size": (8, 8)},
    ],
    ids=str,
)
def test_wrong_settings_are_told_alike(load, settings):
    result, expected, was_streamed = load(table(a=FLOATS, b=INTEGERS), **settings)
    assert not was_streamed
    assert isinstance(expected[0], str)
    assert_same(result, expected)


def test_missing_groups_are_told_alike(load):
    made = table(a=FLOATS, b=INTEGERS, g=[None] * 3 + ["g"] * 54)
    result, expected, _ = load(made, group_column="g")
    assert "lacks 3 of 57 values" in expected[0]
    assert_same(result, expected)


def test_small_tables_and_few_bytes_are_read_at_once(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    table(a=FLOATS).write_parquet(path)
    lazy = pl.scan_parquet(path).select("a")
    assert not _large_table.is_large(lazy, N_ROWS, 2_000)
    assert _large_table.is_large(lazy, 2**24, 2_000)
    assert _large_table.is_large(lazy, 2**27, 2_000)  # 1 GiB is taken in any case
    assert not _large_table.is_large(lazy, 2**27 + 1, 2_000)
    assert _large_table.is_large(lazy, 2**27 + 1, 2**21)


def test_damaged_rows_are_told_alike(load, tmp_path, monkeypatch):
    made = table(a=RNG.normal(size=N_ROWS), b=RNG.normal(size=N_ROWS))
    path = tmp_path / "damaged.parquet"
    made.write_parquet(path, compression="uncompressed", row_group_size=10)
    content = bytearray(path.read_bytes())
    content[600:900] = b"\xff" * 300
    path.write_bytes(content)
    told = []
    for large in (_large_table._LARGE, 1):
        monkeypatch.setattr(_large_table, "_LARGE", large)
        with pytest.raises(ValueError, match="cannot be read") as error:
            load_rows(path)
        told.append(str(error.value))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("name", "settings"), [("^label$", {}), ("^b$", {"drop_columns": ["b"]}), ("*", {})]
)
def test_names_that_polars_takes_for_patterns_are_names(load, name, settings):
    values = RNG.normal(size=(3, N_ROWS))
    made = table(a=values[0], b=values[1], **{name: values[2]})
    (result, _), (expected, _), was_streamed = load(made, **settings)
    assert not was_streamed
    assert result.feature_names == expected.feature_names
    assert name in result.feature_names
    np.testing.assert_array_equal(result.X, expected.X)


@pytest.mark.parametrize("n_counted", [N_ROWS - 5, N_ROWS + 5])
def test_a_file_that_counts_other_rows_than_it_has_is_read_at_once(
    load, monkeypatch, n_counted
):
    scan = ParquetFiles.scan
    monkeypatch.setattr(ParquetFiles, "scan", lambda files: (scan(files)[0], n_counted))
    made = table(a=RNG.normal(size=N_ROWS), b=RNG.normal(size=N_ROWS))
    (result, _), (expected, _), was_streamed = load(made)
    assert not was_streamed
    assert len(result.X) == len(result.y) == N_ROWS
    np.testing.assert_array_equal(result.X, expected.X)


def test_large_table_is_audited_as_a_small_one(load):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N_ROWS, 9)) + 3.0 * (LABELS == "cat")[:, None]
    made = table(**{f"f{j}": values[:, j] for j in range(9)})
    (large, _), (small, _), was_streamed = load(made)
    assert was_streamed
    settings = {"max_epochs": 2, "cv": 2, "random_state": 0}
    result, expected = (audit(rows.X, rows.y, **settings) for rows in (large, small))
    np.testing.assert_array_equal(result.p_wrong, expected.p_wrong)
