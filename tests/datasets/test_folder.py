import io
import os
import pickle
import shutil
import zipfile
import zlib
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from sklgm._inputs._expansion import Bound
from sklgm.datasets import (
    ImageFiles,
    list_image_folder,
    load_image_folder,
    load_rows,
)


def encode(pixels, suffix="png", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=suffix, **options)
    return file.getvalue()


def gray(value, shape=(4, 5)):
    return encode(np.full(shape, value, dtype=np.uint8))


def color(*rgb, shape=(4, 5)):
    return encode(np.full((*shape, 3), rgb, dtype=np.uint8))


def write_folder(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    """Write files to a folder, or to an archive, and return its path."""
    if request.param == "folder":
        return lambda files: write_folder(tmp_path / "photos", files)
    return lambda files: write_zip(tmp_path / "photos.zip", files)


# One gray level a file tells which file became which row.
CLASSES = {
    f"{name}/{i}.png": gray(16 * k + i)
    for k, name in enumerate(["cat", "dog"])
    for i in range(5)
}
SPLITS = {
    "train/cat/0.png": gray(0),
    "train/cat/1.png": gray(1),
    "train/dog/0.png": gray(2),
    "test/cat/0.png": gray(3),
    "test/dog/0.png": gray(4),
}


def levels(X):
    return np.rint(X[:, 0, 0, 0] * 255).astype(int).tolist()


def test_class_folders_are_split_by_the_seed(write):
    path = write(CLASSES)
    splits = load_image_folder(path)
    assert splits.name == "photos"
    assert splits.class_names == ("cat", "dog")
    assert splits.X_train.shape == (8, 1, 4, 5)
    assert splits.X_train.dtype == np.float32
    assert splits.y_test.tolist() == ["cat", "dog"]
    for X, y in (
        (splits.X_train, splits.y_train),
        (splits.X_test, splits.y_test),
    ):
        assert levels(X) == sorted(levels(X))
        assert y.tolist() == [["cat", "dog"][level // 16] for level in levels(X)]
    assert sorted(levels(splits.X_train) + levels(splits.X_test)) == [
        *range(5),
        *range(16, 21),
    ]
    np.testing.assert_array_equal(load_image_folder(path).X_test, splits.X_test)
    others = [load_image_folder(path, random_state=seed).X_test for seed in range(1, 9)]
    assert any(not np.array_equal(other, splits.X_test) for other in others)


def test_test_size_sets_the_share_of_test_rows(write):
    assert len(load_image_folder(write(CLASSES), test_size=0.4).y_test) == 4


def test_folder_and_archive_give_the_same_rows(tmp_path):
    from_folder = load_image_folder(write_folder(tmp_path / "a", CLASSES))
    from_zip = load_image_folder(write_zip(tmp_path / "a.zip", CLASSES))
    np.testing.assert_array_equal(from_folder.X_train, from_zip.X_train)
    np.testing.assert_array_equal(from_folder.y_train, from_zip.y_train)


def test_order_is_by_name_not_by_time_of_writing(tmp_path):
    backwards = dict(reversed(CLASSES.items()))
    first = load_image_folder(write_zip(tmp_path / "a.zip", CLASSES))
    second = load_image_folder(write_zip(tmp_path / "b.zip", backwards))
    np.testing.assert_array_equal(first.X_train, second.X_train)


@pytest.mark.parametrize("wrapper", ["", "photos/"], ids=["bare", "wrapped"])
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("train", "val"),
        ("train", "valid"),
        ("train", "validation"),
        ("Training", "Testing"),
    ],
)
def test_given_splits_are_kept(write, wrapper, train, test):
    splits = load_image_folder(
        write(
            {
                wrapper + name.replace("train", train).replace("test", test): content
                for name, content in SPLITS.items()
            }
        )
    )
    assert splits.class_names == ("cat", "dog")
    assert levels(splits.X_train) == [0, 1, 2]
    assert splits.y_train.tolist() == ["cat", "cat", "dog"]
    assert levels(splits.X_test) == [3, 4]
    assert splits.y_test.tolist() == ["cat", "dog"]


def test_test_folder_comes_before_validation_folder(write):
    files = {**SPLITS, "val/cat/0.png": gray(99)}
    assert levels(load_image_folder(write(files)).X_test) == [3, 4]


@pytest.mark.parametrize("wrapper", ["", "photos/"], ids=["bare", "wrapped"])
def test_training_folder_alone_is_split(write, wrapper):
    splits = load_image_folder(
        write({f"{wrapper}train/{name}": file for name, file in CLASSES.items()})
    )
    assert splits.class_names == ("cat", "dog")
    assert (len(splits.y_train), len(splits.y_test)) == (8, 2)


def test_single_wrapping_folder_is_looked_through(write):
    splits = load_image_folder(
        write({f"wrapper/{name}": file for name, file in CLASSES.items()})
    )
    assert splits.class_names == ("cat", "dog")


def test_single_class_is_not_taken_for_a_wrapper(write):
    splits = load_image_folder(write({f"cat/{i}.png": gray(i) for i in range(5)}))
    assert splits.class_names == ("cat",)


def test_test_set_may_lack_classes_of_the_training_set(write):
    files = {name: file for name, file in SPLITS.items() if name != "test/cat/0.png"}
    splits = load_image_folder(write(files))
    assert splits.class_names == ("cat", "dog")
    assert splits.y_test.tolist() == ["dog"]


def test_test_class_that_training_lacks_is_named(write):
    with pytest.raises(ValueError, match=r"test classes \['bird'\] have no training"):
        load_image_folder(write({**SPLITS, "test/bird/0.png": gray(0)}))


def test_test_folder_without_training_folder_is_refused(write):
    files = {name: file for name, file in SPLITS.items() if name.startswith("test")}
    with pytest.raises(ValueError, match=r"photos.*'test' but no 'train' folder"):
        load_image_folder(write(files))


def test_files_that_are_no_data_are_ignored(write):
    clutter = {
        "README.txt": b"text",
        "preview.png": gray(0, shape=(9, 9)),
        ".git/x.png": b"",
        "__MACOSX/cat/0.png": b"",
        "cat/.0.png": b"",
        "cat/._0.png": b"",
        "cat/Thumbs.db": b"",
        "dog/README.txt": b"text",
        "dog/notes/README.txt": b"text",
    }
    splits = load_image_folder(write({**CLASSES, **clutter}))
    assert splits.class_names == ("cat", "dog")
    assert len(splits.y_train) + len(splits.y_test) == 10


@pytest.mark.parametrize(
    "files",
    [{"README.txt": b"text"}, {"0.png": gray(0)}, {"train/0.png": gray(0)}],
    ids=["text", "loose-images", "split-of-loose-images"],
)
def test_data_without_class_folders_are_refused(write, files):
    with pytest.raises(ValueError, match=r"photos.* holds no class folders"):
        load_image_folder(write(files))


def test_class_folder_without_images_is_named(write):
    with pytest.raises(ValueError, match=r"photos.*class folder 'bird' holds no image"):
        load_image_folder(write({**CLASSES, "bird/README.txt": b"text"}))


def test_empty_class_folder_is_named(tmp_path):
    folder = write_folder(tmp_path / "photos", CLASSES)
    (folder / "bird").mkdir()
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    for path in (folder, archive):
        with pytest.raises(ValueError, match="class folder 'bird' holds no image"):
            load_image_folder(path)


def test_images_below_a_class_folder_are_refused(write):
    with pytest.raises(ValueError, match="'cat' holds images in subfolders"):
        load_image_folder(write({**CLASSES, "cat/more/0.png": gray(0)}))


def test_one_colour_image_makes_all_images_rgb(write):
    files = {**SPLITS, "train/dog/0.png": color(10, 20, 30)}
    splits = load_image_folder(write(files))
    assert splits.X_train.shape == (3, 3, 4, 5)
    pixels = np.rint(splits.X_train[:, :, 0, 0] * 255)
    np.testing.assert_array_equal(pixels, [[0, 0, 0], [1, 1, 1], [10, 20, 30]])
    assert np.rint(splits.X_test[0, :, 0, 0] * 255).tolist() == [3, 3, 3]


def test_rows_and_columns_keep_their_place(write):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    splits = load_image_folder(write({**SPLITS, "train/cat/0.png": encode(pixels)}))
    np.testing.assert_array_equal(
        np.rint(splits.X_train[0] * 255), pixels.transpose(2, 0, 1)
    )


def palette_image():
    image = Image.new("P", (5, 4), color=1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    file = io.BytesIO()
    image.save(file, format="png", transparency=b"\x00\xff")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encode(np.full((4, 5), 51 * 257, dtype=np.uint16)), [51]),
        (encode(np.full((4, 5), True)), [255]),
        (encode(np.full((4, 5, 2), [51, 7], dtype=np.uint8)), [51]),
        (encode(np.full((4, 5, 4), [10, 20, 30, 7], dtype=np.uint8)), [10, 20, 30]),
        (palette_image(), [10, 20, 30]),
        (encode(np.full((4, 5), 51, dtype=np.uint8), "tiff"), [51]),
        (encode(np.full((4, 5), 51, dtype=np.uint8), "bmp"), [51]),
        (encode(np.full((4, 5), 51, dtype=np.uint8), "ppm"), [51]),
    ],
    ids=["16-bit", "1-bit", "gray-alpha", "rgba", "palette", "tiff", "bmp", "pgm"],
)
def test_other_modes_become_gray_or_rgb(tmp_path, content, expected):
    files = {name: content for name in SPLITS}
    X = load_image_folder(write_folder(tmp_path, files)).X_train
    assert np.rint(X[0, :, 0, 0] * 255).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_more_than_16_bits_are_refused(tmp_path, dtype):
    content = encode(np.full((4, 5), 1e6, dtype=dtype), "tiff")
    path = write_folder(tmp_path, {**SPLITS, "train/cat/1.tif": content})
    with pytest.raises(ValueError, match=r"train/cat/1.tif in .*expected 8 or 16"):
        load_image_folder(path, on_error="stop")


