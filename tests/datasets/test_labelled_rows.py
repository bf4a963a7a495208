import io
import os
from datetime import time, timedelta
from decimal import Decimal

import numpy as np
import polars
import pytest
from PIL import Image
from sklearn.datasets import load_iris

from sklgm.datasets import _large_table, load_rows


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return polars.DataFrame(
        {
            "width": rng.normal(size=6),
            "label": ["cat", "dog"] * 3,
            "count": [3, 1, 4, 1, 5, 9],
            "is_tall": [True, False] * 3,
        }
    )


def write(table, path):
    table.write_csv(path) if path.suffix == ".csv" else table.write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_gives_numbers_and_labels_in_order(table, tmp_path, suffix):
    rows = load_rows(write(table, tmp_path / f"animals{suffix}"))
    assert rows.name == "animals"
    assert rows.row_names is None
    assert rows.X.dtype == np.float32
    expected = table.select("width", "count", "is_tall").to_numpy().astype(np.float32)
    np.testing.assert_array_equal(rows.X, expected)
    assert rows.feature_names == ("width", "count", "is_tall")
    assert rows.y.tolist() == ["cat", "dog"] * 3
    assert repr(rows) == "LabelledRows(name='animals', X=float32 (6, 3), 2 classes)"


def test_decimals_and_times_are_numbers_and_no_value_is_a_missing_one(tmp_path):
    table = polars.DataFrame(
        {
            "price": [Decimal("0.5"), Decimal("1.25")],
            "spent": [timedelta(seconds=1), timedelta(seconds=3)],
            "at": [time(0, 0, 1), time(0, 0, 2)],
            "label": ["u", "v"],
        }
    )
    rows = load_rows(write(table, tmp_path / "t.parquet"))
    np.testing.assert_array_equal(rows.X[:, 0], [0.5, 1.25])
    for column, ratio in ((1, 3), (2, 2)):
        assert rows.X[1, column] == pytest.approx(ratio * rows.X[0, column])
    empty = table.with_columns(polars.lit(None).alias("empty"))
    X = load_rows(write(empty, tmp_path / "e.parquet")).X
    np.testing.assert_array_equal(X[:, :3], rows.X)
    assert np.isnan(X[:, 3]).all()


def test_label_column_may_be_named(table, tmp_path):
    path = write(table.rename({"label": "kind"}), tmp_path / "t.csv")
    assert load_rows(path, label_column="kind").y.tolist() == ["cat", "dog"] * 3
    with pytest.raises(ValueError, match="target or class: name the one that holds"):
        load_rows(path)
    with pytest.raises(ValueError, match=r"no label_column 'sort'; its columns are wi"):
        load_rows(path, label_column="sort")


def test_of_many_columns_the_last_are_named_too(tmp_path):
    columns = {f"x{j}": [0.0, 1.0] for j in range(30)} | {"diagnosis": ["a", "b"]}
    path = write(polars.DataFrame(columns), tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"x0, .*x9, \.\.\., x21, .*, diagnosis\.$"):
        load_rows(path)


def test_several_columns_that_may_be_labels_are_refused(table, tmp_path):
    path = write(table.with_columns(target=polars.lit(1)), tmp_path / "t.csv")
    with pytest.raises(ValueError, match="several columns .* 'label', 'target'"):
        load_rows(path)
    rows = load_rows(path, label_column="label", drop_columns=["target"])
    assert rows.X.shape == (6, 3)


@pytest.mark.parametrize("name", ["", "id"])
def test_column_that_counts_the_rows_is_refused(table, tmp_path, name):
    path = write(table.with_row_index(name, offset=5), tmp_path / "t.csv")
    with pytest.raises(ValueError, match=f"column '{name}' counts the rows"):
        load_rows(path)
    assert load_rows(path, drop_columns=[name]).X.shape == (6, 3)
    with pytest.raises(ValueError, match="no column 'absent' of drop_columns"):
        load_rows(path, drop_columns=["absent"])


