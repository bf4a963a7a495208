import numpy as np
import polars
import pytest
from PIL import Image

from sklgm.datasets import load_rows


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


def test_label_column_may_be_named(table, tmp_path):
    path = write(table.rename({"label": "kind"}), tmp_path / "t.csv")
    assert load_rows(path, label_column="kind").y.tolist() == ["cat", "dog"] * 3
    with pytest.raises(ValueError, match="has no label_column any of label, labels"):
        load_rows(path)
    with pytest.raises(ValueError, match=r"no label_column 'sort'; its columns are wi"):
        load_rows(path, label_column="sort")


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


@pytest.mark.parametrize("label", ["99999999999999999999", "0.5"])
def test_labels_that_name_no_class_are_refused(tmp_path, label):
    (tmp_path / "t.csv").write_text(f"x,label\n0.1,{label}\n0.2,1")
    with pytest.raises(ValueError, match="label column 'label' must hold integers"):
        load_rows(tmp_path / "t.csv")


def test_whole_floats_are_labels(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n0.1,0.0\n0.2,1.0")
    assert load_rows(tmp_path / "t.csv").y.tolist() == [0, 1]


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
        (["a"] * 6, "must hold numbers; drop or encode 'bad'"),
        ([1.0, None, None, 1, 1, 1], "column 'bad' lacks 2 of 6 values"),
        ([1.0, np.inf, 0, 1, 1, 1], "column 'bad' holds values that are NaN, infinite"),
        ([1.0, 1e300, 0, 1, 1, 1], "too large for float32"),
    ],
    ids=["text", "missing", "infinite", "large"],
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
    with pytest.raises(ValueError, match="at least one column of numbers"):
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
    with pytest.raises(ValueError, match="image_size is for image folders only"):
        load_rows(path, image_size=8)
    with pytest.raises(ValueError, match="label_column is for .csv and .parquet"):
        load_rows(tmp_path, label_column="label")


def test_paths_that_are_no_data_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_rows(tmp_path / "none.csv")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(ValueError, match=r"path must be a folder or .zip archive"):
        load_rows(tmp_path / "a.txt")
