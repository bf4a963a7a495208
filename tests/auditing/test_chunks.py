"""What is computed a part at a time is what is computed at once."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.preprocessing import StandardScaler

from sklgm import audit
from sklgm._running import _scratch
from sklgm.auditing import _chunks
from sklgm.auditing._chunks import ChunkedScaler, has_nan, row_chunks
from sklgm.auditing._number_columns import numbers_in_memory
from sklgm.auditing._outliers import outlier_p_values
from sklgm.datasets import make_gaussian_classes


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(3.0, 2.0, (100, 4)).astype(np.float32)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(_chunks, "_MOST_ROWS", 16)


@pytest.mark.parametrize("shape", [(100, 4), (100, 3, 8, 8), (0, 4)])
def test_chunks_are_all_rows_once(small_chunks, shape):
    seen = [np.arange(shape[0])[chunk] for chunk in row_chunks(np.empty(shape))]
    np.testing.assert_array_equal(np.concatenate([*seen, []]), np.arange(shape[0]))
    assert all(len(part) <= 16 for part in seen)


def test_long_rows_make_short_chunks():
    (first, *_) = row_chunks(np.broadcast_to(np.float32(0), (10_000, 4096)))
    assert first == slice(0, 2048)


def test_rows_of_one_chunk_are_scaled_to_the_same_bits(rows):
    expected = StandardScaler().fit_transform(rows)
    np.testing.assert_array_equal(ChunkedScaler().fit_transform(rows), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_rows_of_several_chunks_are_scaled_as_at_once(rows, small_chunks, dtype):
    rows = (rows > 3) if dtype is bool else rows.astype(dtype)
    expected = StandardScaler().fit(rows)
    scaler = ChunkedScaler().fit(rows)
    np.testing.assert_allclose(scaler.mean_, expected.mean_, rtol=1e-6)
    np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-6)
    scaled = scaler.transform(rows)
    assert scaled.dtype == expected.transform(rows).dtype
    np.testing.assert_allclose(scaled, expected.transform(rows), atol=1e-5)
    again = scaler.fit(rows[::-1]).transform(rows)  # forgets the first fit
    np.testing.assert_allclose(again, scaled, atol=1e-5)


def test_scaled_rows_that_are_large_are_a_file(rows, small_chunks, monkeypatch):
    monkeypatch.setattr(_scratch, "_LARGE", 1)
    assert isinstance(ChunkedScaler().fit_transform(rows), np.memmap)


def test_a_missing_value_is_found_in_any_chunk(rows, small_chunks):
    assert not has_nan(rows)
    assert not has_nan(rows.astype(int))
    rows[77, 2] = np.nan
    assert has_nan(rows)


@pytest.mark.parametrize("is_holed", [False, True], ids=["whole", "holed"])
def test_outliers_are_those_of_all_rows_at_once(rows, monkeypatch, is_holed):
    rows[5] = 40.0
    if is_holed:
        rows[::9, 1] = np.nan
    expected = outlier_p_values(rows, 0)
    monkeypatch.setattr(_chunks, "_MOST_ROWS", 16)
    np.testing.assert_allclose(outlier_p_values(rows, 0), expected, rtol=1e-6)
    assert np.argmin(expected) == 5
    rows[3, 0] = np.inf
    assert outlier_p_values(rows, 0) is None


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_frames_keep_the_type_that_their_columns_share(kind):
    columns = {"a": np.array([1, 2], np.int16), "b": np.array([0.5, 1], np.float32)}
    numbers = numbers_in_memory(kind(columns))
    assert numbers.names == ["a", "b"]
    assert numbers.values.dtype == np.float32
    np.testing.assert_array_equal(numbers.values, [[1, 0.5], [2, 1]])


def test_frames_of_lists_are_rows_of_numbers():
    X, y = make_gaussian_classes(90, n_features=4, separation=6.0, random_state=0)
    settings = {"max_epochs": 2, "cv": 2, "random_state": 0}
    frame = pd.DataFrame({"embedding": list(X), "label": y})
    expected = audit(X.astype(np.float64), y, **settings)
    result = audit(frame, **settings)
    np.testing.assert_array_equal(result.p_wrong, expected.p_wrong)


# Of random probabilities.
@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly any row")
def test_frames_of_numbers_have_near_duplicates_as_arrays_have():
    X, y = make_gaussian_classes(90, n_features=4, separation=6.0, random_state=0)
    X[7] = X[50] + 1e-6
    proba = np.random.default_rng(0).dirichlet(np.ones(y.max() + 1), len(y))
    expected = audit(X, y, pred_probs=proba, random_state=0)
    result = audit(pd.DataFrame(X), y, pred_probs=proba, random_state=0)
    assert expected.duplicate_pairs.tolist() == [[7, 50]]
    np.testing.assert_array_equal(result.duplicate_pairs, expected.duplicate_pairs)


def test_identifier_in_a_frame_is_named():
    X, y = make_gaussian_classes(90, n_features=2, random_state=0)
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(number=np.arange(5, 95.0))
    with pytest.warns(UserWarning, match="as an identifier does: 'number'"):
        audit(frame, y, max_epochs=1, cv=2, random_state=0)