def test_columns_are_ordered_by_name(table, tmp_path):
    rows = load_rows(write(table, tmp_path / "a.csv"))
    mixed = table.select("count", "is_tall", "label", "width")
    other = load_rows(write(mixed, tmp_path / "b.csv"))
    np.testing.assert_array_equal(other.with_features(rows.feature_names).X, rows.X)
    assert rows.with_features(rows.feature_names) is rows
    fewer = load_rows(write(table.drop("count"), tmp_path / "c.csv"))
    with pytest.raises(ValueError, match="c must have the columns .* 'count'"):
        fewer.with_features(rows.feature_names)


def test_labels_that_name_no_class_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n0.1,0.5\n0.2,1")
    with pytest.raises(ValueError, match="label column 'label' must hold integers"):
        load_rows(tmp_path / "t.csv")


def test_whole_floats_are_labels(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n0.1,0.0\n0.2,1.0")
    assert load_rows(tmp_path / "t.csv").y.tolist() == [0, 1]


@pytest.mark.parametrize(
    "labels",
    [["007", "7"], ["01", "02"], ["99999999999999999999", "1"], ["cat", "cat "]],
    ids=lambda labels: labels[0],
)
def test_labels_that_are_no_plain_numbers_stay_text(tmp_path, labels):
    (tmp_path / "t.csv").write_text(f"x,label\n0.1,{labels[0]}\n0.2,{labels[1]}")
    assert load_rows(tmp_path / "t.csv").y.tolist() == labels


def test_missing_labels_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n0.1,a\n0.2,\n0.3,NA")
    with pytest.raises(ValueError, match="'label', the labels, lacks 1 of 3 values"):
        load_rows(tmp_path / "t.csv")


@pytest.mark.parametrize("label", [None, float("nan")])
@pytest.mark.parametrize("n_rows", [6, 60_000])
def test_missing_labels_of_a_parquet_file_are_refused(
    tmp_path, label, n_rows, monkeypatch
):
    monkeypatch.setattr(_large_table, "_LARGE", 2**20)
    columns = {"x": [0.5] * n_rows, "y": [0.5, 1.5] * (n_rows // 2)}
    labels = [0.0, 1.0] * (n_rows // 2 - 1) + [label, 1.0]
    polars.DataFrame({**columns, "label": labels}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="'label', the labels, lacks 1 of"):
        load_rows(tmp_path / "t.parquet", label_column="label")


@pytest.mark.parametrize("label", [0.5, float("inf")])
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, label):
    frame = polars.DataFrame({"x": [0.1, 0.2, 0.4], "label": [0.0, 1.0, label]})
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="must hold integers, booleans or text"):
        load_rows(tmp_path / "t.parquet")


def test_table_without_rows_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n")
    with pytest.raises(ValueError, match="must hold rows"):
        load_rows(tmp_path / "t.csv")


def test_types_are_decided_by_all_rows(tmp_path):
    lines = ["x,label"] + ["1,0"] * 2000 + ["0.5,1"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert load_rows(tmp_path / "t.csv").X[-1, 0] == 0.5


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, np.inf, 0, 1, 1, 1], "column 'bad' holds values that are infinite"),
        ([1.0, 1e300, 0, 1, 1, 1], "too large for float32"),
        ([["a"]] * 6, "lists of String; only lists of numbers"),
        ([[1.0], [1.0, 2.0]] * 3, "lists of column 'bad' have 1 to 2 numbers"),
        ([[1.0], None] * 3, "column 'bad' lacks 3 of 6 lists"),
        ([{"a": 1}] * 6, "'bad' holds Struct.* of which no feature can be made"),
        ([2**60 + i for i in (0, 1, 4, 2, 8, 3)], "'bad' holds integers beyond 2..53"),
    ],
    ids=["infinite", "large", "words", "ragged", "no list", "struct", "wide"],
)
def test_bad_columns_are_named(table, tmp_path, column, message):
    bad = table.with_columns(polars.Series("bad", column))
    with pytest.raises(ValueError, match=message):
        load_rows(write(bad, tmp_path / "t.parquet"))


