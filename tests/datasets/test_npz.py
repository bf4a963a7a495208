import zipfile
from contextlib import suppress

import numpy as np
import pytest

from sklgm._inputs._expansion import Bound
from sklgm.datasets import load_npz

RNG = np.random.RandomState(0)
X_ROWS = RNG.standard_normal((20, 3))
Y = np.tile(["no", "yes"], 10)


@pytest.fixture
def write(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "rows.npz", **arrays)
        return tmp_path / "rows.npz"

    return write


def test_rows_are_split_by_the_seed(write):
    path = write(X=X_ROWS, y=Y)
    splits = load_npz(path)
    assert splits.name == "rows"
    assert splits.class_names == ("no", "yes")
    assert splits.X_train.shape == (16, 3)
    assert splits.X_train.dtype == np.float32
    assert sorted(splits.y_test.tolist()) == ["no", "no", "yes", "yes"]
    rows = X_ROWS.astype(np.float32).tolist()
    for X, y in (
        (splits.X_train, splits.y_train),
        (splits.X_test, splits.y_test),
    ):
        assert y.tolist() == [Y[rows.index(row)] for row in X.tolist()]
    np.testing.assert_array_equal(load_npz(path).X_test, splits.X_test)
    other = load_npz(path, random_state=1)
    assert not np.array_equal(other.X_test, splits.X_test)


def test_given_test_set_is_kept(write):
    splits = load_npz(write(X=X_ROWS, y=Y, X_test=X_ROWS[:3], y_test=Y[:3]))
    np.testing.assert_array_equal(splits.X_train, X_ROWS.astype(np.float32))
    np.testing.assert_array_equal(splits.X_test, X_ROWS[:3].astype(np.float32))
    np.testing.assert_array_equal(splits.y_train, Y)
    np.testing.assert_array_equal(splits.y_test, Y[:3])


def test_compressed_archive_is_read(tmp_path):
    np.savez_compressed(tmp_path / "rows.npz", X=X_ROWS, y=Y)
    assert len(load_npz(tmp_path / "rows.npz", test_size=0.5).y_test) == 10


@pytest.mark.parametrize("labels", [Y == "yes", np.arange(20) % 3, np.arange(20.0) % 2])
def test_labels_are_kept_as_stored(write, labels):
    splits = load_npz(write(X=X_ROWS, y=labels))
    assert splits.y_train.dtype == labels.dtype
    assert splits.class_names == tuple(str(label) for label in np.unique(labels))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 8, 9), (1, 8, 9)),
        ((20, 1, 8, 9), (1, 8, 9)),
        ((20, 3, 8, 9), (3, 8, 9)),
        ((20, 8, 9, 1), (1, 8, 9)),
        ((20, 8, 9, 3), (3, 8, 9)),
        ((20, 3, 8, 3), (3, 8, 3)),
        ((20, 4, 8, 9), (4, 8, 9)),
    ],
    ids=str,
)
def test_images_have_channels_first(write, shape, expected):
    images = RNG.randint(256, size=shape).astype(np.uint8)
    splits = load_npz(write(X=images, y=Y, X_test=images, y_test=Y))
    assert splits.X_train.shape == splits.X_test.shape == (20, *expected)
    assert splits.X_train.flags.c_contiguous
    moved = np.moveaxis(splits.X_train, 1, -1)
    np.testing.assert_allclose(
        np.sort(moved, axis=None), np.sort(images, axis=None) / 255, rtol=1e-6
    )
    if shape == (20, 8, 9, 3):
        np.testing.assert_allclose(moved, images / 255, rtol=1e-6)


def test_only_images_of_bytes_are_divided_by_255(write):
    rows = np.full((20, 3), 255, dtype=np.uint8)
    images = np.full((20, 1, 2, 2), 255)
    assert load_npz(write(X=rows, y=Y)).X_train.max() == 255
    assert load_npz(write(X=images, y=Y)).X_train.max() == 255
    assert load_npz(write(X=images.astype(float), y=Y)).X_train.max() == 255
    assert load_npz(write(X=images.astype(np.uint8), y=Y)).X_train.max() == 1


