"""Folders of Parquet files: which files are the table, and in which order."""

import os

import numpy as np
import polars as pl
import pytest

from sklgm.auditing import apply_decisions
from sklgm.datasets import load_rows
from sklgm.datasets._parquet_files import find_parquet_files


def write(folder, **tables):
    """Write tables of one row per value, by names whose ``/`` are written ``__``."""
    for name, values in tables.items():
        file = folder / f"{name.replace('__', '/').replace('_', '-')}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        labels = ["cat" if value % 2 else "dog" for value in values]
        pl.DataFrame({"a": values, "label": labels}).write_parquet(file)
    return folder


def names(folder):
    found = find_parquet_files(folder)
    assert found is not None
    return [
        [str(f.relative_to(folder)) for f in fs]
        for fs in (found.files, found.other_files)
    ]


def test_rows_follow_each_other_by_the_numbers_in_names(tmp_path):
    write(tmp_path / "rows", part_10=[7, 4], part_9=[1, 8], part_1=[2, 6])
    rows = load_rows(tmp_path / "rows")
    assert rows.name == "rows"
    assert rows.feature_names == ("a",)
    np.testing.assert_array_equal(rows.X[:, 0], [2, 6, 1, 8, 7, 4])
    assert rows.y.tolist() == ["dog", "dog", "cat", "dog", "cat", "dog"]


@pytest.mark.parametrize(
    ("tables", "files", "others"),
    [
        (["train_00000_of_00002", "train_00001_of_00002", "test_00000"], 2, 1),
        (["data__train_0", "data__validation_0", "data__test_0"], 1, 2),
        (["train__0000", "train__0001", "test__0000"], 2, 1),
        (["default__train__0", "default__test__0"], 1, 1),
        (["train", "unsupervised"], 1, 1),
        (["part_0", "part_1", "test"], 2, 1),
        (["test_0", "test_1"], 2, 0),
        (["trainees", "testament"], 2, 0),
        (["imdb_train", "imdb_test"], 1, 1),
        (["train.parquet__part_0", "test.parquet__part_0"], 1, 1),
        (["train", "train_1", "dev", "eval"], 2, 2),
        (["train_sft_0", "train_sft_1", "test_sft_0", "test_gen_0"], 2, 2),
    ],
)
def test_training_files_are_the_table(tmp_path, tables, files, others):
    write(tmp_path, **{name: [1, 2] for name in tables})
    (tmp_path / "README.md").write_text("not a table")
    found = names(tmp_path)
    assert [len(group) for group in found] == [files, others]
    first = tables[0].replace("__", "/").replace("_", "-")
    assert f"{first}.parquet" in found[0]
    assert len(load_rows(tmp_path).y) == 2 * files


def test_what_is_hidden_or_said_of_the_whole_is_not_read(tmp_path):
    write(tmp_path, part=[1, 2])
    for name in ("_metadata.parquet", ".part.parquet.crc", ".old.parquet"):
        (tmp_path / name).write_bytes(b"no table")
    (tmp_path / "_temporary").mkdir()
    assert names(tmp_path) == [["part.parquet"], []]


@pytest.mark.parametrize(
    "tables",
    [("part_0", "more__part_0"), ("a=1__part", "a=2__part"), ("data__x", "other__x")],
)
def test_no_table_is_left_unread(tmp_path, tables):
    write(tmp_path, **{name: [1, 2] for name in tables})
    with pytest.raises(ValueError, match="holds .parquet files in several folders"):
        load_rows(tmp_path)


@pytest.mark.parametrize(
    "tables",
    [
        ("train_sft_0", "train_gen_0", "test_sft_0"),
        ("test_0", "validation_0"),
        ("test__0", "validation__0"),
        ("imdb_train", "yelp_train"),
    ],
)
def test_tables_of_several_names_are_not_joined(tmp_path, tables):
    write(tmp_path, **{name: [1, 2] for name in tables})
    with pytest.raises(ValueError, match="several tables, such as .* and "):
        load_rows(tmp_path)


def test_files_whose_numbers_tie_are_in_the_order_of_their_names(tmp_path):
    for first, second in (("part_1", "part_01"), ("part_01", "part_1")):
        folder = tmp_path / first
        write(folder, **{first: [1], second: [2]})  # whichever was written first
        assert names(folder)[0] == ["part-01.parquet", "part-1.parquet"]


def test_rows_of_a_link_are_not_counted_twice(tmp_path):
    write(tmp_path, part_0=[1, 2])
    (tmp_path / "part-1.parquet").symlink_to("part-0.parquet")
    with pytest.raises(ValueError, match="part-1.parquet is a link to .* already"):
        load_rows(tmp_path)


@pytest.mark.parametrize("folder", ["assets", "."])
def test_a_picture_does_not_hide_a_table(tmp_path, folder):
    from PIL import Image

    write(tmp_path, part_0=[1, 2])
    (tmp_path / folder).mkdir(exist_ok=True)
    Image.new("RGB", (3, 3)).save(tmp_path / folder / "figure.png")
    with pytest.raises(ValueError, match="holds images, .* and .parquet files"):
        load_rows(tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".npz", ".zip", ".parquet"])
