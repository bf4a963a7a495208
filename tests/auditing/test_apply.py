import csv
import hashlib
import io
import os
import textwrap
import warnings
import zipfile

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklgm import audit
from sklgm.auditing import apply_decisions
from sklgm.datasets import load_rows
from sklgm.datasets._label_source import parsed_label
from sklgm.poisoning import flip_labels

ETE = os.fsdecode(b"\xe9t\xe9")


def png(value):
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value % 256).save(buffer, format="PNG")
    return buffer.getvalue() + value.to_bytes(4, "big")  # no two files are equal


@pytest.fixture
def pets(tmp_path):
    """Twelve images in three class folders, one of them in another encoding."""
    folder = tmp_path / "pets"
    for k, label in enumerate(["cat", "dog", ETE]):
        (folder / label).mkdir(parents=True)
        for i in range(4):
            (folder / label / f"{i}.png").write_bytes(png(10 * k + i))
    (folder / "cat" / os.fsdecode(b"\xff.png")).write_bytes(png(99))
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents(folder).items():
            if name.isascii():
                archive.writestr(name, content)
    return path


def written(tmp_path, lines, columns="row,decision,new_label"):
    path = tmp_path / "decisions.csv"
    path.write_text("\n".join([columns, *lines]), encoding="utf-8")
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_images_move_to_the_folder_of_their_new_label(pets, tmp_path):
    before = contents(pets)
    # Sorted by class and name: 0 to 3 are cats 0 to 3, 4 the odd name, 5 to 8 dogs,
    # 9 to 12 the other encoding.
    decisions = written(
        tmp_path,
        ["0,relabel,dog", "1,drop,", "2,keep,", "3,unsure,", "9,relabel,owl",
         "4,relabel,\\udce9t\\udce9"],
    )  # fmt: skip
    result = apply_decisions(decisions, pets, tmp_path / "clean")
    assert contents(pets) == before
    after = contents(tmp_path / "clean")
    expected = dict(before)
    expected["dog/0-cat.png"] = expected.pop("cat/0.png")
    expected["owl/0.png"] = expected.pop(f"{ETE}/0.png")
    odd = os.fsdecode(b"\xff.png")
    expected[f"{ETE}/{odd}"] = expected.pop(f"cat/{odd}")
    del expected["cat/1.png"]
    assert after == expected
    assert result.summary() == {
        "path": str(tmp_path / "clean"), "n_rows": 12, "n_kept": 1,
        "n_relabelled": 3, "n_dropped": 1, "n_unsure": 1, "n_undecided": 7,
        "new_classes": ("owl",), "lost_classes": (),
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clean", "decisions.csv", "pets",
    ]  # fmt: skip


def test_a_hundred_decisions_on_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=300)
    claimed = np.where(np.arange(300) < 60, (truth + 1) % 3, truth)
    folder = tmp_path / "digits"
    for row in range(300):
        path = folder / f"class {claimed[row]}" / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(row))
    rows = load_rows(folder)
    of_file = [int(name[-8:-4]) for name in rows.row_names]
    lines = []
    for row in rng.permutation(300)[:100].tolist():
        i = of_file[row]
        label = f"class {truth[i]}"
        decision = "keep" if label == rows.y[row] else ["relabel", "drop"][i % 2]
        lines.append(f"{row},{rows.row_names[row]},{rows.y[row]},{decision},{label}")
    n_dropped = sum(",drop," in line for line in lines)
    n_relabelled = sum(",relabel," in line for line in lines)
    assert min(n_dropped, n_relabelled) > 5
    columns = "row,name,claimed_label,decision,new_label"
    decisions = written(tmp_path, lines, columns)
    result = apply_decisions(decisions, folder, tmp_path / "clean")
    assert (result.n_dropped, result.n_relabelled) == (n_dropped, n_relabelled)
    clean = load_rows(tmp_path / "clean")
    assert len(clean.y) == result.n_rows == 300 - n_dropped
    decided = {of_file[int(line.split(",")[0])] for line in lines}
    for name, label in zip(clean.row_names, clean.y, strict=True):
        i = int(name[-8:-4])
        assert label == f"class {truth[i] if i in decided else claimed[i]}"
        content = (tmp_path / "clean" / name).read_bytes()
        assert content == png(i)