def test_images_of_several_sizes_are_resized_to_the_median(write):
    files = {**CLASSES, "cat/3.png": gray(51, (8, 9)), "dog/1.png": gray(52, (2, 40))}
    with pytest.warns(UserWarning, match="3 sizes, 2 to 8 .* 5 to 40 wide: they are r"):
        splits = load_image_folder(write(files))
    assert splits.X_train.shape == (8, 1, 4, 5)
    assert {51, 52} <= {*levels(splits.X_train), *levels(splits.X_test)}


def test_large_images_of_several_sizes_are_made_smaller(tmp_path):
    files = {**SPLITS, "train/cat/0.png": gray(7, (300, 600))}
    for name in ("train/cat/1.png", "train/dog/0.png", "test/cat/0.png"):
        files[name] = gray(7, (448, 896))
    with pytest.warns(UserWarning, match="resized to 112 x 224"):
        splits = load_image_folder(write_folder(tmp_path, files))
    assert splits.X_train.shape == (3, 1, 112, 224)


@pytest.mark.parametrize(
    ("size", "shorter_side", "expected"),
    [
        ((300, 400), 48, (48, 64)),
        ((48, 64), 48, (48, 64)),
        ((9, 5), 4, (7, 4)),
        ((20, 300), 32, (9, 128)),
        ((20, 128), 32, (20, 128)),
    ],
)
def test_large_images_of_one_size_are_made_smaller_if_asked(
    tmp_path, size, shorter_side, expected
):
    path = write_folder(tmp_path, {name: gray(7, size) for name in SPLITS})
    is_smaller = expected != size
    said = rf"have {size[0]} x {size[1]} pixels: they are resized to {expected[0]} x "
    with pytest.warns(UserWarning, match=said) if is_smaller else nullcontext():
        rows = load_rows(path, shorter_side=shorter_side)
    assert rows.X.shape[1:] == (1, *expected)
    np.testing.assert_allclose(rows.X, 7 / 255, rtol=1e-6)


