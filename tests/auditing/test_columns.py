"""Columns of any kind as those of a table, and rows parted from labels and groups."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from sklgm.auditing._rows import parted_rows
from sklgm.auditing._table import columns_of

NOON = "2026-01-02 12:00"


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pd.Series([1, None, 3], dtype="Int64"), "number", [1.0, None, 3.0]),
        (np.array([Decimal("0.5"), None], dtype=object), "number", [0.5, None]),
        (np.array([1.5, 2.5], dtype=np.float16), "number", [1.5, 2.5]),
        (pd.Series(["a", "b", "a"]), "category", ["a", "b", "a"]),
        (pd.Series([1, 2, 1]).astype("category"), "category", ["1", "2", "1"]),
        (np.array([datetime.date(1970, 1, 2), None]), "date", [86_400.0, None]),
        (
            pd.Series(pd.to_datetime([NOON, None]).tz_localize("Europe/Paris")),
            "date",
            [pd.Timestamp("2026-01-02 11:00").timestamp(), None],
        ),
        (pd.Series(pd.to_timedelta(["1s", "1h"])), "date", [1.0, 3_600.0]),
    ],
)
def test_a_column_is_of_its_kind(column, kind, expected):
    ((name, found, values),) = columns_of("x", column)
    assert (name, found) == ("x", kind)
    known = [None if isinstance(v, float) and np.isnan(v) else v for v in values]
    assert known == expected


@pytest.mark.parametrize(
    "column", [np.array([[1, 2], [3, 4]]), pd.Series([[1, 2], [3, 4]])]
)
def test_lists_of_one_length_are_columns(column):
    places = columns_of("x", column)
    assert [(name, kind) for name, kind, _ in places] == [
        ("x[0]", "number"),
        ("x[1]", "number"),
    ]
    assert [values.tolist() for *_, values in places] == [[1.0, 3.0], [2.0, 4.0]]


@pytest.mark.parametrize("column", [[[1, 2], [3]], [[1, 2], None]])
def test_lists_of_several_lengths_are_refused(column):
    with pytest.raises(ValueError, match="column 'x' holds lists of several lengths"):
        columns_of("x", pd.Series(column))


def test_groups_may_be_the_name_of_a_column_of_a_mapping():
    X = {"a": [1.0, 2.0, 3.0], "of": ["p", "q", "p"], "label": ["u", "v", "u"]}
    rows, labels, groups = parted_rows(X, None, "of")
    assert rows.shape == (3, 1)
    assert labels.tolist() == ["u", "v", "u"]
    assert groups.tolist() == ["p", "q", "p"]
    with pytest.raises(ValueError, match="groups='scene': X has no column"):
        parted_rows(X, None, "scene")


@pytest.mark.parametrize(
    ("images", "scale"),
    [
        (np.arange(2 * 4 * 5).reshape(2, 4, 5).astype(np.uint8), 255),
        (np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3).astype(np.float64) / 120, 1),
    ],
)
def test_images_of_a_mapping_have_their_channels_first(images, scale):
    rows, *_ = parted_rows({"image": images, "label": [0, 1]}, None)
    assert rows.shape == (2, 1 if images.ndim == 3 else 3, 4, 5)
    expected = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(rows, expected / scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ({"a": [1, 2], "b": [1], "y": [0, 1]}, None, ValueError, "columns of one len"),
        ({"a": [1, 2]}, [0, 1, 0], ValueError, "label for each of the 2 rows of X"),
        (np.array(3.0), [0], ValueError, "X must hold rows, got a single value"),
    ],
)
def test_columns_that_do_not_fit_are_refused(X, y, error, message):
    with pytest.raises(error, match=message):
        parted_rows(X, y)


def test_labels_of_several_types_are_texts():
    _, labels, _ = parted_rows(np.zeros((3, 1)), np.array([1, "a", 1], dtype=object))
    assert labels.tolist() == ["1", "a", "1"]