@pytest.mark.parametrize("to", ["clean.zip", "clean"])
def test_archives_with_splits_and_a_folder_around_them(pets, tmp_path, to):
    source = tmp_path / "pets.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, content in contents(pets).items():
            if name.isascii():
                archive.writestr(f"all\\train\\{name}".replace("/", "\\"), content)
                archive.writestr(f"all/test/{name}", content)
    before = digest(source)
    decisions = written(tmp_path, ["0,relabel,dog", "5,drop,"])
    apply_decisions(decisions, source, tmp_path / to)
    assert digest(source) == before
    clean = load_rows(tmp_path / to)
    names = [name.replace("\\", "/") for name in clean.row_names]
    expected = [f"cat/{i}.png" for i in (1, 2, 3)]
    expected += ["dog/0-cat.png", *(f"dog/{i}.png" for i in (0, 2, 3))]
    assert names == [f"all/train/{name}" for name in expected]
    if to == "clean":
        assert len(list((tmp_path / to / "all" / "test").rglob("*.png"))) == 8


def test_an_index_instead_of_copies(pets, tmp_path):
    decisions = written(tmp_path, ["0,relabel,dog", "1,drop,"])
    result = apply_decisions(decisions, pets, tmp_path / "clean.csv", index=True)
    with (tmp_path / "clean.csv").open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == result.n_rows == 12
    labels = {line["path"]: line["label"] for line in lines}
    assert labels["cat/0.png"] == "dog"
    assert "cat/1.png" not in labels
    assert labels[f"{ETE}/3.png"] == ETE
    assert all((pets / path).is_file() for path in labels)