def test_labels_must_name_classes(table, tmp_path):
    path = write(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="label column 'width' must hold integers"):
        load_rows(path, label_column="width")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_damaged_tables_are_refused(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"\x00\x01\x02" * 5)
    with pytest.raises(ValueError, match=f"{path.name} "):
        load_rows(path)


def test_table_without_numbers_is_refused(table, tmp_path):
    path = write(table.select("label"), tmp_path / "t.csv")
    with pytest.raises(ValueError, match="at least one column of features"):
        load_rows(path)


def test_npz_keeps_the_order_and_leaves_test_rows(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(8, 5, 5), dtype=np.uint8)
    y = np.arange(8) % 2
    np.savez(tmp_path / "a.npz", X=X, y=y, X_test=X[:2], y_test=y[:2])
    rows = load_rows(tmp_path / "a.npz")
    np.testing.assert_array_equal(rows.X, X[:, None].astype(np.float32) / 255)
    np.testing.assert_array_equal(rows.y, y)


@pytest.mark.parametrize("split", ["train", None])
def test_image_folder_gives_file_names(tmp_path, split):
    for label in ("cat", "dog"):
        for number in range(3):
            for part in [split, "test"] if split else ["."]:
                folder = tmp_path / "pets" / part / label
                folder.mkdir(parents=True, exist_ok=True)
                pixels = np.full((4, 4), 10 * number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    rows = load_rows(tmp_path / "pets")
    prefix = f"{split}/" if split else ""
    assert rows.row_names == tuple(
        f"{prefix}{label}/{number}.png" for label in ("cat", "dog") for number in "012"
    )
    assert rows.X.shape == (6, 1, 4, 4)
    assert rows.X[2, 0, 0, 0] == pytest.approx(20 / 255)
    assert load_rows(tmp_path / "pets", image_size=8).X.shape == (6, 1, 8, 8)


def test_parameters_that_do_not_apply_are_refused(table, tmp_path):
    path = write(table, tmp_path / "t.csv")
    with pytest.raises(ValueError, match="image_size is for images only"):
        load_rows(path, image_size=8)
    with pytest.raises(ValueError, match="label_column is for tables only"):
        load_rows(tmp_path, label_column="label")


def test_paths_that_are_no_data_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_rows(tmp_path / "none.csv")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(ValueError, match=r"path must be a folder or .zip archive"):
        load_rows(tmp_path / "a.txt")


def european(separator=";", comma=False, words=("café", "thé"), n=40):
    rng = np.random.default_rng(0)
    widths, heights = rng.normal(size=n), rng.normal(size=n)
    lines = [separator.join(["largeur", "hauteur", "label"])]
    for i, (a, b) in enumerate(zip(widths, heights, strict=True)):
        fields = [f"{a:.3f}", f"{b:.3f}", words[i % 2]]
        if comma:
            fields = [field.replace(".", ",") for field in fields]
        lines.append(separator.join(fields))
    return "\n".join(lines) + "\n", np.round(np.c_[widths, heights], 3)


@pytest.mark.parametrize("comma", [False, True], ids=["point", "comma"])
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separator_and_decimal_comma_are_recognised(tmp_path, separator, comma):
    text, X = european(separator, comma)
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    rows = load_rows(tmp_path / "t.csv")
    np.testing.assert_allclose(rows.X, X, rtol=1e-6)
    assert rows.feature_names == ("largeur", "hauteur")
    assert set(rows.y) == {"café", "thé"}


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_encoding_is_recognised(tmp_path, encoding):
    text, X = european(",")
    (tmp_path / "t.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    rows = load_rows(tmp_path / "t.csv")
    np.testing.assert_allclose(rows.X, X, rtol=1e-6)
    assert set(rows.y) == {"café", "thé"}


def test_windows_encoding_is_said(tmp_path):
    text, X = european(";", comma=True)
    (tmp_path / "t.csv").write_bytes(text.encode("cp1252"))
    with pytest.warns(UserWarning, match="not UTF-8: it was read as Windows-1252") as w:
        rows = load_rows(tmp_path / "t.csv")
    assert w[0].filename == __file__
    np.testing.assert_allclose(rows.X, X, rtol=1e-6)
    assert set(rows.y) == {"café", "thé"}


def test_separator_line_of_excel_and_empty_columns_are_passed_over(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\na;label;;\n1,5;x;;\n-0,25;y;;\n")
    rows = load_rows(tmp_path / "t.csv")
    assert rows.feature_names == ("a",)
    assert rows.X[:, 0].tolist() == [1.5, -0.25]


@pytest.mark.parametrize(
    ("separator", "fields", "expected"),
    [
        (",", ['"1,234"', '"12,000"'], [1234, 12000]),
        (",", ['"1,234.5"', "12"], [1234.5, 12]),
        (",", ['"0,125"', '"12,250"'], [0.125, 12.25]),
        (";", ["1.234,5", "7"], [1234.5, 7]),
        (";", ["1,234", "7"], [1.234, 7]),
        (";", ["1.234", "7.5"], [1.234, 7.5]),
        (",", ["1e3", " -2.5E-1"], [1000, -0.25]),
        (",", ["0930", "1715"], [930, 1715]),
        (",", ["NA", "3"], [np.nan, 3]),
        (",", ["true", "False"], [1, 0]),
    ],
)
def test_numbers_are_read_as_they_are_written(tmp_path, separator, fields, expected):
    lines = [separator.join(["x", "label"])]
    lines += [separator.join([field, "ab"[i]]) for i, field in enumerate(fields)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(load_rows(tmp_path / "t.csv").X[:, 0], expected)


def test_text_stays_text_where_numbers_would_merge(tmp_path):
    (tmp_path / "t.csv").write_text(
        "code,wide,day,x,label\n007,12345678901234567890,2020-01-02,1,a\n"
        "7,12345678901234567891,2020-01-03 04:05:06,2,b\n"
    )
    X = load_rows(tmp_path / "t.csv").X
    assert X["code"].to_list() == ["007", "7"]
    assert X["wide"].to_list() == ["12345678901234567890", "12345678901234567891"]
    assert X["day"].dtype.is_temporal()
    assert X["day"][1].second == 6
    assert X["x"].to_list() == [1, 2]


def test_digits_of_other_scripts_are_text(tmp_path):
    (tmp_path / "t.csv").write_text(
        "whole,part,label\n\N{ARABIC-INDIC DIGIT ONE},"
        "\N{ARABIC-INDIC DIGIT TWO}.5,a\n3,1.5,b\n",
        encoding="utf-8",
    )
    X = load_rows(tmp_path / "t.csv").X
    assert X["whole"].to_list() == ["\N{ARABIC-INDIC DIGIT ONE}", "3"]
    assert X["part"].to_list() == ["\N{ARABIC-INDIC DIGIT TWO}.5", "1.5"]


def test_dates_of_no_calendar_are_text(tmp_path):
    (tmp_path / "t.csv").write_text(
        "iso,dotted,good,label\n2020-02-31,31.2.2020,1.2.2020,a\n"
        "2020-03-01,1.3.2020,29.2.2020,b\n"
    )
    X = load_rows(tmp_path / "t.csv").X
    assert X["iso"].to_list() == ["2020-02-31", "2020-03-01"]
    assert X["dotted"].to_list() == ["31.2.2020", "1.3.2020"]
    assert [(day.day, day.month) for day in X["good"]] == [(1, 2), (29, 2)]


@pytest.mark.parametrize("field", ["7", "0.5", "1;5", "a", "true", "2020-01-02", ""])
def test_many_columns_take_no_more_calls_than_few(tmp_path, monkeypatch, field):
    calls = []
    select = polars.DataFrame.select_seq  # what each method of a column calls
    monkeypatch.setattr(
        polars.DataFrame,
        "select_seq",
        lambda *args, **more: calls.append(args) or select(*args, **more),
    )
    n_calls = []
    for n_columns in (10, 200):
        lines = [";".join([*(f"c{i}" for i in range(n_columns)), "label"])]
        lines += [f"{field};".replace("1;5", "1,5") * n_columns + c for c in "ab"]
        (tmp_path / "t.csv").write_text("\n".join(lines))
        calls.clear()
        assert load_rows(tmp_path / "t.csv").X.shape == (2, n_columns)
        n_calls.append(len(calls))
    assert n_calls[0] == n_calls[1] > 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_names_of_columns_are_no_patterns(tmp_path, suffix):
    table = polars.DataFrame(
        {
            "^.*$": ["a", "b", "a"],
            "^x$": [9.0, 8.0, 9.5],
            "x": [1.5, 0.5, 2.5],
            "^[xy]$": ["s", "t", "s"],
        }
    )
    rows = load_rows(
        write(table, tmp_path / f"t{suffix}"),
        label_column="^.*$",
        drop_columns=["^x$"],
        group_column="^[xy]$",
    )
    assert rows.y.tolist() == ["a", "b", "a"]
    assert rows.groups.tolist() == ["s", "t", "s"]
    assert rows.feature_names == ("x",)
    assert rows.X[:, 0].tolist() == [1.5, 0.5, 2.5]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_two_columns_of_one_name_are_refused(tmp_path, suffix):
    separator = "," if suffix == ".csv" else "\t"
    for header in (["x", "label", "label"], ["x", "x", "label"], ["x", " x", "label"]):
        lines = [separator.join(header), separator.join("120"), separator.join("340")]
        (tmp_path / f"t{suffix}").write_text("\n".join(lines))
        message = f"several columns of the name '{header[1].strip()}'"
        with pytest.raises(ValueError, match=message):
            load_rows(tmp_path / f"t{suffix}")


def test_label_column_is_found_whatever_its_case(tmp_path):
    (tmp_path / "t.csv").write_text("Y,Label\n1,a\n2,b\n")
    with pytest.raises(ValueError, match="several columns that may be the labels"):
        load_rows(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("Y,label\n1,a\n2,b\n")
    assert load_rows(tmp_path / "t.csv").feature_names == ("Y",)
    (tmp_path / "t.csv").write_text("x,LABEL\n1,a\n2,b\n")
    assert load_rows(tmp_path / "t.csv").y.tolist() == ["a", "b"]


def test_columns_of_large_offset_keep_their_differences(tmp_path):
    rng = np.random.default_rng(0)
    times = 1.7e9 + rng.normal(size=200)
    table = polars.DataFrame({"time": times, "label": ["a", "b"] * 100})
    for suffix in (".csv", ".parquet"):
        X = load_rows(write(table, tmp_path / f"t{suffix}")).X
        np.testing.assert_array_equal(X[:, 0], times)
    np.savez(tmp_path / "t.npz", X=times[:, None], y=np.arange(200) % 2)
    np.testing.assert_array_equal(load_rows(tmp_path / "t.npz").X[:, 0], times)


def test_nanoseconds_as_integers_keep_their_differences(tmp_path):
    start = 1_700_000_000_000_000_000
    nanoseconds = start + 1000 * np.random.default_rng(0).permutation(50) ** 3
    table = polars.DataFrame({"t": nanoseconds, "label": ["a", "b"] * 25})
    X = load_rows(write(table, tmp_path / "t.parquet")).X
    assert len(np.unique(X)) == 50


@pytest.mark.parametrize("step", [1, 10, -3, 0.1])
def test_column_that_runs_with_the_rows_is_named(tmp_path, step):
    rng = np.random.default_rng(0)
    order = {"id": 5 + step * np.arange(60), "x": rng.normal(size=60)}
    table = polars.DataFrame({**order, "label": (["a", "b", "c"] * 20)})
    path = write(table, tmp_path / "t.parquet")
    if step == 1:  # as integers it is refused
        path = write(table.cast({"id": polars.Int64}), path)
        with pytest.raises(ValueError, match="column 'id' counts the rows"):
            load_rows(path)
        return
    with pytest.warns(UserWarning, match="run with the order of the rows.*: 'id'"):
        load_rows(path)


@pytest.mark.parametrize(
    "values",
    [
        lambda y: 10 * np.arange(60),
        lambda y: [f"{label}/img{i}.png" for i, label in enumerate(y)],
        lambda y: [f"kind {label}" for label in y],
        lambda y: [3 * "abc".index(label) for label in y],
    ],
    ids=["id", "path", "copy", "code"],
)
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_column_that_tells_the_label_is_named(tmp_path, values, is_shuffled):
    rng = np.random.default_rng(0)
    y = ["a"] * 20 + ["b"] * 20 + ["c"] * 20
    table = polars.DataFrame({"x": rng.normal(size=60), "tells": values(y), "label": y})
    if is_shuffled:
        table = table.sample(fraction=1, shuffle=True, seed=0)
    with pytest.warns(UserWarning, match="tell nearly every label alone: 'tells'. L"):
        load_rows(write(table, tmp_path / "t.parquet"))


def test_good_features_are_not_named(tmp_path):
    iris = load_iris(as_frame=True).frame
    iris.to_csv(tmp_path / "iris.csv", index=False)
    assert load_rows(tmp_path / "iris.csv").X.shape == (150, 4)


@pytest.mark.parametrize("kind", ["list", "array"])
def test_lists_of_numbers_are_features(tmp_path, kind):
    E = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    column = polars.Series(
        E.tolist(),
        dtype=polars.List(polars.Float32)
        if kind == "list"
        else polars.Array(polars.Float32, 5),
    )
    table = polars.DataFrame(
        {"embedding": column, "n": range(0, 60, 2), "label": [0, 1] * 15}
    ).drop("n")
    rows = load_rows(write(table, tmp_path / "t.parquet"))
    np.testing.assert_array_equal(rows.X, E)
    assert rows.feature_names[4] == "embedding[4]"


def encoded(value, size=(6, 5)):
    stream = io.BytesIO()
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["struct", "bytes"])
def test_columns_of_images_are_decoded(tmp_path, kind):
    images = [encoded(i) for i in range(12)]
    images[3] = b"damaged"
    cells = [
        {"bytes": image, "path": f"{i}.png"} if kind == "struct" else image
        for i, image in enumerate(images)
    ]
    table = polars.DataFrame({"image": cells, "label": ["a", "b"] * 6})
    path = write(table, tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match="1 of 12 images in column 'image' of"):
        rows = load_rows(path)
    assert rows.X.shape == (11, 1, 6, 5)
    assert rows.y.tolist() == [["a", "b"][i % 2] for i in range(12) if i != 3]
    name = "{}.png" if kind == "struct" else "{}"
    assert rows.row_names[3] == name.format(4)
    assert rows.skipped[0][0] == name.format(3)
    with pytest.raises(ValueError, match="cannot be read"):
        load_rows(path, on_error="stop")
    with pytest.warns(UserWarning, match="1 of 12"):
        assert load_rows(path, image_size=3).X.shape == (11, 1, 3, 3)


def test_group_column_is_not_a_feature(table, tmp_path):
    path = write(table.with_columns(scene=polars.lit("s")), tmp_path / "t.csv")
    rows = load_rows(path, group_column="scene")
    assert rows.groups.tolist() == ["s"] * 6
    assert "scene" not in rows.feature_names
    with pytest.raises(ValueError, match="no group_column 'place'"):
        load_rows(path, group_column="place")


def test_texts_and_missing_values_give_a_frame(tmp_path):
    (tmp_path / "t.csv").write_text(
        'text,age,label\n"good, really",3,yes\nbad,,no\n"so ""so""",5,no\n'
    )
    rows = load_rows(tmp_path / "t.csv")
    assert rows.X["text"].to_list() == ["good, really", "bad", 'so "so"']
    assert rows.X["age"].to_list() == [3, None, 5]
    assert repr(rows) == "LabelledRows(name='t', X=frame (3, 2), 2 classes)"
    other = rows.with_features(("age", "text"))
    assert other.X.columns == ["age", "text"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_are_not_read(tmp_path):
    for name in ("t.csv", "t.npz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match="a folder or a regular file, got"):
            load_rows(tmp_path / name)