def test_the_shorter_side_may_be_an_integer_of_numpy(tmp_path):
    path = write_folder(tmp_path, {name: gray(7, (30, 40)) for name in SPLITS})
    with pytest.warns(UserWarning, match="resized to 4 x 5 "):
        assert load_rows(path, shorter_side=np.int64(4)).X.shape[1:] == (1, 4, 5)


def test_a_size_that_is_asked_for_may_be_longer(tmp_path):
    path = write_folder(tmp_path, {name: gray(7, (300, 400)) for name in SPLITS})
    assert load_rows(path, image_size=80, shorter_side=64).X.shape[1:] == (1, 80, 80)


def test_reading_images_tells_how_far_it_is(tmp_path):
    path = write_folder(tmp_path, {name: gray(7, (30, 40)) for name in SPLITS})
    told = []
    with pytest.warns(UserWarning, match="resized to 8 x 11 "):
        rows = load_rows(path, shorter_side=8, progress=lambda *step: told.append(step))
    n = len(rows.X)
    # One too large; all are measured, then read.
    assert told == [
        ("read images", 0, n),
        *(("measure images", done, n) for done in range(1, n + 1)),
        *(("read images", done, n) for done in range(n + 1)),
    ]


def test_the_shorter_side_is_a_number_of_pixels(tmp_path):
    path = write_folder(tmp_path, {name: gray(7, (3, 4)) for name in SPLITS})
    with pytest.raises(ValueError, match="shorter_side == 0, must be >= 1"):
        load_rows(path, shorter_side=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_by_their_exif(tmp_path, orientation):
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :8] = 255  # a light corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(pixels, "jpeg", exif=exif, quality=100)
    path = write_folder(tmp_path, {name: content for name in SPLITS})
    image = load_image_folder(path).X_train[0]
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    files, _ = list_image_folder(path)
    np.testing.assert_array_equal(np.asarray(files.image(0)), shown)
    np.testing.assert_array_equal(image, shown.transpose(2, 0, 1) / np.float32(255))
    assert image.shape == ((3, 16, 24) if orientation < 5 else (3, 24, 16))