def test_rows_are_counted_without_images_that_cannot_be_read(pets, tmp_path):
    (pets / "cat" / "1.png").write_bytes(b"no image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = load_rows(pets).row_names
    assert names[1] == "cat/2.png"
    decisions = written(tmp_path, ["1,drop,"])
    result = apply_decisions(decisions, pets, tmp_path / "clean")
    assert not (tmp_path / "clean" / "cat" / "2.png").exists()
    assert (tmp_path / "clean" / "cat" / "1.png").read_bytes() == b"no image"
    assert result.n_rows == 12
    # With names the images are not decoded, and the outcome is the same.
    named = written(tmp_path, ["1,cat/2.png,drop"], "row,name,decision")
    apply_decisions(named, pets, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "clean")


def test_what_cannot_be_copied_is_said(pets, tmp_path):
    (tmp_path / "outside.png").write_bytes(png(1))
    (pets / "dog" / "link.png").symlink_to(tmp_path / "outside.png")
    decisions = written(tmp_path, ["0,cat/0.png,drop"], "row,name,decision")
    with pytest.warns(UserWarning, match=r"dog/link.png \(it is a link that leads out"):
        result = apply_decisions(decisions, pets, tmp_path / "clean")
    assert not (tmp_path / "clean" / "dog" / "link.png").exists()
    copied = [name for name in contents(tmp_path / "clean") if name.endswith(".png")]
    assert result.n_rows == len(copied)


TABLE = (
    'name;grade;note;"size, cm"\r\n'
    '"Ann ""A"" B";1.0;"two\r\nlines; and more";1,50\r\n'
    "Bo;2.0;;007\r\n"
    "Cy;1.0; spaces ;-,5\r\n"
    '"Di";"2.0";é;12'
)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"),
     ("utf-16-be", b"\xfe\xff"), ("cp1252", b"")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*read as Windows-1252")
def test_of_text_tables_every_byte_but_the_label_stays(tmp_path, encoding, mark):
    source = tmp_path / "people.csv"
    source.write_bytes(mark + TABLE.encode(encoding))
    decisions = written(
        tmp_path,
        ["0,1,relabel,2", "1,2,keep,", "2,1,drop,", '3,2,relabel,"so;so"'],
        "row,claimed_label,decision,new_label",
    )
    to = tmp_path / "clean.csv"
    result = apply_decisions(decisions, source, to, label_column="grade")
    expected = (
        TABLE.replace(';1.0;"two', ';2.0;"two')
        .replace("Cy;1.0; spaces ;-,5\r\n", "")
        .replace(';"2.0";é', ';"so;so";é')
    )
    assert to.read_bytes() == mark + expected.encode(encoding)
    assert result.new_classes == ("so;so",)
    assert result.lost_classes == ("1",)


def test_the_last_line_of_a_table_may_be_dropped(tmp_path):
    source = tmp_path / "few.csv"
    source.write_bytes(b"\nsep=,\na,label\n1,x\n2,y\n3,x"[1:])
    apply_decisions(written(tmp_path, ["2,drop,"]), source, tmp_path / "clean.csv")
    assert (tmp_path / "clean.csv").read_bytes() == b"sep=,\na,label\n1,x\n2,y"


@pytest.mark.parametrize(
    ("labels", "new", "expected"),
    [
        (pl.Series("label", [1, 2, 1, 2], dtype=pl.Int16), "3", 3),
        (pl.Series("label", ["a", "b", "a", "b"], dtype=pl.Categorical), "c", "c"),
        (pl.Series("label", ["a", "b"] * 2, dtype=pl.Enum(["a", "b"])), "c", "c"),
        (pl.Series("label", [True, False] * 2), "false", False),
        (pl.Series("label", [1.0, 2.0] * 2), "2", 2.0),
        (pl.Series("label", ["007", "7"] * 2), "7", "7"),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else None,
)
def test_of_parquet_all_columns_and_types_stay(tmp_path, labels, new, expected):
    table = pl.DataFrame(
        {
            "list": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]],
            "text": ["a", None, "c", "d"],
            "time": pl.Series([0, 1, 2, 3]).cast(pl.Datetime("us")),
        }
    ).with_columns(labels)
    source = tmp_path / "rows.parquet"
    table.write_parquet(source, metadata={"huggingface": '{"own": 1}'})
    decisions = written(tmp_path, [f"0,relabel,{new}", "2,drop,"])
    apply_decisions(decisions, source, tmp_path / "clean.parquet")
    clean = pl.read_parquet(tmp_path / "clean.parquet")
    assert clean.drop("label").equals(table.drop("label")[[0, 1, 3]])
    assert clean["label"].to_list() == [expected, labels[1], labels[3]]
    if labels.dtype != pl.Enum:
        assert clean.schema == table.schema
    metadata = pl.read_parquet_metadata(tmp_path / "clean.parquet")
    assert metadata["huggingface"] == '{"own": 1}'


def test_images_in_parquet_are_counted_as_the_audit_counts_them(tmp_path):
    images = [png(1), b"no image", png(2), png(3)]
    table = pl.DataFrame({"image": images, "label": ["a", "b", "a", "b"]})
    table.write_parquet(tmp_path / "rows.parquet")
    apply_decisions(
        written(tmp_path, ["1,drop,"]),
        tmp_path / "rows.parquet",
        tmp_path / "c.parquet",
    )
    clean = pl.read_parquet(tmp_path / "c.parquet")
    assert clean["image"].to_list() == [images[0], images[1], images[3]]


