"""The default preparation of tables and texts for a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklgm.auditing._table import Table

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

_MOST_COLUMNS = 100  # of one-hot columns of one category
_N_COMPONENTS = 100  # of texts and of wide sparse rows
_MOST_WORDS = 50_000
# Texts of fewer letters on average are compared by letters, not by words.
_SHORT_TEXT = 30
_NAMED = 8


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
    # Here, since they import much.
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer

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
        from sklearn.decomposition import TruncatedSVD  # here, since it imports much

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
    from sklearn.decomposition import TruncatedSVD

    n_components = min(_N_COMPONENTS, X.shape[0] // 2, X.shape[1] - 1)
    return make_pipeline(
        TruncatedSVD(n_components, random_state=random_state), StandardScaler()
    )


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
