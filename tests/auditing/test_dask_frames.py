"""Frames of Dask are judged a partition at a time, as they are in memory."""

import gc
import re
import textwrap
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklgm import audit
from sklgm._running import _scratch
from sklgm.auditing import _dask_frames
from sklgm.auditing._rows import parted_rows

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")  # needs pyarrow
distributed = pytest.importorskip("distributed")

# Few rows: the model of right labels is rough, and says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The model of right and wrong labels"),
    pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row"),
    pytest.mark.filterwarnings("ignore:.*have a duplicate or near duplicate in"),
]
QUICK = {"max_epochs": 2, "cv": 2, "random_state": 0}
TYPES = {
    "b": "bool",
    "i1": "int8",
    "u2": "uint16",
    "i8": "int64",
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "I": "Int32",
    "F": "Float32",
    "B": "boolean",
    "p": "int64[pyarrow]",
}


@pytest.fixture
def frame():
    """Rows of three animals, of which some are equal; ``number`` tells them apart."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(120) % 3)
    values = rng.normal(size=(120, 4)) + 2.5 * np.eye(3, 4)[y]
    made = pd.DataFrame(values, columns=list("abcd"))
    made["time"] = 1.7e9 + 10 * y + rng.integers(0, 30, 120)
    made["count"] = rng.integers(0, 9, 120).astype(np.int16)
    made["flag"] = made["a"] > 1
    made = pd.concat([made[:115], made[:5]], ignore_index=True)
    y = np.concatenate([y[:115], y[:5]])
    y[::17] = (y[::17] + 1) % 3
    made["label"] = np.array(["cat", "dog", "owl"])[y]
    made["patient"] = [f"p{number}" for number in np.arange(120) // 4]
    return made


def from_parts(parts, meta=None):
    return dd.from_map(lambda number: parts[number], range(len(parts)), meta=meta)


def assert_same(result, expected):
    np.testing.assert_array_equal(result.claimed_labels, expected.claimed_labels)
    np.testing.assert_array_equal(result.is_suspect, expected.is_suspect)
    if expected.p_wrong is None:  # with trusted rows
        assert result.p_wrong is None
    else:
        np.testing.assert_allclose(result.p_wrong, expected.p_wrong, atol=1e-5)
    np.testing.assert_allclose(result.p_values, expected.p_values, atol=1e-5)
    np.testing.assert_array_equal(result.duplicate_pairs, expected.duplicate_pairs)
    np.testing.assert_array_equal(result.is_exact_pair, expected.is_exact_pair)
    np.testing.assert_allclose(
        result.outlier_p_values, expected.outlier_p_values, rtol=1e-6
    )
    assert result.notes == expected.notes
    assert result.settings == expected.settings


@pytest.mark.parametrize("groups", [None, "patient"])
@pytest.mark.parametrize(
    "estimator",
    [None, LogisticRegression(max_iter=500), GaussianNB()],
    ids=["default", "linear", "naive"],
)
def test_frame_is_judged_as_in_memory(frame, estimator, groups):
    if groups is None:
        frame = frame.drop(columns="patient")
    settings = {**QUICK, "estimator": estimator, "groups": groups}
    expected = audit(frame, "label", **settings)
    assert len(expected.duplicate_pairs) == 5
    for n_partitions in (1, 4):
        given = dd.from_pandas(frame, npartitions=n_partitions)
        assert_same(audit(given, "label", **settings), expected)
    assert_same(audit(given, **settings), expected)  # the column label


@pytest.mark.parametrize("types", [[name] for name in TYPES] + [list(TYPES)], ids=str)
def test_numbers_of_every_type_are_judged_as_in_memory(frame, types):
    rows = frame[["label"]].copy()
    for name in types:
        values = frame["count"] % 2 if TYPES[name] in ("bool", "boolean") else None
        values = frame["count"] if values is None else values
        rows[name] = values.astype(TYPES[name])
        rows[f"{name} too"] = (frame["time"] % 97 // 1).astype("int8")
        rows[f"{name} too"] = rows[f"{name} too"].astype(
            TYPES[name] if TYPES[name] not in ("bool", "boolean") else "int8"
        )
    given = dd.from_pandas(rows, npartitions=3)
    assert_same(audit(given, "label", **QUICK), audit(rows, "label", **QUICK))
    numbers = parted_rows(given, "label")[0].values
    plain = [dtype for dtype in rows.drop(columns="label").dtypes]
    is_numpy = all(isinstance(dtype, np.dtype) for dtype in plain)
    assert numbers.dtype == (np.result_type(*plain) if is_numpy else np.float64)


def test_large_whole_numbers_stay_apart():
    rows = pd.DataFrame({"id": 2**60 + np.arange(30), "label": np.arange(30) % 2})
    numbers, _, _ = parted_rows(dd.from_pandas(rows, npartitions=4), "label")
    np.testing.assert_array_equal(numbers.values[:, 0], rows["id"])


def rearranged(frame, how):
    given = dd.from_pandas(frame.assign(number=np.arange(120)), npartitions=6)
    if how == "shuffle":
        return given.shuffle("count", shuffle_method="tasks")
    if how == "shuffle on disk":
        return given.shuffle("count", shuffle_method="disk")
    if how == "sample":
        return given.sample(frac=0.8)
    if how == "sorted":
        return given.sort_values("a")
    if how == "merge":
        right = given[["number"]].assign(more=given["number"] * 2.0)
        return given.merge(right.shuffle("more"), on="number")
    if how == "merge with a frame":
        right = pd.DataFrame({"label": ["cat", "dog", "owl"], "legs": [4, 4, 2]})
        return given.merge(right, on="label", how="left")
    if how == "unknown divisions":
        return given.clear_divisions()
    if how == "filtered":  # the first partitions are empty
        return given[given["number"] >= 50]
    if how == "indexed":
        return given.set_index("number", drop=False)
    return given.repartition(npartitions=2)


@pytest.mark.parametrize(
    "how",
    [
        "shuffle", "shuffle on disk", "sample", "sorted", "merge",
        "merge with a frame", "unknown divisions", "filtered", "indexed",
        "repartition",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_numbers_labels_and_groups_stay_together(frame, how, scheduler):
    with dask.config.set(scheduler=scheduler):
        given = rearranged(frame, how)
        numbers, labels, groups = parted_rows(given, "label", "patient")
    rows = pd.DataFrame(numbers.values, columns=numbers.names)
    order = rows["number"].to_numpy(np.intp)
    if how == "sample":
        assert 80 < len(np.unique(order)) == len(order) < 110
    else:
        expected = np.arange(50 if how == "filtered" else 0, 120)
        np.testing.assert_array_equal(np.sort(order), expected)
    known = frame.loc[order]
    np.testing.assert_array_equal(labels, known["label"])
    np.testing.assert_array_equal(groups, known["patient"])
    for name in [name for name in rows if name in frame]:
        np.testing.assert_array_equal(rows[name], known[name])


@pytest.mark.filterwarnings("ignore:These columns run with the order of the rows")
@pytest.mark.parametrize("how", ["shuffle on disk", "sample", "merge", "repartition"])
def test_rearranged_frame_is_judged_as_in_memory(frame, how):
    given = rearranged(frame, how)
    numbers, labels, groups = parted_rows(given, "label", "patient")
    in_memory = pd.DataFrame(numbers.values, columns=numbers.names)
    in_memory = in_memory.assign(label=labels, patient=groups)
    # A frame whose order is the same each time.
    again = dd.from_pandas(in_memory, npartitions=3, sort=False)
    settings = {**QUICK, "groups": "patient"}
    assert_same(audit(again, **settings), audit(in_memory, **settings))


def test_each_partition_is_computed_once(frame):
    n_times = Counter()

    def counted(part):
        n_times[len(part), part["a"].iloc[0]] += 1
        return part

    frame = frame.drop(columns="patient")
    given = dd.from_pandas(frame, npartitions=6)
    given = given.map_partitions(counted, meta=frame.iloc[:0])
    audit(given.shuffle("count"), "label", **QUICK)
    assert len(n_times) == 6
    assert set(n_times.values()) == {1}


def test_files_are_in_one_folder_and_vanish(frame, tmp_path, monkeypatch):
    frame = frame.drop(columns="patient")
    expected = audit(frame, "label", **QUICK)
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(_scratch, "_LARGE", 1_000)
    monkeypatch.setattr(_scratch, "_CHUNK_ROWS", 17)
    seen, numbers = [], _dask_frames._numbers

    def noted(*args):
        seen.append(len(list(tmp_path.iterdir())))
        return numbers(*args)

    monkeypatch.setattr(_dask_frames, "_numbers", noted)
    given = dd.from_pandas(frame, npartitions=4)
    rows = parted_rows(given, "label")[0]
    assert type(rows.values) is np.memmap
    assert set(seen) == {1}
    assert len(list(tmp_path.iterdir())) == 1
    del rows
    result = audit(given, "label", **QUICK)
    np.testing.assert_allclose(result.p_wrong, expected.p_wrong, atol=1e-4)
    np.testing.assert_array_equal(result.is_suspect, expected.is_suspect)
    with pytest.raises(ValueError, match="at least 2 classes"):
        audit(given.assign(label="cat"), "label", **QUICK)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_tasks_that_outlive_an_error_leave_no_files(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))
    rows = frame[["a", "label"]]
    parts = [rows[10 * number : 10 * number + 10] for number in range(12)]
    parts[0] = parts[0].assign(a="text")
    save, not_numbers = np.save, _dask_frames._not_numbers
    is_about_to_write, is_told = threading.Event(), threading.Event()

    def late(path, values):
        is_about_to_write.set()
        is_told.wait(1)
        save(path, values)

    def error_after_that(*args):
        assert is_about_to_write.wait(10)
        return not_numbers(*args)

    monkeypatch.setattr(_dask_frames.np, "save", late)
    monkeypatch.setattr(_dask_frames, "_not_numbers", error_after_that)
    with dask.config.set(scheduler="threads", num_workers=6):
        with pytest.raises(ValueError, match="'a' of X holds category"):
            audit(from_parts(parts, rows.iloc[:0]), "label", **QUICK)
        assert list(tmp_path.iterdir()) == []
        is_told.set()
        time.sleep(0.2)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_computes_partitions(frame):
    settings = {**QUICK, "groups": "patient"}
    expected = audit(frame, "label", **settings)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster, distributed.Client(cluster):
        given = dd.from_pandas(frame, npartitions=3)
        assert_same(audit(given, "label", **settings), expected)
        numbers, labels, _ = parted_rows(given.shuffle("count"), "label", "patient")
    times = numbers.values[:, numbers.names.index("time")]
    np.testing.assert_array_equal(np.sort(times), np.sort(frame["time"]))
    pairs = Counter(zip(frame["time"], frame["label"], strict=True))
    assert Counter(zip(times, labels, strict=True)) == pairs


def test_workers_that_do_not_see_the_folder_are_named(frame, tmp_path, monkeypatch):
    given = dd.from_pandas(frame, npartitions=2)
    elsewhere = str(tmp_path / "of another machine")
    stored = _dask_frames._stored
    monkeypatch.setattr(
        _dask_frames,
        "_stored",
        lambda part, folder, *others: stored(part, elsewhere, *others),
    )
    with pytest.raises(ValueError, match=r"do not see the folder .*: set TMPDIR to"):
        audit(given, "label", groups="patient", **QUICK)
    (tmp_path / "of another machine").mkdir()
    monkeypatch.setattr(_dask_frames.Path, "exists", lambda path: False)
    with pytest.raises(ValueError, match=r"do not see the folder .*: set TMPDIR to"):
        audit(given, "label", groups="patient", **QUICK)


def test_partitions_of_several_types_are_joined_as_in_memory(frame):
    rows = frame[["a", "count", "flag", "label"]]
    whole = rows[50:90].assign(a=np.round(rows["a"][50:90]).astype(np.int8))
    whole["flag"] = whole["flag"].astype(np.int64)
    short = rows[90:].assign(a=rows["a"][90:].astype(np.float32))
    parts = [rows[:50], whole, short]
    given = from_parts(parts, rows.iloc[:0])
    assert_same(
        audit(given, "label", **QUICK),
        audit(pd.concat(parts), "label", **QUICK),
    )
    numbers = parted_rows(given, "label")[0].values
    np.testing.assert_array_equal(numbers[50:90, 0], whole["a"])


def test_empty_partitions_are_passed_over(frame):
    rows = frame.drop(columns="patient")
    other = rows.iloc[:0].astype({"a": object, "label": np.float64})
    parts = [rows[:0], rows[:50], other, rows[50:]]
    given = from_parts(parts, rows.iloc[:0])
    assert_same(audit(given, "label", **QUICK), audit(rows, "label", **QUICK))


def test_frame_without_rows_is_refused_as_in_memory(frame):
    for empty in (frame[:0], dd.from_pandas(frame[:0], npartitions=1)):
        with pytest.raises(ValueError, match=r"at least 2 classes to audit, got \[\]"):
            audit(empty, "label", groups="patient", random_state=0)


def test_frame_without_columns_beside_the_labels_is_refused(frame):
    given = dd.from_pandas(frame[["label"]], npartitions=2)
    with pytest.raises(ValueError, match="X must have at least one column beside"):
        audit(given, "label", random_state=0)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y.astype("category"),
        lambda y: y.astype("string[pyarrow]"),
        lambda y: y == "cat",
        lambda y: y.map({"cat": 1, "dog": 5, "owl": 7}).astype("Int64"),
        lambda y: y.map({"cat": 1.0, "dog": 5.0, "owl": 7.0}),
    ],
    ids=["category", "text", "boolean", "nullable", "float"],
)
def test_labels_of_any_type_are_those_in_memory(frame, labels):
    rows = frame.drop(columns="patient").assign(label=labels(frame["label"]))
    expected = audit(rows, "label", **QUICK)
    given = dd.from_pandas(rows, npartitions=3)
    result = audit(given, "label", **QUICK)
    assert_same(result, expected)
    assert result.claimed_labels.dtype == expected.claimed_labels.dtype


def test_categories_of_partitions_are_joined(frame):
    rows = frame.drop(columns="patient").sort_values("label", kind="stable")
    parts = [
        part.assign(label=part["label"].astype("category"))
        for part in (rows[:50], rows[50:])
    ]
    given = from_parts(parts, parts[0].iloc[:0])
    assert_same(audit(given, "label", **QUICK), audit(rows, "label", **QUICK))


def test_missing_labels_are_counted_as_in_memory(frame):
    rows = frame.drop(columns="patient")
    rows.loc[[7, 60], "label"] = None
    for given in (rows, dd.from_pandas(rows, npartitions=3)):
        with pytest.raises(ValueError, match="lacks 2 of 120 labels, row 7 the first"):
            audit(given, "label", **QUICK)


def test_missing_numbers_pass_to_an_estimator_of_ones_own(frame):
    rows = frame.drop(columns="patient")
    rows.loc[::7, "a"] = np.nan
    rows["c"] = rows["c"].astype("Float64").mask(rows["b"] > 2)
    rows["none"] = np.where(rows["d"] > 1, 1.0, np.nan)
    given = dd.from_pandas(rows, npartitions=3)
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    settings = {"estimator": model, "cv": 2, "n_repeats": 1, "random_state": 0}
    expected = audit(rows, "label", **settings)
    assert_same(audit(given, "label", **settings), expected)
    with pytest.raises(ValueError, match=r"lacks values \(NaN\) .* a, c, none, which"):
        audit(given, "label", **QUICK)
    filled = given.fillna({"a": 0.0, "c": 1.0, "none": 0.0})
    assert_same(
        audit(filled, "label", **QUICK), audit(filled.compute(), "label", **QUICK)
    )


def test_infinite_numbers_are_refused(frame):
    rows = frame.drop(columns="patient")
    rows.loc[9, "a"] = np.inf
    with pytest.raises(ValueError, match="X contains infinity"):
        audit(dd.from_pandas(rows, npartitions=3), "label", **QUICK)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series(["red", "blue"] * 60), "str"),
        (pd.Series(["red", "blue"] * 60, dtype="category"), "category"),
        (pd.Series([1, 2] * 60, dtype="category"), "category"),
        (pd.Series(pd.date_range("2020-01-01", periods=120)), "datetime64"),
        (pd.Series(pd.date_range("2020-01-01", periods=120, tz="UTC")), "datetime64"),
        (pd.Series(pd.timedelta_range("1h", periods=120)), "timedelta64"),
    ],
    ids=["text", "category", "numbers", "date", "zone", "time"],
)
def test_what_are_no_numbers_is_refused(frame, values, kind):
    rows = frame.drop(columns="patient").assign(extra=values)

    def computed(part):
        raise AssertionError("a partition was computed")

    given = dd.from_pandas(rows, npartitions=3)
    unread = given.map_partitions(computed, meta=given._meta)
    expected = rf"'extra' of X holds {kind}.*leave it out.*X\.compute\(\) where"
    with pytest.raises(ValueError, match=expected):
        audit(unread, "label", **QUICK)
    assert_same(
        audit(given.drop(columns="extra"), "label", **QUICK),
        audit(frame.drop(columns="patient"), "label", **QUICK),
    )


def test_objects_that_are_no_numbers_are_refused_when_they_are_seen(frame):
    rows = frame[["a", "b", "label"]]
    with dask.config.set({"dataframe.convert-string": False}):
        texts = dd.from_pandas(rows.assign(o=["red"] * 120).astype({"o": object}), 2)
        with pytest.raises(ValueError, match="'o' of X holds category, but of a Dask"):
            audit(texts, "label", **QUICK)
        mixed = pd.Series([1, 2.5, True] * 40, dtype=object)
        numbers = rows.assign(o=mixed)
        given = dd.from_pandas(numbers, 2)
        assert_same(audit(given, "label", **QUICK), audit(numbers, "label", **QUICK))


@pytest.fixture
def lists(frame, tmp_path):
    """Parquet with embeddings, and the same as columns."""
    embedding = frame[["a", "b", "c"]].to_numpy(np.float32)
    rows = frame[["d", "label"]].assign(embedding=list(embedding))
    rows.to_parquet(tmp_path / "rows.parquet", row_group_size=50)
    columns = frame[["d"]].copy()
    for place in range(3):
        columns[f"embedding[{place}]"] = embedding[:, place]
    return tmp_path / "rows.parquet", columns.assign(label=frame["label"])


def test_lists_of_numbers_are_columns(lists, frame):
    path, columns = lists
    given = dd.read_parquet(path, split_row_groups=True)
    assert given.npartitions == 3
    assert_same(audit(given, "label", **QUICK), audit(columns, "label", **QUICK))
    only = audit(given.drop(columns="d"), "label", **QUICK)
    assert_same(only, audit(columns.drop(columns="d"), "label", **QUICK))
    numbers = parted_rows(given.drop(columns="d"), "label")[0]
    assert numbers.values.dtype == np.float32
    assert numbers.names == [f"embedding[{place}]" for place in range(3)]


def test_folder_of_parquet_files_is_one_frame(frame, tmp_path):
    rows = frame.drop(columns="patient")
    for number in range(12):  # more than ten: files are in the order of numbers
        part = rows[10 * number : 10 * number + 10]
        part.to_parquet(tmp_path / f"part.{number}.parquet")
    given = dd.read_parquet(tmp_path)
    assert_same(audit(given, "label", **QUICK), audit(rows, "label", **QUICK))


# Of Dask 2026.8 where it writes, with pandas 3.1; until Dask leaves it.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")
def test_the_user_guide_prints_what_it_says(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs/user_guide/scale.rst").read_text("utf-8")
    section = page[page.index("Parquet larger than memory\n===") :]
    block = r"\.\. code-block:: {}\n\n((?:   .*\n|\n)+)"
    code, said = (
        textwrap.dedent(re.search(block.format(kind), section)[1])
        for kind in ("python", "text")
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "scale.rst", "exec"), {})
    assert capsys.readouterr().out.strip() == said.strip()


def test_lists_that_are_no_columns_are_refused(frame):
    rows = frame[["a", "label"]]
    first, second = rows[:60], rows[60:]
    with dask.config.set({"dataframe.convert-string": False}):
        meta = rows.iloc[:0].assign(e=pd.Series(dtype=object))
        for lists, message in (
            ([[1.0]] * 60, "'e' of X holds lists of several lengths, such as 2 and 1"),
            ([[1.0], [1.0, 2.0]] * 30, "'e' holds lists of several lengths, or none"),
            ([None, [1.0, 2.0]] * 30, "'e' holds lists of several lengths, or none"),
            (["text"] * 60, "'e' of X holds category"),
            ([["x", "y"]] * 60, "'e' of X holds lists of <U1, but of a Dask frame"),
            ([["2020-01-01", 1.0]] * 60, "'e' of X holds lists of <U32, but of a Dask"),
        ):
            given = from_parts(
                [first.assign(e=[[1.0, 2.0]] * 60), second.assign(e=lists)], meta
            )
            with pytest.raises(ValueError, match=message):
                audit(given, "label", **QUICK)
    given = dd.from_pandas(rows.assign(e=[[1.0, 2.0]] * 120), npartitions=2)
    with pytest.raises(ValueError, match="become text in dask.dataframe.from_pandas"):
        audit(given, "label", **QUICK)


@pytest.mark.parametrize("name", ["y", "groups"])
def test_columns_of_dask_are_given_by_name(frame, name):
    given = dd.from_pandas(frame, npartitions=3)
    column = {"y": "label", "groups": "patient"}[name]
    settings = {"y": "label", "groups": "patient", **QUICK, name: given[column]}
    message = rf"{name} is a Series of Dask.*give the name of its column in X, or "
    numbers = frame.drop(columns=["label", "patient"])
    for X in (given, frame, numbers, numbers.to_numpy()):
        with pytest.raises(TypeError, match=message):
            audit(X, **settings)
    settings[name] = frame[column].to_numpy()
    with pytest.raises(TypeError, match=rf"{name} must be the name of a column where"):
        audit(given, **settings)


def test_features_may_be_a_frame(frame):
    rows = frame.drop(columns="patient")
    given = dd.from_pandas(rows, npartitions=3)
    expected = audit(None, "label", features=rows, **QUICK)
    assert_same(audit(None, "label", features=given, **QUICK), expected)
    with pytest.raises(TypeError, match="y must be the name of a column where feat"):
        audit(None, rows["label"], features=given, **QUICK)


def test_labels_of_dask_beside_probabilities_are_refused(frame):
    proba = np.random.default_rng(0).dirichlet(np.ones(3), len(frame))
    given = dd.from_pandas(frame.drop(columns="patient"), npartitions=3)
    with pytest.raises(TypeError, match="y is a Series of Dask"):
        audit(None, given["label"], pred_probs=proba)
    with pytest.raises(TypeError, match="X is a Series of Dask: give a frame of Dask"):
        audit(given["a"], frame["label"], **QUICK)
    settings = {"pred_probs": proba, "random_state": 0}
    expected = audit(frame.drop(columns="patient"), "label", **settings)
    assert_same(audit(given, "label", **settings), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"y": "species"}, "y='species': X has no column of the name 'species'"),
        ({"groups": "ward"}, "groups='ward': X has no column of the name 'ward'"),
        ({"groups": "label"}, "groups='label': X has no column of the name 'label'"),
    ],
    ids=["label", "groups", "both"],
)
def test_missing_column_is_named_as_in_memory(frame, settings, message):
    settings = {"y": "label", **QUICK, **settings}
    for given in (frame, dd.from_pandas(frame, npartitions=3)):
        with pytest.raises(ValueError, match=re.escape(message)):
            audit(given, **settings)


def test_two_columns_of_one_name_are_refused(frame):
    rows = frame.drop(columns="patient").rename(columns={"b": "a"})
    given = from_parts([rows[:60], rows[60:]], rows.iloc[:0])
    with pytest.raises(ValueError, match="several columns of the name 'a'"):
        audit(given, "label", **QUICK)


def test_places_of_lists_do_not_share_the_name_of_a_column(frame):
    with dask.config.set({"dataframe.convert-string": False}):
        pairs = list(frame[["a", "b"]].to_numpy())
        rows = frame[["label"]].assign(**{"a": pairs, "a[0]": frame["c"]})
        given = dd.from_pandas(rows, npartitions=2)
    with pytest.raises(ValueError, match=r"several columns of the name 'a\[0\]'"):
        audit(given, "label", **QUICK)


def test_complex_numbers_are_refused(frame):
    rows = frame[["a", "b", "label"]].assign(c=frame["c"] + 1j)
    with pytest.raises(ValueError, match="'c' of X holds complex numbers"):
        audit(dd.from_pandas(rows, npartitions=2), "label", **QUICK)


def test_a_partition_may_lack_all_numbers_of_a_column(frame):
    halves = [None if row < 60 else Decimal(row) for row in range(120)]
    rows = frame[["a", "b", "label"]].assign(price=halves)
    with dask.config.set({"dataframe.convert-string": False}):
        given = from_parts([rows[:60], rows[60:]], rows.iloc[:0])
    numbers = rows.assign(price=[np.nan if v is None else float(v) for v in halves])
    settings = {**QUICK, "estimator": HistGradientBoostingClassifier(max_iter=20)}
    with dask.config.set({"dataframe.convert-string": False}):
        result = audit(given, "label", **settings)
    assert_same(result, audit(numbers, "label", **settings))


def test_columns_that_tell_the_label_are_named_as_in_memory(frame):
    copy = frame["label"].map({"cat": 3, "dog": 1, "owl": 7}).astype(np.float32)
    rows = frame.drop(columns="patient").assign(copy=copy)
    for given in (rows, dd.from_pandas(rows, npartitions=3)):
        with pytest.warns(UserWarning, match="nearly every label alone: 'copy'"):
            audit(given, "label", **QUICK)


@pytest.mark.parametrize("order", [1, -1], ids=["same", "backwards"])
def test_trusted_frames_are_taken_by_their_columns(frame, order):
    rows = frame.drop(columns="patient")
    rest, known = rows[5:92], rows[92:115]
    for estimator in (None, GaussianNB()):
        settings = {**QUICK, "estimator": estimator}
        expected = audit(rest, "label", trusted=(known, "label"), **settings)
        other = known[known.columns[::order]]
        given = dd.from_pandas(rest, npartitions=2)
        for trusted in (other, dd.from_pandas(other, npartitions=2)):
            result = audit(given, "label", trusted=(trusted, "label"), **settings)
            np.testing.assert_allclose(result.p_values, expected.p_values)
            assert_same(result, expected)


def test_trusted_rows_of_another_kind(frame):
    rows = frame.drop(columns="patient")
    rest, known = rows[5:92], rows[92:115]
    given = dd.from_pandas(rest, npartitions=2)
    expected = audit(rest, "label", trusted=(known, "label"), **QUICK)
    numbers = known.drop(columns="label")
    as_array = (numbers.to_numpy(np.float64), known["label"])
    assert_same(audit(given, "label", trusted=as_array, **QUICK), expected)
    trusted = (known.drop(columns="time"), "label")
    with pytest.raises(ValueError, match="only one of them has 'time'"):
        audit(given, "label", trusted=trusted, **QUICK)
    with pytest.raises(ValueError, match="only one of them has 'a', 'b', 'c'"):
        audit(given, "label", trusted=(known[["label"]], "label"), **QUICK)
    trusted = (known.rename(columns={"b": "a"}), "label")
    with pytest.raises(ValueError, match="X_trusted has several columns of the name"):
        audit(given, "label", trusted=trusted, **QUICK)
    trusted = (sparse.csr_matrix(as_array[0]), known["label"])
    with pytest.raises(TypeError, match=r"sparse matrix.*X_trusted\.toarray\(\)"):
        audit(given, "label", trusted=trusted, **QUICK)
    trusted = (known.assign(time=pd.Timestamp("2020-01-01")), "label")
    with pytest.raises(ValueError, match="'time' of X_trusted holds date"):
        audit(given, "label", trusted=trusted, **QUICK)
    in_parts = dd.from_pandas(known, npartitions=2)
    with pytest.raises(TypeError, match="y_trusted is a Series of Dask"):
        audit(given, "label", trusted=(in_parts, in_parts["label"]), **QUICK)
    numbers = rest.drop(columns="label")
    for X in (numbers, numbers.to_numpy(np.float64)):
        with pytest.raises(TypeError, match=r"X is none: give X_trusted\.compute\(\)"):
            audit(X, rest["label"], trusted=(in_parts, "label"), **QUICK)


def test_trusted_rows_that_are_judged_too_are_counted(frame):
    rows = frame.drop(columns="patient")
    for X, trusted in (
        (rows, rows[20:30]),
        (dd.from_pandas(rows, npartitions=3), rows[20:30]),
    ):
        with pytest.warns(UserWarning, match="10 trusted rows are rows of X too"):
            audit(X, "label", trusted=(trusted, "label"), **QUICK)


def test_frozen_estimator_must_know_the_columns(frame):
    numbers = frame[["a", "b", "c", "d"]]
    model = GaussianNB().fit(numbers, frame["label"])
    given = dd.from_pandas(numbers.assign(label=frame["label"]), npartitions=3)
    settings = {"estimator": FrozenEstimator(model), "cv": 2, "random_state": 0}
    expected = audit(numbers, frame["label"], **settings)
    with pytest.raises(ValueError, match="fitted on the columns a, b, c, d, but those"):
        audit(given[["d", "c", "b", "a", "label"]], "label", **settings)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        result = audit(given, "label", **settings)
    assert_same(result, expected)


def test_interrupted_audit_is_resumed(frame, tmp_path):
    given = dd.from_pandas(frame.drop(columns="patient"), npartitions=3)
    settings = {**QUICK, "resume_from": tmp_path}
    first = audit(given, "label", **settings)
    kept = sorted(tmp_path.rglob("output*"))
    assert_same(audit(given, "label", **settings), first)
    assert sorted(tmp_path.rglob("output*")) == kept
