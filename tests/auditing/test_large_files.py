"""Rows in a file that is larger than memory are judged as those in memory."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.preprocessing import StandardScaler

from sklgm import audit
from sklgm._running import _scratch, is_large_file, row_chunks, scratch_array
from sklgm.auditing._large_scaler import LargeScaler
from sklgm.auditing._outliers import outlier_p_values
from sklgm.datasets import make_gaussian_classes
from sklgm.poisoning import flip_labels


@pytest.fixture
def as_file(monkeypatch, tmp_path):
    """Make a large file of an array; parts of it have 17 rows."""
    monkeypatch.setattr(_scratch, "_LARGE", 1_000)
    monkeypatch.setattr(_scratch, "_CHUNK_ROWS", 17)
    monkeypatch.setattr(_scratch.tempfile, "tempdir", str(tmp_path))

    def made(array):
        file = scratch_array(array.shape, array.dtype)
        file[:] = array
        assert is_large_file(file)
        assert is_large_file(np.asarray(file))
        assert not is_large_file(array)
        assert not is_large_file(file[:1])
        return file

    return made


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(3.0, [1.0, 100.0, 1e-3, 0.0, 7.0], size=(211, 5))


def test_parts_hold_each_row_once_and_few_values():
    for shape in ((0, 3), (5, 0), (70_000, 2), (300, 30_000), (4, 2**22)):
        parts = list(row_chunks(np.broadcast_to(np.float32(0), shape)))
        taken = [row for part in parts for row in range(part.start, part.stop)]
        assert taken == list(range(shape[0]))
        n_most = max((part.stop - part.start for part in parts), default=0)
        assert n_most * max(shape[1], 1) * 8 <= 2**24 or n_most == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_scaler_of_a_file_is_that_of_rows_in_memory(as_file, rows, dtype):
    rows = rows.astype(dtype)
    file = as_file(rows)
    expected = StandardScaler().fit(rows)
    scaler = LargeScaler().fit(file)
    for name in ("mean_", "var_", "scale_"):
        np.testing.assert_allclose(getattr(scaler, name), getattr(expected, name))
    scaled = LargeScaler().fit_transform(file)
    assert scaled.dtype == expected.transform(rows).dtype
    np.testing.assert_allclose(scaled, expected.transform(rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(file, rows)


def test_scaler_of_rows_in_memory_gives_the_same_bits(as_file, rows):
    scaler = LargeScaler().fit(rows)
    expected = StandardScaler().fit(rows)
    np.testing.assert_array_equal(scaler.transform(rows), expected.transform(rows))
    again = scaler.fit(as_file(rows)).fit(rows)  # nothing is left of another fit
    np.testing.assert_array_equal(again.mean_, expected.mean_)


def test_constant_columns_of_a_file_have_no_scale(as_file):
    rng = np.random.default_rng(0)
    values = rng.normal(size=120) * 10.0 ** rng.integers(-9, 12, 120)
    file = as_file(np.tile(values, (60, 1)))
    np.testing.assert_array_equal(LargeScaler().fit(file).scale_, 1.0)


def test_audit_of_a_file_is_that_of_rows_in_memory(as_file):
    X, y = make_gaussian_classes(240, n_features=9, separation=6.0, random_state=0)
    claimed = flip_labels(y, 0.1, random_state=0)
    settings = {"max_epochs": 3, "cv": 2, "random_state": 0}
    expected = audit(X, claimed, **settings)
    results = [audit(as_file(X), claimed, **settings)]
    with config_context(transform_output="pandas"):
        results.append(audit(as_file(X), claimed, **settings))
    for result in results:
        np.testing.assert_allclose(result.p_wrong, expected.p_wrong, atol=1e-4)
        np.testing.assert_array_equal(result.is_suspect, expected.is_suspect)
        np.testing.assert_array_equal(result.duplicate_pairs, expected.duplicate_pairs)
        np.testing.assert_allclose(
            result.outlier_p_values, expected.outlier_p_values, rtol=1e-6
        )


@pytest.mark.parametrize("lacks", [False, True], ids=["complete", "missing"])
def test_unlike_rows_of_a_file_are_those_in_memory(as_file, rows, lacks):
    if lacks:
        rows[np.random.default_rng(1).random(rows.shape) < 0.2] = np.nan
        rows[:, 4] = np.nan
    rows[3] += 1_000.0
    expected = outlier_p_values(rows, 0)
    np.testing.assert_allclose(outlier_p_values(as_file(rows), 0), expected, rtol=1e-6)
    assert expected[3] == expected.min()


def test_infinite_rows_of_a_file_have_no_distances(as_file, rows):
    rows[200, 1] = np.inf
    assert outlier_p_values(rows, 0) is None
    assert outlier_p_values(as_file(rows), 0) is None


def test_missing_numbers_of_a_file_are_noticed_in_any_part(as_file, rows):
    y = np.arange(len(rows)) % 2
    settings = {"max_epochs": 1, "cv": 2, "random_state": 0}
    rows[210, 2] = np.nan
    with pytest.warns(UserWarning, match="certain of hardly any row"):
        expected = audit(rows, y, **settings)
    with pytest.warns(UserWarning, match="certain of hardly any row"):
        result = audit(as_file(rows), y, **settings)
    assert expected.notes[0].startswith("Columns were prepared so")
    assert result.notes == expected.notes
    np.testing.assert_array_equal(result.p_wrong, expected.p_wrong)