ROWS_OF_BYTES = np.zeros((2, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X_ROWS}, r"lacks the arrays \['y'\]; it holds \['X'\]"),
        ({"x_train": X_ROWS, "y_train": Y}, r"lacks the arrays \['X', 'y'\]"),
        ({"X": X_ROWS, "y": Y, "X_test": X_ROWS}, r"lacks the arrays \['y_test'\]"),
        ({"X": X_ROWS, "y": Y, "y_test": Y}, r"lacks the arrays \['X_test'\]"),
        ({"X": X_ROWS, "y": Y[:-1]}, r"y must have .* 20 rows, .* got \(19,\)"),
        ({"X": X_ROWS, "y": Y[:, None]}, r"y must have one label .* got \(20, 1\)"),
        (
            {"X": X_ROWS, "y": Y, "X_test": X_ROWS, "y_test": Y[:1]},
            r"y_test must have .* 20 rows, .* got \(1,\)",
        ),
        ({"X": X_ROWS[:, 0], "y": Y}, r"X must have the shape .* got \(20,\)"),
        ({"X": X_ROWS[:0], "y": Y[:0]}, r"X must have the shape .* got \(0, 3\)"),
        ({"X": X_ROWS.astype(str), "y": Y}, "X must hold real numbers, got <U"),
        ({"X": X_ROWS + 1j, "y": Y}, "X must hold real numbers, got complex128"),
        ({"X": X_ROWS, "y": X_ROWS[:, 0]}, "y must hold class labels"),
        ({"X": X_ROWS, "y": np.full(20, np.nan)}, "y must hold class labels"),
        ({"X": X_ROWS, "y": Y.astype("S")}, "y must hold class labels"),
        ({"X": X_ROWS * np.nan, "y": Y}, "X holds values that are NaN"),
        ({"X": X_ROWS / np.finfo(float).tiny, "y": Y}, "X holds .* too large"),
        (
            {"X": X_ROWS, "y": Y, "X_test": X_ROWS * np.inf, "y_test": Y},
            "X_test holds values that are NaN, infinite",
        ),
        (
            {"X": X_ROWS, "y": Y, "X_test": X_ROWS[:, :2], "y_test": Y},
            r"rows of one shape, got \(3,\) and \(2,\)",
        ),
        (
            {
                "X": ROWS_OF_BYTES,
                "y": Y[:2],
                "X_test": ROWS_OF_BYTES / 255,
                "y_test": Y[:2],
            },
            "both be uint8 or neither, got uint8 and float64",
        ),
        (
            {"X": X_ROWS, "y": np.arange(20), "X_test": X_ROWS, "y_test": Y},
            "both be strings or neither",
        ),
        (
            {"X": X_ROWS, "y": Y, "X_test": X_ROWS[:1], "y_test": ["maybe"]},
            r"y_test holds labels that y lacks: \['maybe'\]",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(write, arrays, message):
    with pytest.raises(ValueError, match=f"rows.npz.*{message}"):
        load_npz(write(**arrays))


class Evil:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("name", ["X", "y"])
def test_pickled_objects_are_refused_and_not_run(write, name):
    arrays = {"X": X_ROWS, "y": Y}
    arrays[name] = np.array([Evil()] * 20, dtype=object)
    with pytest.raises(ValueError, match="pickled objects are not read"):
        load_npz(write(**arrays))


def test_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npz does not exist"):
        load_npz(tmp_path / "absent.npz")


@pytest.mark.parametrize("n_bytes", [0, 4, 300, -1])
def test_truncated_archive_is_named(write, n_bytes):
    path = write(X=X_ROWS, y=Y)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match="rows.npz is no .npz archive, or is trunc"):
        load_npz(path)


def test_damaged_content_is_named(write):
    path = write(X=X_ROWS, y=Y)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="rows.npz is truncated or damaged"):
        load_npz(path)


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_is_never_another_error(write, seed):
    path = write(X=X_ROWS, y=Y)
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    rng = np.random.RandomState(seed)
    for _ in range(40):
        damaged = content.copy()
        damaged[rng.randint(len(content), size=3)] = rng.randint(256, size=3)
        path.write_bytes(damaged.tobytes())
        # Damage may also hit a byte without meaning: then the file loads.
        with suppress(ValueError):
            load_npz(path)


def test_single_array_file_is_refused(tmp_path):
    path = tmp_path / "rows.npz"
    with path.open("wb") as file:
        np.save(file, X_ROWS)
    with pytest.raises(ValueError, match="is no .npz archive"):
        load_npz(path)


def test_member_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, X=X_ROWS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y", b"text")
    with pytest.raises(ValueError, match="y is not an array"):
        load_npz(path)


@pytest.mark.parametrize("test_size", [0.0, 1.0])
def test_share_outside_the_open_interval_is_refused(write, test_size):
    with pytest.raises(ValueError, match="test_size must be"):
        load_npz(write(X=X_ROWS, y=Y), test_size=test_size)


def test_an_array_that_occurs_twice_is_refused(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, X=np.zeros((4, 2)), y=np.arange(4) % 2)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Dupl"):
        archive.writestr("X.npy", archive.read("X.npy"))
    with pytest.raises(ValueError, match="holds several arrays of the name X"):
        load_npz(path)


def test_arrays_that_expand_a_thousandfold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sklgm.datasets._npz.ARRAYS", Bound(10_000, 750))
    path = tmp_path / "rows.npz"
    np.savez_compressed(path, X=np.zeros((1000, 500)), y=np.zeros(1000, dtype=int))
    with pytest.raises(ValueError, match=r"would take 4 MiB of memory, [\d,]+ times"):
        load_npz(path)
    np.savez(path, X=np.zeros((1000, 500)), y=np.arange(1000) % 2)
    assert load_npz(path).X_train.shape == (800, 500)
