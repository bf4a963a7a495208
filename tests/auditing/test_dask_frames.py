"""Frames of Dask are judged partition by partition as the same frame in memory."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from sklgm import audit
from sklgm._running import _scratch
from sklgm.auditing import _chunks
from sklgm.datasets import make_gaussian_classes
from sklgm.poisoning import flip_labels

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

# Few rows: the model of right labels is rough, and says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The model of right and wrong labels"),
    pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row"),
    # Notes say it, too, and are compared.
    pytest.mark.filterwarnings("ignore:.* rows have a duplicate or near duplicate"),
]

LINEAR = LogisticRegression(max_iter=500)
QUICK = {"max_epochs": 2, "cv": 2, "random_state": 0}


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def frame():
    """Columns of several types of numbers; some rows are there twice, or nearly."""
    X, y = make_gaussian_classes(120, n_features=6, separation=6.0, random_state=0)
    claimed = flip_labels(y, 0.1, random_state=0)
    made = pd.DataFrame(X, columns=list("abcdef"))
    made["b"] = (100 * made["b"]).round().astype(np.int16)
    made["c"] = made["c"] > 0
    made["time"] = 1.7e9 + 60 * made["d"].astype(np.float64)  # float32 would lose it
    made.iloc[7] = made.iloc[90]
    made.loc[8, "a"] = made.loc[91, "a"] + 1e-5
    made.loc[8, "b":] = made.loc[91, "b":]
    made = made.astype({"a": np.float32, "b": np.int16, "c": bool})
    made["label"] = np.array(["cat", "dog", "owl"])[claimed % 3]
    made["patient"] = np.arange(len(made)) // 2
    return made


def assert_same(result, expected):
    for name in ("p_wrong", "p_values", "suspects", "folds", "outlier_p_values"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    np.testing.assert_array_equal(result.duplicate_pairs, expected.duplicate_pairs)
    np.testing.assert_array_equal(result.likely_labels, expected.likely_labels)
    assert result.notes == expected.notes


@pytest.mark.parametrize("estimator", [None, LINEAR], ids=["default", "own"])
def test_a_frame_is_judged_as_in_memory(frame, estimator):
    given = dd.from_pandas(frame.drop(columns="patient"), npartitions=4)
    result = audit(given, "label", estimator=estimator, **QUICK)
    expected = audit(given.compute(), "label", estimator=estimator, **QUICK)
    assert_same(result, expected)
    assert [7, 90] in result.duplicate_pairs.tolist()
    assert [8, 91] in result.duplicate_pairs.tolist()
    assert len(result.outlier_p_values) == len(frame)
    assert result.settings["estimator"] == expected.settings["estimator"]


def test_groups_and_labels_are_columns_or_series(frame):
    given = dd.from_pandas(frame, npartitions=3)
    settings = {"estimator": LINEAR, "random_state": 0}
    expected = audit(frame, groups="patient", **settings)
    assert_same(audit(given, groups="patient", **settings), expected)
    X = given.drop(columns=["label", "patient"])
    y, groups = given["label"], given["patient"]
    assert_same(audit(X, y, groups=groups, **settings), expected)
    labels = frame["label"].to_numpy()
    assert_same(audit(X, labels, groups=groups.compute(), **settings), expected)
    with pytest.raises(ValueError, match="a label for each of the 120 rows"):
        audit(X, labels[1:], **settings)
    with pytest.raises(ValueError, match="no column of the name 'species'"):
        audit(given, "species", **settings)


def test_only_one_partition_is_in_memory_and_files_vanish(frame, tmp_path, monkeypatch):
    given = dd.from_pandas(frame.drop(columns="patient"), npartitions=6)
    expected = audit(given.compute(), "label", **QUICK)
    computed = []
    compute = type(given).compute

    def noted(self, *args, **kwargs):
        part = compute(self, *args, **kwargs)
        computed.append(part.shape)
        return part

    monkeypatch.setattr(type(given), "compute", noted)
    monkeypatch.setattr(_scratch, "_LARGE", 1)
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))
    sizes = []
    array = np.memmap.__new__

    def sized(cls, path, dtype, mode, shape):
        sizes.append((shape, np.dtype(dtype)))
        return array(cls, path, dtype, mode, shape=shape)

    monkeypatch.setattr(_scratch.np.memmap, "__new__", sized)
    assert_same(audit(given, "label", **QUICK), expected)
    assert computed == [(20, 7)] * 6
    assert sizes[0] == ((120, 7), np.float64)
    assert list(tmp_path.iterdir()) == []


def test_more_rows_than_a_chunk_are_judged_as_in_memory(frame, monkeypatch):
    given = dd.from_pandas(frame.drop(columns="patient"), npartitions=4)
    at_once = audit(given, "label", **QUICK)
    monkeypatch.setattr(_chunks, "_MOST_ROWS", 17)
    result = audit(given, "label", **QUICK)
    assert_same(result, audit(given.compute(), "label", **QUICK))
    np.testing.assert_allclose(result.p_wrong, at_once.p_wrong, atol=1e-3)
    np.testing.assert_allclose(
        result.outlier_p_values, at_once.outlier_p_values, rtol=1e-6
    )


def test_parquet_with_lists_of_numbers_is_judged_as_in_memory(frame, tmp_path):
    written = frame[["a", "label"]].copy()
    written["embedding"] = list(frame[["d", "e", "f"]].to_numpy(np.float32))
    written["count"] = frame["b"].astype("Int64")
    written.to_parquet(tmp_path / "rows.parquet", row_group_size=50)
    given = dd.read_parquet(tmp_path / "rows.parquet", split_row_groups=True)
    assert given.npartitions == 3
    assert_same(
        audit(given, "label", **QUICK), audit(given.compute(), "label", **QUICK)
    )


def test_missing_numbers_pass_to_an_estimator_of_ones_own(frame):
    holed = frame.drop(columns="patient")
    holed.loc[::7, "d"] = np.nan
    holed["b"] = holed["b"].astype("Int64").mask(holed["e"] > 1)
    given = dd.from_pandas(holed, npartitions=3)
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    settings = {"estimator": model, "cv": 2, "random_state": 0}
    expected = audit(holed, "label", **settings)
    assert_same(audit(given, "label", **settings), expected)
    with pytest.raises(ValueError, match=r"missing \(NaN\) in the columns b, d of X"):
        audit(given, "label", **QUICK)


def test_column_that_tells_the_label_is_named(frame):
    numbers = frame["label"].map({"cat": 3, "dog": 1, "owl": 7}).astype(np.float32)
    made = frame.drop(columns="patient").assign(copy=numbers, number=np.arange(120.0))
    given = dd.from_pandas(made, npartitions=3)
    for each in (given, made):
        with pytest.warns(UserWarning, match="as an identifier does: 'number'"):
            with pytest.warns(UserWarning, match="nearly every label alone: 'copy'"):
                audit(each, "label", max_epochs=1, cv=2, random_state=0)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series(["red", "blue"] * 60), "string"),
        (pd.Series(["red", "blue"] * 60, dtype="category"), "category"),
        (pd.Series(pd.date_range("2020-01-01", periods=120)), "datetime64"),
    ],
    ids=["text", "category", "date"],
)
def test_column_that_holds_no_numbers_is_named(frame, values, kind):
    made = frame.drop(columns="patient").assign(extra=values)
    given = dd.from_pandas(made, npartitions=3)
    with pytest.raises(
        ValueError, match=rf"'extra' of X holds .*{kind}.*X\.compute\(\) where"
    ):
        audit(given, "label", random_state=0)


def test_probabilities_need_only_the_labels(frame):
    proba = np.random.default_rng(0).dirichlet(np.ones(3), len(frame))
    made = frame.assign(text="never read")
    given = dd.from_pandas(made, npartitions=3)
    result = audit(given, "label", pred_probs=proba, random_state=0)
    expected = audit(None, frame["label"], pred_probs=proba, random_state=0)
    np.testing.assert_array_equal(result.p_wrong, expected.p_wrong)
    assert result.notes == expected.notes


def test_trusted_frames_have_the_columns_in_any_order(frame):
    rows = frame.drop(columns="patient")
    rest, known = rows[:92], rows[92:]
    expected = audit(rest, "label", trusted=(known, "label"), **QUICK)
    backwards = known[known.columns[::-1]]
    for given, trusted in (
        (dd.from_pandas(rest, npartitions=2), backwards),
        (dd.from_pandas(rest, npartitions=2), dd.from_pandas(known, npartitions=2)),
        (rest, backwards),
    ):
        result = audit(given, "label", trusted=(trusted, "label"), **QUICK)
        np.testing.assert_array_equal(result.p_values, expected.p_values)
    with pytest.raises(ValueError, match="only one of them has 'time'"):
        audit(
            dd.from_pandas(rest, npartitions=2),
            "label",
            trusted=(known.drop(columns="time"), "label"),
            **QUICK,
        )


def from_parts(parts, meta):
    return dd.from_map(lambda number: parts[number], range(len(parts)), meta=meta)


def test_partitions_of_another_type_or_length_are_named(frame):
    rows = frame[["a", "b", "label"]]
    first, second = rows[:60], rows[60:]
    holed = second.assign(b=second["b"].astype(np.float64).where(second["a"] > 0))
    with pytest.raises(ValueError, match=r"'b' is int16 by X\.dtypes, but float64 in"):
        audit(from_parts([first, holed], rows[:0]), "label", estimator=LINEAR)
    meta = rows[:0].assign(e=pd.Series(dtype=object))
    with dask.config.set({"dataframe.convert-string": False}):
        given = from_parts(
            [first.assign(e=[[1.0, 2.0]] * 60), second.assign(e=[[1.0]] * 60)], meta
        )
        with pytest.raises(ValueError, match="lists of 2 numbers, but of 1 in part"):
            audit(given, "label", estimator=LINEAR)
        given = from_parts(
            [first.assign(e=[[1.0]] * 60), second.assign(e=["text"] * 60)], meta
        )
        with pytest.raises(ValueError, match="'e' of X holds category in partition 1"):
            audit(given, "label", estimator=LINEAR)


def test_empty_partitions_are_passed_over(frame):
    rows = frame.drop(columns="patient")
    given = from_parts([rows[:0], rows[:50], rows[:0], rows[50:]], rows[:0])
    settings = {"estimator": LINEAR, "random_state": 0}
    assert_same(audit(given, "label", **settings), audit(rows, "label", **settings))


def test_frames_without_columns_of_numbers_are_named(frame):
    given = dd.from_pandas(frame[["label"]], npartitions=2)
    with pytest.raises(ValueError, match="X must have at least one column beside"):
        audit(given, "label", estimator=LINEAR)
