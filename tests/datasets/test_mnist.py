import gzip
import hashlib
import struct

import numpy as np
import pytest

from sklgm.datasets import fetch_mnist

IMAGES = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], dtype=np.uint8)
FILES = {
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": IMAGES[:2],
    "t10k-labels-idx1-ubyte": LABELS[:2],
}


def idx_bytes(array):
    header = struct.pack(">HBB", 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def tiny_home(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, array in FILES.items():
        (folder / name).write_bytes(idx_bytes(array))
    return tmp_path


def test_files_in_place_are_read_without_a_download(tiny_home, no_network):
    mnist = fetch_mnist(data_home=tiny_home)
    assert mnist.name == "MNIST"
    assert mnist.class_names == tuple("0123456789")
    assert mnist.X_train.dtype == np.float32
    assert mnist.y_train.dtype == np.int64
    np.testing.assert_array_equal(
        mnist.X_train, (IMAGES[:, np.newaxis] / 255).astype(np.float32)
    )
    np.testing.assert_array_equal(mnist.y_train, LABELS)
    assert mnist.X_test.shape == (2, 1, 28, 28)
    np.testing.assert_array_equal(mnist.y_test, LABELS[:2])


def test_environment_names_the_data_home(tiny_home, monkeypatch):
    monkeypatch.setenv("SKLGM_DATA", str(tiny_home))
    assert len(fetch_mnist(download_if_missing=False).y_train) == 3


def test_missing_files_are_downloaded_and_unpacked(tmp_path, monkeypatch):
    import torchvision

    def write_archive(url, root, filename, md5):
        array = FILES[filename.removesuffix(".gz")]
        with gzip.open(f"{root}/{filename}", "wb") as file:
            file.write(idx_bytes(array))

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", write_archive)
    mnist = fetch_mnist(data_home=tmp_path / "new")
    np.testing.assert_array_equal(mnist.y_train, LABELS)


def test_failed_download_says_what_to_place_where(tmp_path, no_network):
    with pytest.raises(OSError, match="The download failed") as caught:
        fetch_mnist(data_home=tmp_path)
    message = str(caught.value)
    for part in (
        "no network",
        str(tmp_path / "MNIST" / "raw"),
        *FILES,
        "SKLGM_DATA",
        "data_home",
    ):
        assert part in message


def test_absent_file_is_named_when_downloads_are_off(tiny_home):
    (tiny_home / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="lacks t10k-labels-idx1-ubyte") as info:
        fetch_mnist(data_home=tiny_home, download_if_missing=False)
    assert "download_if_missing=False" in str(info.value)
    assert "SKLGM_DATA" in str(info.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("n_bytes", [0, 3, 9, -1])
def test_truncated_file_is_named(tiny_home, name, n_bytes):
    path = tiny_home / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(OSError, match=name):
        fetch_mnist(data_home=tiny_home)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"<html>not found</html>", "not an IDX file"),
        ("train-images-idx3-ubyte", idx_bytes(IMAGES[:, :27]), "27 x 28"),
        ("train-labels-idx1-ubyte", idx_bytes(LABELS[:1]), "holds 1 labels"),
        ("train-labels-idx1-ubyte", idx_bytes(LABELS + 1), "the label 10"),
        # A header that announces more than the memory of any machine.
        (
            "train-images-idx3-ubyte",
            bytes([0, 0, 8, 3]) + b"\xff" * 12,
            "truncated or damaged",
        ),
    ],
    ids=["html", "size", "lengths", "label", "huge"],
)
def test_wrong_content_is_an_error_that_names_the_file(
    tiny_home, name, content, message
):
    (tiny_home / "MNIST" / "raw" / name).write_bytes(content)
    with pytest.raises(OSError, match=f"{name}.*{message}"):
        fetch_mnist(data_home=tiny_home)


@pytest.mark.data("MNIST/raw/train-images-idx3-ubyte")
def test_real_mnist_is_complete(data_home):
    path = data_home / "MNIST" / "raw" / "train-images-idx3-ubyte"
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert digest == "6bbc9ace898e44ae57da46a324031adb"
    mnist = fetch_mnist(data_home=data_home, download_if_missing=False)
    assert mnist.X_train.shape == (60000, 1, 28, 28)
    assert mnist.X_test.shape == (10000, 1, 28, 28)
    assert mnist.X_train.dtype == np.float32
    assert (mnist.X_train.min(), mnist.X_train.max()) == (0, 1)
    np.testing.assert_array_equal(
        np.bincount(mnist.y_train),
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    )
    np.testing.assert_array_equal(
        np.bincount(mnist.y_test),
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    )