def test_turned_images_of_one_size_upright_are_not_resized(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(np.full((5, 4), 9, dtype=np.uint8), exif=exif)
    files = {**SPLITS, "train/cat/0.png": turned}
    splits = load_image_folder(write_folder(tmp_path, files))
    assert splits.X_train.shape == (3, 1, 4, 5)


@pytest.mark.parametrize(
    ("image_size", "shape"), [(6, (6, 6)), ((6, 3), (6, 3)), (np.int64(2), (2, 2))]
)
def test_images_are_resized_on_request(write, image_size, shape):
    files = {**CLASSES, "cat/3.png": gray(51, (6, 7))}
    splits = load_image_folder(write(files), image_size=image_size)
    assert splits.X_train.shape == (8, 1, *shape)
    assert 51 in levels(np.concatenate([splits.X_train, splits.X_test]))


@pytest.mark.parametrize("image_size", [0, -3, (4, 0), (4,), (), (1, 2, 3)])
def test_image_size_out_of_range_is_refused(tmp_path, image_size):
    with pytest.raises(ValueError, match="image_size must be an int or a pair"):
        load_image_folder(tmp_path, image_size=image_size)


@pytest.mark.parametrize("image_size", ["32", 3.5, True, (4, None)])
def test_image_size_of_another_type_is_refused(tmp_path, image_size):
    with pytest.raises(TypeError, match="image_size must be an int or a pair"):
        load_image_folder(tmp_path, image_size=image_size)


def test_test_size_is_checked_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="test_size must be"):
        load_image_folder(tmp_path / "absent", test_size=2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        gray(0)[:-30],
        encode(np.zeros((64, 64), dtype=np.uint8), "jpeg")[:-30],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n%%EOF\n",
    ],
    ids=["empty", "text", "short-png", "short-jpeg", "postscript"],
)
def test_image_that_cannot_be_read_is_skipped_and_named(write, content):
    path = write({**CLASSES, "dog/2.png": content})
    with pytest.warns(UserWarning, match=r"1 of 10 images in .*photos.*: dog/2.png \("):
        splits = load_image_folder(path)
    read = sorted(levels(splits.X_train) + levels(splits.X_test))
    assert read == [0, 1, 2, 3, 4, 16, 17, 19, 20]
    with pytest.raises(ValueError, match=r"dog/2.png in .*photos.* cannot be read"):
        load_image_folder(path, on_error="stop")


