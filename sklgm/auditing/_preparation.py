"""The default preparation of tables and texts for a network."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from numbers import Number
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklgm.auditing._rows import _is_missing

# A column of text is a category where it has at most so many values, or values a row.
_MOST_CATEGORIES = 20
_CATEGORY_SHARE = 0.02
_MOST_COLUMNS = 100  # of one-hot columns of one category
_N_COMPONENTS = 100  # of texts and of wide sparse rows
_MOST_WORDS = 50_000
# Texts of fewer letters on average are compared by letters, not by words.
_SHORT_TEXT = 30
_NAMED = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of columns of several kinds, as one array of objects.

    Attributes
    ----------
    values : ndarray of object of shape (n_samples, n_columns)
        Floats (NaN where missing), or texts (None where missing).
    names : list of str
        Columns.
    kinds : list of {"number", "date", "category", "text"}
        What each holds.
    """

    values: NDArray[Any]
    names: list[str]
    kinds: list[str]


def as_table(X: Any, like: Table | None = None) -> Table:
    """Read rows as a table.

    Parameters
    ----------
    X : frame, ndarray of shape (n_samples, n_columns) or sequence of texts
        Of pandas or Polars, or of numpy.
    like : Table or None, default=None
        Table whose columns and kinds the rows must have.

    Returns
    -------
    Table
        The table.

    Raises
    ------
    ValueError
        If columns are missing, or hold something that is not a feature.
    """
    columns: list[tuple[str, str, NDArray[Any]]] = []
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"X has several columns of the name {repeated[0]!r}")
        for name, column in zip(names, X.columns, strict=True):
            columns += _columns(name, X[column])
    elif isinstance(X, np.ndarray) and X.ndim > 1:
        for j, values in enumerate(X.reshape(len(X), -1).T):
            columns += _columns(f"column {j}", values)
    else:
        values = np.empty(len(X), dtype=object)
        values[:] = [None if _is_missing(text) else str(text) for text in X]
        columns = [("text", "text", values)]
    table = Table(
        np.column_stack([values for _, _, values in columns])
        if columns
        else np.empty((0, 0), dtype=object),
        [name for name, _, _ in columns],
        [kind for _, kind, _ in columns],
    )
    if like is None:
        return table
    if set(table.names) != set(like.names):
        only = sorted(set(table.names) ^ set(like.names))
        raise ValueError(
            "trusted rows must have the columns of X; only one of them has "
            f"{', '.join(map(repr, only[:5]))}"
        )
    order = [table.names.index(name) for name in like.names]
    return Table(table.values[:, order], like.names, like.kinds)


def make_preparation(table: Table, random_state: int) -> ColumnTransformer:
    """Make the steps that turn a table into numbers, not fitted.

    Parameters
    ----------
    table : Table
        Says what each column holds.
    random_state : int
        Seed of the projection of texts.

    Returns
    -------
    ColumnTransformer
        Takes ``Table.values``.
    """
    places = {
        kind: [j for j, each in enumerate(table.kinds) if each == kind]
        for kind in ("number", "date", "category", "text")
    }
    steps: list[tuple[str, Any, Any]] = []
    numbers = places["number"] + places["date"]
    if numbers:
        steps.append(
            (
                "numbers",
                make_pipeline(
                    FunctionTransformer(_floats),
                    SimpleImputer(
                        strategy="median", add_indicator=True, keep_empty_features=True
                    ),
                    StandardScaler(),
                ),
                numbers,
            )
        )
    if places["category"]:
        steps.append(
            (
                "categories",
                make_pipeline(
                    FunctionTransformer(_texts),
                    OneHotEncoder(
                        handle_unknown="infrequent_if_exist",
                        max_categories=_MOST_COLUMNS,
                        sparse_output=False,
                    ),
                ),
                places["category"],
            )
        )
    steps += [
        (f"text {j}", TextFeatures(random_state=random_state), [j])
        for j in places["text"]
    ]
    return ColumnTransformer(steps, sparse_threshold=0.0)


def describe(table: Table) -> str:
    """Say how the columns of a table are prepared.

    Parameters
    ----------
    table : Table
        The table.

    Returns
    -------
    str
        One sentence.
    """
    how = {
        "number": "numbers, the median where they are missing, with an indicator",
        "date": "dates, as numbers",
        "category": "categories, one-hot",
        "text": "text, by TF-IDF of words, or of letters where it is short, in "
        f"{_N_COMPONENTS} dimensions",
    }
    said = []
    for kind, what in how.items():
        names = [
            name for name, k in zip(table.names, table.kinds, strict=True) if k == kind
        ]
        if names:
            listed = ", ".join(names[:_NAMED])
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            said.append(f"{listed}{more} ({what})")
    return f"Columns were prepared so: {'; '.join(said)}."


