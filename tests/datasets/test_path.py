import zipfile

import numpy as np
import pytest
from PIL import Image

from sklgm.datasets import load_path


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(["cat", "dog"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((3, 3), 10 * k + i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_folder_and_archive_are_read_as_images(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.ZIP", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    for path in (folder, str(folder), tmp_path / "archive.ZIP"):
        splits = load_path(path, image_size=2, test_size=0.5)
        assert splits.X_train.shape == (4, 1, 2, 2)


def test_npz_is_read_as_arrays(tmp_path):
    np.savez(tmp_path / "rows.npz", X=np.eye(8), y=np.arange(8) % 2)
    splits = load_path(tmp_path / "rows.npz", test_size=0.25, random_state=3)
    assert (splits.X_train.shape, splits.X_test.shape) == ((6, 8), (2, 8))


def test_image_size_for_npz_is_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", X=np.eye(8), y=np.arange(8) % 2)
    with pytest.raises(ValueError, match="image_size is for image folders only, got 4"):
        load_path(tmp_path / "rows.npz", image_size=4)


def test_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npz does not exist"):
        load_path(tmp_path / "absent.npz")


def test_other_files_are_refused_with_what_is_accepted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1,2")
    with pytest.raises(
        ValueError, match=r"\.npz file, or a folder or \.zip .*rows.csv"
    ):
        load_path(path)