def test_first_image_may_be_damaged(write):
    files = {**CLASSES, "cat/0.png": b"text", "dog/1.png": color(9, 8, 7)}
    with pytest.warns(UserWarning, match="cat/0.png"):
        splits = load_image_folder(write(files))
    assert splits.X_train.shape[1:] == (3, 4, 5)
    assert len(splits.y_train) + len(splits.y_test) == 9


def test_many_damaged_images_are_counted(write):
    files = {**CLASSES, **{f"cat/x{i}.png": b"no" for i in range(9)}}
    with pytest.warns(UserWarning, match="9 of 19 images .*; and 4 more. Set on_error"):
        load_image_folder(write(files))


def test_folder_of_damaged_images_is_refused(write):
    files = {name: b"text" for name in CLASSES}
    with pytest.raises(ValueError, match="no image in .*photos.* can be read: cat/0"):
        load_image_folder(write(files))
    files = {**SPLITS, "test/cat/0.png": b"", "test/dog/0.png": b""}
    with (
        pytest.warns(UserWarning, match="2 of 5 images"),
        pytest.raises(ValueError, match="can be read, there are no test images"),
    ):
        load_image_folder(write(files))


def test_on_error_must_be_known(tmp_path):
    with pytest.raises(ValueError, match="on_error must be 'skip' or 'stop', got 'i'"):
        load_image_folder(tmp_path, on_error="i")


def test_broken_link_is_named(tmp_path):
    path = write_folder(tmp_path / "photos", CLASSES)
    os.symlink("absent.png", path / "cat" / "link.png")
    with pytest.warns(UserWarning, match=r"cat/link.png \(.*No such file"):
        load_image_folder(path)


def test_links_of_a_snapshot_of_the_hub_are_read(tmp_path):
    blobs = write_folder(tmp_path / "blobs", CLASSES)
    snapshot = tmp_path / "snapshots" / "c0ffee" / "train"
    for file in blobs.glob("*/*.png"):
        link = snapshot / file.relative_to(blobs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(file, link.parent))
    expected = load_image_folder(blobs)
    for path in (snapshot, snapshot.parent):
        found = load_image_folder(path)
        np.testing.assert_array_equal(found.X_train, expected.X_train)


def test_links_out_of_the_folder_are_refused(tmp_path):
    files = write_folder(tmp_path / "store", CLASSES)
    path = write_folder(tmp_path / "photos", CLASSES)
    os.symlink(files / "cat" / "0.png", path / "cat" / "link.png")
    os.symlink(path / "cat" / "1.png", path / "cat" / "within.png")
    with pytest.warns(UserWarning, match=r"1 of 12 .*cat/link.png \(it is a link"):
        load_image_folder(path)
    with pytest.raises(ValueError, match="cat/link.png in .* a link that leads out of"):
        load_image_folder(path, on_error="stop")
    os.symlink(files / "dog", path / "wolf")
    with pytest.raises(ValueError, match="wolf is a link that leads out of"):
        load_image_folder(path)