class TextFeatures(TransformerMixin, BaseEstimator):
    """TF-IDF of a column of texts, projected to a few dimensions.

    Parameters
    ----------
    random_state : int, default=0
        Seed of the projection.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer or None
        Of words and pairs of words, or of 2 to 4 letters where texts are short; None
        where no text holds any.
    projection_ : TruncatedSVD or None
        To at most 100 dimensions; None where there are no more words.
    scale_ : float
        By which features are multiplied, so that they vary by 1 on average.
    """

    def __init__(self, *, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: NDArray[Any], y: Any = None) -> Self:
        """Learn words and the projection.

        Parameters
        ----------
        X : ndarray of object of shape (n_samples, 1)
            Texts; None is an empty one.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        texts = _plain_texts(X)
        is_short = np.mean([len(text) for text in texts]) < _SHORT_TEXT
        self.vectorizer_ = TfidfVectorizer(
            analyzer="char_wb" if is_short else "word",
            ngram_range=(2, 4) if is_short else (1, 2),
            sublinear_tf=True,
            max_features=_MOST_WORDS,
            dtype=np.float32,
        )
        self.projection_ = None
        self.scale_ = 1.0
        try:
            words = self.vectorizer_.fit_transform(texts)
        except ValueError:  # no text holds a word
            self.vectorizer_ = None
            return self
        n_components = min(_N_COMPONENTS, min(words.shape) - 1)
        if n_components >= 1 and words.shape[1] > _N_COMPONENTS:
            self.projection_ = TruncatedSVD(
                n_components, random_state=self.random_state
            ).fit(words)
        features = self.transform(X)
        spread = float(np.sqrt(features.var(axis=0).mean()))
        self.scale_ = 1.0 / spread if spread > 0 else 1.0
        return self

    def transform(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Features of texts.

        Parameters
        ----------
        X : ndarray of object of shape (n_samples, 1)
            Texts.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Features.
        """
        check_is_fitted(self, "scale_")
        if self.vectorizer_ is None:
            return np.zeros((len(X), 1), dtype=np.float32)
        words = self.vectorizer_.transform(_plain_texts(X))
        if self.projection_ is not None:
            return np.asarray(self.projection_.transform(words) * self.scale_)
        return np.asarray(words.toarray() * self.scale_)


def make_sparse_preparation(X: Any, random_state: int) -> Any:
    """Make the step that turns sparse rows into dense ones, not fitted.

    Parameters
    ----------
    X : sparse matrix of shape (n_samples, n_features)
        The rows.
    random_state : int
        Seed of the projection.

    Returns
    -------
    transformer
        To at most 100 dimensions, standardised.
    """
    if X.shape[1] <= _N_COMPONENTS:
        return make_pipeline(FunctionTransformer(_dense), StandardScaler())
    n_components = min(_N_COMPONENTS, X.shape[0] // 2, X.shape[1] - 1)
    return make_pipeline(
        TruncatedSVD(n_components, random_state=random_state), StandardScaler()
    )


def _columns(name: str, column: Any) -> list[tuple[str, str, NDArray[Any]]]:
    """Name, kind and values of a column; several where it holds lists."""
    dtype = getattr(column, "dtype", None)
    is_category = str(dtype).lower().startswith(("category", "categorical", "enum"))
    if getattr(dtype, "kind", "O") in ("b", "i", "u", "f") and hasattr(column, "iloc"):
        values = column.to_numpy(dtype="float64", na_value=np.nan)
    elif getattr(dtype, "tz", None) is not None and hasattr(column, "dt"):
        values = column.dt.tz_convert(None).to_numpy()
    else:
        values = np.asarray(
            column.to_numpy() if hasattr(column, "to_numpy") else column
        )
    if values.dtype.kind in "Mm":
        is_missing = np.isnat(values)
        unit = "datetime64[us]" if values.dtype.kind == "M" else "timedelta64[us]"
        seconds = values.astype(unit).astype(np.int64) / 1e6
        return [(name, "date", _objects(np.where(is_missing, np.nan, seconds)))]
    if values.dtype.kind in "biuf" and values.ndim == 1 and not is_category:
        return [(name, "number", _objects(values.astype(np.float64)))]
    if values.ndim > 1:  # lists of one length
        return [
            (f"{name}[{j}]", "number", _objects(place.astype(np.float64)))
            for j, place in enumerate(values.reshape(len(values), -1).T)
        ]
    return _columns_of_objects(name, values, is_category)


def _columns_of_objects(
    name: str, values: NDArray[Any], is_category: bool
) -> list[tuple[str, str, NDArray[Any]]]:
    known = [value for value in values if not _is_missing(value)]
    if known and not is_category:
        if all(isinstance(value, Number | Decimal | np.bool_) for value in known):
            floats = [np.nan if _is_missing(v) else float(v) for v in values]
            return [(name, "number", _objects(np.array(floats)))]
        if all(isinstance(value, datetime.date | np.datetime64) for value in known):
            dates = [None if _is_missing(v) else np.datetime64(v, "us") for v in values]
            return _columns(name, np.array(dates, dtype="datetime64[us]"))
        if all(isinstance(value, list | tuple | np.ndarray) for value in known):
            if len(known) < len(values) or len({len(value) for value in known}) > 1:
                raise ValueError(
                    f"column {name!r} holds lists of several lengths, or none in some "
                    "rows; features need as many numbers in each row"
                )
            return _columns(name, np.array([list(v) for v in known], dtype=np.float64))
    texts = np.array([None if _is_missing(v) else str(v) for v in values], dtype=object)
    n_values = len({text for text in texts if text is not None})
    most = max(_MOST_CATEGORIES, _CATEGORY_SHARE * len(known))
    is_rare = n_values == len(known) and len(known) > _MOST_CATEGORIES // 2
    kind = "category" if is_category or (n_values <= most and not is_rare) else "text"
    return [(name, kind, texts)]


def _objects(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object)


def _floats(X: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(X, dtype=np.float64)


def _texts(X: NDArray[Any]) -> NDArray[Any]:
    return np.array(
        [["" if text is None else text for text in row] for row in X], dtype=object
    )


def _plain_texts(X: NDArray[Any]) -> list[str]:
    return ["" if text is None else str(text) for text in np.asarray(X).ravel()]


def _dense(X: Any) -> Any:
    return X.toarray() if sparse.issparse(X) else X