def test_a_folder_of_parquet_keeps_its_files(tmp_path):
    folder = tmp_path / "rows" / "data"
    folder.mkdir(parents=True)
    labels = {"train-9": [1, 2, 1], "train-10": [2, 2], "test-0": [1]}
    for name, values in labels.items():
        table = pl.DataFrame({"a": np.arange(len(values)) * 0.5, "label": values})
        table.write_parquet(folder / f"{name}.parquet", metadata={"of": name})
    decisions = written(tmp_path, ["1,relabel,3", "2,drop,", "3,relabel,1"])
    clean = tmp_path / "clean"
    result = apply_decisions(decisions, tmp_path / "rows", clean)
    assert (result.n_rows, result.n_relabelled, result.n_dropped) == (4, 2, 1)
    copies = {name: clean / "data" / f"{name}.parquet" for name in labels}
    assert sorted(clean.rglob("*.*")) == sorted(copies.values())
    expected = {"train-9": [1, 3], "train-10": [1, 2], "test-0": [1]}
    for name, file in copies.items():
        assert pl.read_parquet(file)["label"].to_list() == expected[name]
        assert pl.read_parquet_metadata(file)["of"] == name
    apply_decisions(decisions, tmp_path / "rows", tmp_path / "copy.parquet")
    assert (tmp_path / "copy.parquet" / "data").is_dir()  # as Spark names folders
    for to in ("copy.csv", "copy.zip"):
        with pytest.raises(ValueError, match="must be a folder, for .* is copied"):
            apply_decisions(decisions, tmp_path / "rows", tmp_path / to)
    with pytest.raises(ValueError, match="index=True is for images only"):
        apply_decisions(decisions, tmp_path / "rows", tmp_path / "x.csv", index=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_with_a_row_for_each_label_are_filtered(tmp_path, save):
    rng = np.random.default_rng(0)
    arrays = {
        "X": rng.normal(size=(5, 3)).astype(np.float32),
        "y": np.array(["a", "b", "a", "b", "a"]),
        "ids": np.arange(5),
        "scale": np.float64(2.5),
        "names_of_columns": np.array(["p", "q", "r"]),
        "X_test": rng.normal(size=(5, 3)),
        "y_test": np.array(["a"] * 5),
    }
    save(tmp_path / "rows.npz", **arrays)
    decisions = written(tmp_path, ["0,relabel,longer", "3,drop,"])
    apply_decisions(decisions, tmp_path / "rows.npz", tmp_path / "clean.npz")
    kept = [0, 1, 2, 4]
    with np.load(tmp_path / "clean.npz") as clean:
        assert sorted(clean) == sorted(arrays)
        assert clean["y"].tolist() == ["longer", "b", "a", "a"]
        for name in ("X", "ids"):
            np.testing.assert_array_equal(clean[name], arrays[name][kept])
            assert clean[name].dtype == arrays[name].dtype
        for name in ("scale", "names_of_columns", "X_test", "y_test"):
            np.testing.assert_array_equal(clean[name], arrays[name])
    with zipfile.ZipFile(tmp_path / "clean.npz") as archive:
        kind = zipfile.ZIP_STORED if save is np.savez else zipfile.ZIP_DEFLATED
        assert {member.compress_type for member in archive.infolist()} == {kind}


def test_python_objects_are_not_read(tmp_path):
    y = np.array([0, 1, 0])
    np.savez(tmp_path / "rows.npz", X=np.eye(3), y=y, notes=np.array([{}] * 3))
    source, to = tmp_path / "rows.npz", tmp_path / "clean.npz"
    with pytest.raises(ValueError, match="notes.npy holds Python objects"):
        apply_decisions(written(tmp_path, ["0,drop,"]), source, to)
    assert not to.exists()
    # Where no row is dropped, nothing of it needs to be read.
    apply_decisions(written(tmp_path, ["0,relabel,1"]), source, to)
    assert np.load(to)["y"].tolist() == [1, 1, 0]


def test_audit_decide_apply_and_audit_again(tmp_path):
    digits = load_digits()
    X, y = (digits.data / 16).astype(np.float32), digits.target
    claimed = flip_labels(y, 0.05, random_state=0)
    np.savez(tmp_path / "digits.npz", X=X, y=claimed)
    classifier = LogisticRegression(max_iter=500)
    result = audit(X, claimed, estimator=classifier, random_state=0)
    result.save(tmp_path / "audit")
    with (tmp_path / "audit" / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    for line in suspects:
        row = int(line["row"])
        line["decision"] = "keep" if claimed[row] == y[row] else "relabel"
        line["new_label"] = str(y[row]) if row % 2 else ""
        if line["new_label"] == "" and line["likely_label"] != str(y[row]):
            line["decision"] = "drop" if line["decision"] == "relabel" else "keep"
    # As a spreadsheet with German settings saves it.
    with (tmp_path / "decisions.csv").open("w", newline="", encoding="cp1252") as file:
        table = csv.DictWriter(file, list(suspects[0]), delimiter=";")
        table.writeheader()
        table.writerows(suspects)
    done = apply_decisions(
        tmp_path / "decisions.csv", tmp_path / "digits.npz", tmp_path / "clean.npz"
    )
    assert done.n_relabelled > 70
    with np.load(tmp_path / "clean.npz") as clean:
        dropped = [int(s["row"]) for s in suspects if s["decision"] == "drop"]
        kept = np.setdiff1d(np.arange(len(y)), dropped)
        expected = claimed.copy()
        checked = [int(s["row"]) for s in suspects]
        expected[checked] = y[checked]
        np.testing.assert_array_equal(clean["y"], expected[kept])
        again = audit(clean["X"], clean["y"], estimator=classifier, random_state=0)
    assert again.noise_share < 0.5 * result.noise_share


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["13,drop,"], "line 2: there is no row 13, rows are 0 to 12"),
        (["0,drop,", "0,drop,"], "line 3: row 0 has two decisions, the other is in li"),
        (["0,delete,"], "line 2: decision 'delete' must be one of keep"),
        (["0,relabel,"], "row 0 is to be relabelled, but has no label"),
        (["0,relabel,cat"], "but 'cat' is the label that it has"),
        (["0,relabel,../dog"], "'../dog' cannot be the name of a class folder"),
        (["0,relabel,.dog"], "'.dog' cannot be the name of a class folder"),
        (["0,relabel,Test"], "it is read as a split of the data"),
        ([f"{i},drop," for i in range(13)], "drop every row"),
    ],
    ids=[
        "row",
        "twice",
        "unknown",
        "no label",
        "same",
        "path",
        "hidden",
        "split",
        "all",
    ],
)
def test_decisions_that_cannot_be_carried_out(pets, tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        apply_decisions(written(tmp_path, lines), pets, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    ("columns", "line", "message"),
    [
        ("row,name,decision", "0,dog/0.png,drop", "name of row 0 is 'cat/0.png' here"),
        (
            "row,claimed_label,decision",
            "0,dog,drop",
            "claimed_label of row 0 is 'cat' here, not 'dog': they were made for other",
        ),
    ],
)
def test_decisions_on_other_data_are_refused(pets, tmp_path, columns, line, message):
    with pytest.raises(ValueError, match=message):
        apply_decisions(written(tmp_path, [line], columns), pets, tmp_path / "clean")


def test_numbers_are_labels_however_they_are_written(tmp_path):
    y = np.array([1, 2, 1], dtype=np.int16)
    np.savez(tmp_path / "rows.npz", X=np.eye(3), y=y)
    lines = ["0,relabel,2.0,1.0", "1,relabel, 1e0,2", "2,relabel,3.0,1"]
    decisions = written(tmp_path, lines, "row,decision,new_label,claimed_label")
    result = apply_decisions(decisions, tmp_path / "rows.npz", tmp_path / "clean.npz")
    with np.load(tmp_path / "clean.npz") as clean:
        assert clean["y"].tolist() == [2, 1, 3]
    assert result.new_classes == ("3",)
    own = written(tmp_path, ["0,relabel,1.0"])
    with pytest.raises(ValueError, match="is the label that it has"):
        apply_decisions(own, tmp_path / "rows.npz", tmp_path / "other.npz")


@pytest.mark.parametrize("new", ["7", "007"])
def test_texts_of_digits_are_no_numbers(tmp_path, new):
    y = np.array(["7", "007", "8"])
    np.savez(tmp_path / "rows.npz", X=np.eye(3), y=y)
    decisions = written(tmp_path, [f"2,relabel,{new}"])
    apply_decisions(decisions, tmp_path / "rows.npz", tmp_path / "clean.npz")
    with np.load(tmp_path / "clean.npz") as clean:
        assert clean["y"].tolist() == ["7", "007", new]


def test_labels_of_other_types_are_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", X=np.eye(3), y=np.array([0, 1, 0], dtype=np.uint8))
    for new in ("cat", "256", "0.5", "1e400", "nan"):
        decisions = written(tmp_path, [f"0,relabel,{new}"])
        with pytest.raises(ValueError, match=r"holds whole numbers \(uint8\), which"):
            apply_decisions(decisions, tmp_path / "rows.npz", tmp_path / "clean.npz")


def test_nothing_is_overwritten_and_the_source_is_only_read(pets, tmp_path):
    decisions = written(tmp_path, ["0,drop,"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        apply_decisions(decisions, pets, tmp_path / "full")
    for to in (pets, pets / "cat" / "clean"):
        with pytest.raises(ValueError, match="must not lie in"):
            apply_decisions(decisions, pets, to)
    (tmp_path / "link").symlink_to(pets / "cat")
    with pytest.raises(ValueError, match="must not lie in"):
        apply_decisions(decisions, pets, tmp_path / "link" / "clean")
    with pytest.raises(ValueError, match="must be a folder or a .zip file"):
        apply_decisions(decisions, pets, tmp_path / "clean.csv")
    with pytest.raises(ValueError, match=r"must be a \.csv file"):
        apply_decisions(decisions, pets, tmp_path / "clean", index=True)
    (tmp_path / "empty").mkdir()
    assert apply_decisions(decisions, pets, tmp_path / "empty").n_rows == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left")])
@pytest.mark.parametrize("name", ["clean", "clean.zip"])
def test_an_interrupted_copy_leaves_nothing(pets, tmp_path, error, name):
    (pets / "cat" / os.fsdecode(b"\xff.png")).unlink()  # for an archive
    for path in (pets / ETE).iterdir():
        path.unlink()
    (pets / ETE).rmdir()
    decisions = written(tmp_path, ["0,cat/0.png,drop"], "row,name,decision")
    before = sorted(p.name for p in tmp_path.iterdir())

    def stop(stage, n_done, n_steps):
        if n_done == 3:
            raise error

    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        apply_decisions(decisions, pets, tmp_path / name, progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_archives_cannot_hold_every_name(pets, tmp_path):
    decisions = written(tmp_path, ["0,drop,"])
    with pytest.raises(ValueError, match="is not Unicode; write a folder"):
        apply_decisions(decisions, pets, tmp_path / "clean.zip")
    assert not (tmp_path / "clean.zip").exists()


def test_options_of_tables_are_refused_for_images(pets, tmp_path):
    decisions = written(tmp_path, ["0,drop,"])
    with pytest.raises(ValueError, match="label_column is for tables only"):
        apply_decisions(decisions, pets, tmp_path / "clean", label_column="label")


def test_all_splits_are_copied(pets, tmp_path):
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "split" / split / label
            folder.mkdir(parents=True)
            for i in range(2):
                (folder / f"{i}.png").write_bytes(png(i + len(split) + ord(label[0])))
    before = contents(tmp_path / "split")
    result = apply_decisions(
        written(tmp_path, ["0,drop,"]), tmp_path / "split", tmp_path / "clean"
    )
    del before["train/cat/0.png"]
    assert contents(tmp_path / "clean") == before
    assert result.n_rows == 3


@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_class_of_test_rows_keeps_a_training_row(tmp_path, as_arrays):
    if as_arrays:
        path, to = tmp_path / "d.npz", tmp_path / "clean.npz"
        y = np.array(["cat", "dog", "dog"])
        np.savez(path, X=np.eye(3), y=y, X_test=np.eye(3)[:2], y_test=y[:2])
    else:
        path, to = tmp_path / "split", tmp_path / "clean"
        for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
            (path / place).mkdir(parents=True)
            (path / place / "0.png").write_bytes(png(len(place)))
    with pytest.raises(ValueError, match="leave no training row of the class 'cat'"):
        apply_decisions(written(tmp_path, ["0,drop,"]), path, to)
    assert not to.exists()


def test_rows_of_validation_arrays_are_their_own(tmp_path):
    path, to = tmp_path / "d.npz", tmp_path / "clean.npz"
    np.savez(path, X=np.eye(3), y=[0, 1, 1], X_val=np.eye(3), y_val=[1, 0, 0])
    apply_decisions(written(tmp_path, ["2,drop,"]), path, to)
    with np.load(to) as arrays:
        assert {name: len(arrays[name]) for name in arrays.files} == {
            "X": 2, "y": 2, "X_val": 3, "y_val": 3,
        }  # fmt: skip


def test_decisions_on_texts_are_known_by_their_start(tmp_path):
    path = tmp_path / "reviews.csv"
    long = "word " * 40
    path.write_text(f"text,label\n{long}a,neg\n{long}b,pos\nshort,neg\n")
    columns = "row,name,claimed_label,decision"
    start = textwrap.shorten(f"{long}a", 120, placeholder=" ...")
    right = written(tmp_path, [f"0,{start},neg,drop", "2,short,neg,keep"], columns)
    assert apply_decisions(right, path, tmp_path / "clean.csv").n_rows == 2
    wrong = written(tmp_path, ["2,other,neg,drop"], columns)
    with pytest.raises(ValueError, match="name of row 2 is 'short' here, not 'other'"):
        apply_decisions(wrong, path, tmp_path / "again.csv")


def test_images_of_a_damaged_archive_are_left_out(tmp_path):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for label in ("cat", "dog"):
            for i in range(2):
                archive.writestr(f"{label}/{i}.png", png(i + len(label)) * 20)
        damaged = archive.getinfo("cat/0.png")
    content = bytearray(path.read_bytes())
    start = damaged.header_offset + 30 + len(damaged.filename)
    content[start : start + 8] = b"\xff" * 8  # no deflate stream begins so
    path.write_bytes(content)
    decisions = written(tmp_path, ["0,drop,cat/1.png"], columns="row,decision,name")
    with pytest.warns(UserWarning, match=r"cat/0\.png .* cannot be read"):
        result = apply_decisions(decisions, path, tmp_path / "clean")
    assert sorted(contents(tmp_path / "clean")) == ["dog/0.png", "dog/1.png"]
    assert result.n_rows == 2


def test_archives_hold_no_backslashes(tmp_path):
    folder = tmp_path / "pets"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for name in ("0.png", "a\\b.png"):
            (folder / label / name).write_bytes(png(len(label) + len(name)))
    decisions = written(tmp_path, ["0,drop,"])
    with pytest.raises(ValueError, match="which has a backslash; write a folder"):
        apply_decisions(decisions, folder, tmp_path / "clean.zip")
    assert apply_decisions(decisions, folder, tmp_path / "clean").n_rows == 3


@pytest.mark.parametrize("text", ["1e400", "1e3000000", "-1E+21", "Infinity"])
@pytest.mark.parametrize("kind", [int, float])
def test_a_label_of_too_many_digits_is_refused_at_once(text, kind):
    with pytest.raises(ValueError, match="y holds whole numbers"):
        parsed_label(text, np.dtype(kind), "y")