def test_links_within_the_folder_are_followed_and_loops_end(tmp_path):
    path = write_folder(tmp_path / "photos", CLASSES)
    os.symlink(path / "dog", path / "wolf")
    assert load_image_folder(path).class_names == ("cat", "dog", "wolf")
    os.symlink(path, path / "loop")
    with pytest.raises(ValueError, match="'loop' holds images in subfolders"):
        load_image_folder(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_are_not_read(tmp_path):
    path = write_folder(tmp_path / "photos", CLASSES)
    os.mkfifo(path / "cat" / "pipe.png")
    with pytest.warns(UserWarning, match=r"cat/pipe.png \(it is not a regular file\)"):
        load_image_folder(path)


def test_names_that_are_no_unicode_are_kept(tmp_path):
    path = write_folder(tmp_path / "photos", CLASSES)
    name = os.fsdecode(b"caf\xe9")
    try:
        os.rename(path / "cat", path / name)
    except OSError:
        pytest.skip("the file system keeps Unicode names only")
    rows = load_rows(path)
    assert set(rows.y) == {name, "dog"}
    assert os.fsencode(rows.row_names[0]) == b"caf\xe9/0.png"


def test_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.zip does not exist"):
        load_image_folder(tmp_path / "absent.zip")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1,2")
    with pytest.raises(ValueError, match=r"folder or a \.zip archive, got .*data.csv"):
        load_image_folder(path)


@pytest.mark.parametrize("n_bytes", [0, 10, 500, -1, -30])
def test_truncated_archive_is_named(tmp_path, n_bytes):
    path = write_zip(tmp_path / "photos.zip", CLASSES)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(
        ValueError, match="photos.zip is not a zip archive, or is trunc"
    ):
        load_image_folder(path)


def test_archive_with_damaged_content_names_the_image(tmp_path):
    path = write_zip(tmp_path / "photos.zip", CLASSES)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # inside the first, uncompressed image
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cat/0.png in .*photos.zip cannot be read"):
        load_image_folder(path, on_error="stop")


def test_encrypted_archive_is_named(tmp_path):
    path = write_zip(tmp_path / "photos.zip", CLASSES)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"photos.zip is encrypted"):
        load_image_folder(path)


@pytest.mark.parametrize("name", ["../evil.png", "cat/../../evil.png", "..\\evil.png"])
def test_archive_entry_outside_the_archive_is_refused(tmp_path, name):
    path = write_zip(tmp_path / "photos.zip", {**CLASSES, name: gray(0)})
    with pytest.raises(ValueError, match=r"photos.zip holds an entry outside itself"):
        load_image_folder(path)


@pytest.mark.parametrize("prefix", ["/", "./", "\\", "wrapper\\"])
def test_odd_archive_names_are_read_in_place(tmp_path, prefix):
    files = {prefix + name: content for name, content in CLASSES.items()}
    splits = load_image_folder(write_zip(tmp_path / "photos.zip", files))
    assert splits.class_names == ("cat", "dog")
    assert [file.name for file in tmp_path.iterdir()] == ["photos.zip"]


def test_dotted_folder_name_is_kept_as_the_name(tmp_path):
    path = write_folder(tmp_path / "photos.v2", CLASSES)
    assert load_image_folder(path).name == "photos.v2"


def test_jpeg_copy_of_cifar10_is_named_as_such(tmp_path):
    path = write_zip(tmp_path / "cifar10-jpeg.zip", CLASSES)
    assert load_image_folder(path).name == "CIFAR-10 (JPEG)"


@pytest.mark.slow
@pytest.mark.data("cifar10-jpeg.zip")
def test_real_cifar10_jpeg_is_complete(data_home):
    splits = load_image_folder(data_home / "cifar10-jpeg.zip")
    assert splits.name == "CIFAR-10 (JPEG)"
    assert splits.X_train.shape == (50000, 3, 32, 32)
    assert splits.X_test.shape == (10000, 3, 32, 32)
    assert splits.X_train.dtype == np.float32
    assert (splits.X_train.min(), splits.X_train.max()) == (0, 1)
    for y, n_per_class in ((splits.y_train, 5000), (splits.y_test, 1000)):
        labels, counts = np.unique(y, return_counts=True)
        assert tuple(labels) == splits.class_names
        assert counts.tolist() == [n_per_class] * 10
    # Published channel means of CIFAR-10; JPEG shifts them by less than 0.001.
    np.testing.assert_allclose(
        splits.X_train.mean(axis=(0, 2, 3), dtype=np.float64),
        [0.4914, 0.4822, 0.4465],
        atol=1e-3,
    )