def test_folder_may_be_called_like_a_file(tmp_path, suffix):
    folder = tmp_path / f"rows{suffix}"
    write(folder, part_0=[2, 6, 1, 8])
    assert load_rows(folder).X[:, 0].tolist() == [2, 6, 1, 8]
    (tmp_path / "decisions.csv").write_text("row,decision\n1,drop\n")
    apply_decisions(tmp_path / "decisions.csv", folder, tmp_path / "clean")
    assert load_rows(tmp_path / "clean").X[:, 0].tolist() == [2, 1, 8]


@pytest.mark.parametrize("target", ["missing.parquet", "part.parquet"])
def test_links_that_lead_nowhere_are_named(tmp_path, target):
    (tmp_path / "part.parquet").symlink_to(target)
    with pytest.raises(ValueError, match=r"part\.parquet cannot be read: "):
        load_rows(tmp_path)


def test_name_that_is_not_utf8_is_named(tmp_path):
    write(tmp_path, part=[1, 2])
    odd = os.fsencode(tmp_path) + b"/part\xff.parquet"
    os.rename(tmp_path / "part.parquet", odd)
    with pytest.raises(ValueError, match=r"part\\udcff\.parquet' is not UTF-8"):
        load_rows(tmp_path)
    os.rename(odd, tmp_path / "ideographic\u3000space.parquet")
    assert len(load_rows(tmp_path).y) == 2


def test_hidden_images_make_no_folder_of_images(tmp_path):
    write(tmp_path, part=[1, 2])
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "thumbnail.png").write_bytes(b"no image")
    assert len(load_rows(tmp_path).y) == 2


@pytest.mark.parametrize("table", ["metadata", "data__metadata", "a.parquet__part"])
def test_class_folders_of_images_stay_images(tmp_path, table):
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (3, 3)).save(tmp_path / label / "a.png")
    write(tmp_path, **{table: [1, 2]})
    assert find_parquet_files(tmp_path) is None
    if table == "metadata":
        assert load_rows(tmp_path).row_names == ("cat/a.png", "dog/a.png")
    else:  # what else there is must be a class
        with pytest.raises(ValueError, match="the class folder .* holds no image"):
            load_rows(tmp_path)


def test_names_are_no_patterns(tmp_path):
    folder = tmp_path / "rows[1]*"
    write(folder, part=[1, 2])
    os.rename(folder / "part.parquet", folder / "part[0-9]=x.parquet")
    assert len(load_rows(folder).y) == 2
    assert len(load_rows(folder / "part[0-9]=x.parquet").y) == 2


@pytest.mark.parametrize("other", [{"b": [3]}, {"a": ["text"]}, {"a": [3], "b": [1]}])
def test_files_of_other_columns_are_refused(tmp_path, other):
    write(tmp_path, part_0=[1, 2])
    pl.DataFrame({**other, "label": ["cat"]}).write_parquet(tmp_path / "part-1.parquet")
    with pytest.raises(ValueError, match=r"part-1\.parquet must have the columns"):
        load_rows(tmp_path)


def test_one_damaged_file_is_named(tmp_path):
    write(tmp_path, part_0=[1, 2])
    (tmp_path / "part-1.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(ValueError, match=r"part-1\.parquet cannot be read"):
        load_rows(tmp_path)


def test_links_out_of_the_folder_are_refused(tmp_path):
    write(tmp_path / "elsewhere", rows=[1, 2])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "rows.parquet").symlink_to(tmp_path / "elsewhere" / "rows.parquet")
    with pytest.raises(ValueError, match="is a link that leads out of"):
        load_rows(folder)
    (folder / "rows.parquet").unlink()
    write(folder, part=[1, 2])
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="more is a link that leads out of"):
        load_rows(folder)


def test_links_of_a_snapshot_of_the_hub_are_read(tmp_path):
    repository = write(tmp_path / "datasets--a--b", blobs__1f=[1, 2], blobs__2f=[3])
    snapshot = repository / "snapshots" / "c0ffee"
    (snapshot / "data").mkdir(parents=True)
    for name, blob in (("train-0", "1f"), ("test-0", "2f")):
        (snapshot / "data" / f"{name}.parquet").symlink_to(
            f"../../../blobs/{blob}.parquet"
        )
    for folder in (snapshot, snapshot / "data"):
        assert load_rows(folder).X[:, 0].tolist() == [1, 2]
    # Elsewhere in the repository, or by a link in place of the blobs, nothing is.
    (repository / "blobs").rename(tmp_path / "elsewhere")
    (repository / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link that leads out of .*c0ffee"):
        load_rows(snapshot)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet is not a regular file"):
        load_rows(tmp_path)


def test_folders_without_tables_are_none(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_parquet_files(tmp_path) is None
    with pytest.raises(ValueError, match="holds no image"):
        load_rows(tmp_path)
