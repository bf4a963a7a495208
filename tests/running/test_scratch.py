"""Arrays too large for memory."""

import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from sklgm._running import _scratch, is_large_file, scratch_array


@pytest.fixture
def few_bytes(monkeypatch, tmp_path):
    """Arrays of 100 bytes are large, and their files lie in a folder of their own."""
    monkeypatch.setattr(_scratch, "_LARGE", 100)
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_small_arrays_stay_in_memory(few_bytes):
    array = scratch_array((3, 4), np.float32)
    assert type(array) is np.ndarray
    assert list(few_bytes.iterdir()) == []


def test_large_arrays_are_files_that_vanish(few_bytes):
    array = scratch_array((5, 7), np.float32)
    assert type(array) is np.memmap
    array[:] = np.arange(35.0).reshape(5, 7)
    (path,) = few_bytes.iterdir()
    assert path.stat().st_size == 5 * 7 * 4
    assert Path(array.filename) == path
    view = array[2:]
    del array
    gc.collect()
    np.testing.assert_array_equal(view[0], np.arange(14.0, 21.0))
    assert path.exists()
    del view
    gc.collect()
    assert list(few_bytes.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves no room")
def test_without_room_for_a_file_an_array_is_in_memory(few_bytes, monkeypatch):
    def is_full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", is_full)
    array = scratch_array((5, 7), np.float32)
    assert type(array) is np.ndarray
    assert array.shape == (5, 7)
    assert list(few_bytes.iterdir()) == []


def test_without_a_folder_for_files_an_array_is_in_memory(few_bytes, monkeypatch):
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(few_bytes / "none"))
    array = scratch_array((5, 7), np.float32)
    assert type(array) is np.ndarray
    assert array.shape == (5, 7)


def test_rows_of_files_are_files_sooner(few_bytes, monkeypatch):
    monkeypatch.setattr(_scratch, "_LARGE_OF_FILE", 40)
    assert type(scratch_array((5, 3), np.float32)) is np.ndarray
    array = scratch_array((5, 3), np.float32, of_file=True)
    assert type(array) is np.memmap
    assert is_large_file(array)
    assert is_large_file(np.asarray(array))
    assert not is_large_file(array[:3])
    assert not is_large_file(np.zeros((50, 30)))
    assert type(scratch_array((3, 3), np.float32, of_file=True)) is np.ndarray