def test_listed_images_are_those_that_are_loaded_and_are_not_read(write):
    damaged = {**SPLITS, "train/dog/1.png": b"no image"}
    path = write({**damaged, "test/cat/1.png": color(1, 2, 3)})
    files, y = list_image_folder(path)
    assert list(files) == [
        f"train/{name}.png" for name in ("cat/0", "cat/1", "dog/0", "dog/1")
    ]
    assert y.tolist() == ["cat", "cat", "dog", "dog"]
    image = files.image(1)
    assert (image.mode, image.size) == ("RGB", (5, 4))
    assert np.unique(np.asarray(image)).tolist() == [1]
    with pytest.raises(ValueError, match=r"train/dog/1\.png in .* cannot be read"):
        files.image(3)


def test_listed_images_can_be_sliced_and_pickled(write):
    files, _ = list_image_folder(write(CLASSES))
    some = pickle.loads(pickle.dumps(files[3:6]))
    assert list(some) == ["cat/3.png", "cat/4.png", "dog/0.png"]
    assert [np.asarray(some.image(i)).max() for i in range(3)] == [3, 4, 16]
    assert repr(some).startswith("ImageFiles(3 files in ")


def test_the_fingerprint_of_an_image_changes_with_it(write, tmp_path):
    files, _ = list_image_folder(write(CLASSES))
    before = [files.fingerprint(i) for i in range(3)]
    assert len(set(before)) == 3
    changed, _ = list_image_folder(write({**CLASSES, "cat/1.png": color(9, 9, 8)}))
    after = [changed.fingerprint(i) for i in range(3)]
    assert after[1] != before[1]
    if changed.path.suffix == ".zip":  # a folder's other files were written again
        assert after[::2] == before[::2]


def test_an_image_that_is_gone_has_no_fingerprint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        ImageFiles(["gone.png"], tmp_path).fingerprint(0)


# What expands


def test_names_that_occur_twice_in_an_archive_are_refused(tmp_path):
    for first, second in (
        ("cat/0.png", "cat\\0.png"),
        ("cat/0.png", "./cat//0.png"),
        ("cat/0.png", "cat/0.png/1.png"),
        ("cat/0.png/1.png", "cat/0.png"),
    ):
        path = write_zip(
            tmp_path / "photos.zip",
            {**CLASSES_OF_DOGS, first: gray(1), second: gray(2)},
        )
        with pytest.raises(ValueError, match="holds several entries of the name .*cat"):
            load_image_folder(path)


