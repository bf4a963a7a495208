import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from sklgm.datasets import _cifar10, fetch_cifar10

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SUBFOLDER = "cifar-10-batches-py"


class Python2Pickler(pickle._Pickler):
    """Write byte strings and module names as Python 2 and its numpy did."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_byte_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = save_byte_string
    dispatch[str] = save_byte_string


def python2_bytes(value):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(
        b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"
    )


def make_batch(seed, n_samples=2):
    rng = np.random.RandomState(seed)
    return {
        "batch_label": f"batch {seed}",
        "labels": rng.randint(10, size=n_samples).tolist(),
        "data": rng.randint(256, size=(n_samples, 3072)).astype(np.uint8),
        "filenames": [f"{i}.png" for i in range(n_samples)],
    }


BATCHES = {
    **{f"data_batch_{number}": make_batch(number) for number in range(1, 6)},
    "test_batch": make_batch(6, n_samples=3),
}
META = {"num_cases_per_batch": 2, "label_names": list(CLASS_NAMES), "num_vis": 3072}
FILES = {name: python2_bytes(content) for name, content in BATCHES.items()}
FILES["batches.meta"] = python2_bytes(META)


def write_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def tiny_checksums(monkeypatch):
    for name, content in FILES.items():
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(_cifar10.CHECKSUMS, name, digest)


@pytest.fixture
def tiny_home(tmp_path, tiny_checksums):
    write_files(tmp_path / SUBFOLDER, FILES)
    return tmp_path


def expected_train():
    batches = [BATCHES[f"data_batch_{number}"] for number in range(1, 6)]
    pixels = np.concatenate([batch["data"] for batch in batches])
    labels = np.concatenate([batch["labels"] for batch in batches])
    return (pixels.reshape(-1, 3, 32, 32) / 255).astype(np.float32), labels


def test_files_in_place_are_read_without_a_download(tiny_home, no_network):
    cifar10 = fetch_cifar10(data_home=tiny_home)
    X, y = expected_train()
    assert cifar10.name == "CIFAR-10"
    assert cifar10.class_names == CLASS_NAMES
    assert cifar10.X_train.dtype == np.float32
    assert cifar10.y_train.dtype == np.int64
    np.testing.assert_array_equal(cifar10.X_train, X)
    np.testing.assert_array_equal(cifar10.y_train, y)
    assert cifar10.X_test.shape == (3, 3, 32, 32)
    np.testing.assert_array_equal(cifar10.y_test, BATCHES["test_batch"]["labels"])


@pytest.mark.filterwarnings("ignore:Python 3.14 will, by default, filter")
def test_missing_archive_is_downloaded_and_unpacked(
    tmp_path, monkeypatch, tiny_checksums
):
    from torchvision.datasets import CIFAR10, utils

    calls = []

    def write_archive(url, root, filename, md5):
        calls.append((url, md5))
        with tarfile.open(f"{root}/{filename}", "w:gz") as archive:
            for name, content in FILES.items():
                info = tarfile.TarInfo(f"{SUBFOLDER}/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    monkeypatch.setattr(utils, "download_url", write_archive)
    cifar10 = fetch_cifar10(data_home=tmp_path)
    np.testing.assert_array_equal(cifar10.y_train, expected_train()[1])
    assert calls == [(CIFAR10.url, CIFAR10.tgz_md5)]


def test_checksums_are_those_of_torchvision():
    from torchvision.datasets import CIFAR10

    published = dict(CIFAR10.train_list + CIFAR10.test_list)
    published[CIFAR10.meta["filename"]] = CIFAR10.meta["md5"]
    assert published == _cifar10.CHECKSUMS


def test_failed_download_says_what_to_place_where(tmp_path, no_network):
    with pytest.raises(OSError, match="The download failed") as caught:
        fetch_cifar10(data_home=tmp_path)
    message = str(caught.value)
    for part in (
        "no network",
        str(tmp_path / SUBFOLDER),
        *FILES,
        "SKLGM_DATA",
        "data_home",
    ):
        assert part in message


def test_absent_file_is_named_when_downloads_are_off(tiny_home):
    (tiny_home / SUBFOLDER / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="lacks data_batch_3"):
        fetch_cifar10(data_home=tiny_home, download_if_missing=False)


@pytest.mark.parametrize("name", FILES)
def test_file_with_another_checksum_is_named(tiny_home, name):
    path = tiny_home / SUBFOLDER / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match=f"{name} is truncated or damaged: its MD5"):
        fetch_cifar10(data_home=tiny_home)


# The tests below read files that have passed, or evaded, the checksum.


def test_files_pickled_by_python_3_are_read_alike(tmp_path):
    write_files(tmp_path / "old", FILES)
    contents = {**BATCHES, "batches.meta": META}
    write_files(
        tmp_path / "new",
        {name: pickle.dumps(value) for name, value in contents.items()},
    )
    old, new = (
        _cifar10._read_cifar10_batches(tmp_path / name) for name in ("old", "new")
    )
    np.testing.assert_array_equal(old.X_train, new.X_train)
    assert old.class_names == new.class_names


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path, name):
    trace = tmp_path / "trace"
    evil = pickle.dumps({"data": Evil(str(trace))})
    write_files(tmp_path, {**FILES, name: evil})
    with pytest.raises(OSError, match=rf"{name} cannot be read.*open, which is not"):
        _cifar10._read_cifar10_batches(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_1", b"", "data_batch_1 cannot be read"),
        ("data_batch_1", FILES["data_batch_1"][:500], "data_batch_1 cannot be read"),
        ("data_batch_2", pickle.dumps([1, 2]), "data_batch_2 .* holds no dict"),
        ("data_batch_2", pickle.dumps({}), "data_batch_2: 'data'"),
        (
            "test_batch",
            pickle.dumps({**BATCHES["test_batch"], "labels": [0, 1]}),
            "test_batch: 'labels' is not a list of 3",
        ),
        (
            "test_batch",
            pickle.dumps({**BATCHES["test_batch"], "labels": [0, 1, 10]}),
            "test_batch: 'labels'",
        ),
        ("batches.meta", pickle.dumps({"label_names": ["a"]}), "batches.meta: "),
    ],
    ids=["empty", "short", "list", "keys", "length", "label", "names"],
)
def test_unexpected_content_is_an_error_that_names_the_file(
    tmp_path, name, content, message
):
    write_files(tmp_path, {**FILES, name: content})
    with pytest.raises(OSError, match=message):
        _cifar10._read_cifar10_batches(tmp_path)