def test_other_files_may_occur_twice_in_an_archive(tmp_path):
    path = tmp_path / "photos.zip"
    write_zip(path, {**CLASSES, "README": b"old"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Dupl"):
        archive.writestr("README", b"new")
    assert len(load_rows(path).y) == len(CLASSES)


CLASSES_OF_DOGS = {f"dog/{i}.png": gray(i) for i in range(5)}


def test_deep_folders_in_an_archive_are_refused(tmp_path):
    path = write_zip(tmp_path / "photos.zip", {"a/" * 3000 + "x.png": gray(1)})
    with pytest.raises(ValueError, match=r"holds a/\.\.\. in 3001 folders, more than"):
        load_image_folder(path)


def test_an_entry_of_an_archive_is_read_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("sklgm._inputs._expansion.MOST_FILE_BYTES", 10_000)
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CLASSES.items():
            archive.writestr(name, content)
        archive.writestr("cat/zeros.png", b"\0" * 10_001)
    with pytest.warns(UserWarning, match="cat/zeros.png .it holds 10001 bytes, more"):
        assert len(load_rows(path).y) == len(CLASSES)
    names, _ = list_image_folder(path)
    with pytest.raises(ValueError, match="it holds 10001 bytes, more than the 10000"):
        names.image(names.names.index("cat/zeros.png"))


def test_a_large_file_and_a_pipe_are_not_read_when_they_are_needed(tmp_path):
    root = write_folder(tmp_path / "photos", CLASSES)
    with (root / "cat" / "large.png").open("wb") as file:
        file.truncate(2**28 + 1)
    os.mkfifo(root / "cat" / "pipe.png")
    names, _ = list_image_folder(root)
    for name, why in (("large", "it holds 268435457 bytes"), ("pipe", "not a regular")):
        with pytest.raises(ValueError, match=why):
            names.image(names.names.index(f"cat/{name}.png"))
    with pytest.warns(UserWarning, match="cat/large.png .it holds 268435457 bytes"):
        assert len(load_rows(root).y) == len(CLASSES)


def test_an_image_of_too_many_pixels_is_not_decoded(write):
    content = bytearray(gray(0))
    content[16:24] = (9000).to_bytes(4, "big") * 2  # of its header
    head = content[12:29]
    content[29:33] = zlib.crc32(head).to_bytes(4, "big")
    path = write({**CLASSES, "cat/vast.png": bytes(content)})
    with pytest.warns(UserWarning, match="it has 9000 x 9000 pixels, more than"):
        assert len(load_rows(path).y) == len(CLASSES)


def test_images_that_expand_a_thousandfold_are_refused(write, monkeypatch):
    blank = gray(0, shape=(300, 300))
    files = {f"{c}/{i}.png": blank for c in ("cat", "dog") for i in range(5)}
    path = write(files)
    assert load_rows(path).X.shape == (10, 1, 300, 300)
    monkeypatch.setattr("sklgm._inputs._image_files.IMAGES", Bound(10_000, 400))
    with pytest.raises(ValueError, match=r"would take \d+ MiB of memory.*set image_si"):
        load_rows(path)
    assert load_rows(path, image_size=20).X.shape == (10, 1, 20, 20)
    monkeypatch.setattr("sklgm._inputs._image_files.DECODED", Bound(10_000, 400))
    with pytest.raises(ValueError, match=r"times what is stored: store fewer"):
        load_rows(path, image_size=20)


def test_images_that_are_cut_off_count_by_what_they_say(write, monkeypatch):
    cut_off = gray(0, shape=(300, 300))[:-30]
    path = write({**CLASSES, **{f"cat/cut{i}.png": cut_off for i in range(9)}})
    with pytest.warns(UserWarning, match="9 of"):
        assert len(load_rows(path).y) == len(CLASSES)
    monkeypatch.setattr("sklgm._inputs._image_files.DECODED", Bound(500_000, 40))
    with pytest.raises(ValueError, match=r"times what is stored: store fewer"):
        load_rows(path)


def test_sizes_are_compared_before_pixels_are_decoded(tmp_path, monkeypatch):
    files = {f"cat/{i}.png": gray(0, shape=(20 + i, 20)) for i in range(9)}
    path = write_folder(tmp_path / "photos", {"ape/0.png": gray(0), **files})
    n_loaded = []
    load = PngImageFile.load

    def counted(image):
        if image._im is None:
            n_loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(PngImageFile, "load", counted)
    with pytest.warns(UserWarning, match="have 10 sizes"):
        load_rows(path)
    assert len(n_loaded) == 2 + 10  # until one has another size, and then all


def test_orientation_of_a_png_is_seen_when_sizes_are_compared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(np.full((40, 20), 9, dtype=np.uint8), exif=exif)
    files = {f"cat/{i}.png": turned for i in range(2)}
    path = write_folder(tmp_path / "photos", {"ape/0.png": gray(0), **files})
    with pytest.warns(UserWarning, match="4 to 20 pixels high and 5 to 40 wide"):
        assert load_rows(path).X.shape == (3, 1, 20, 40)
