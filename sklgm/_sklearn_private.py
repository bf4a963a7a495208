"""The only door to underscored scikit-learn names.

Kept in one file so that a scikit-learn release that moves one of them is
answered in one place.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.base import _fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._metadata_requests import _routing_enabled as routing_enabled
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
)
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call as check_partial_fit_first_call,
)
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "check_method_params",
    "check_partial_fit_first_call",
    "check_sample_weight",
    "fit_context",
    "routing_enabled",
    "safe_indexing",
    "tree_class",
]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[_Method], _Method]:
    """Validate parameters before a ``fit`` method runs; keeps the method's type.

    Parameters
    ----------
    prefer_skip_nested_validation : bool
        Whether estimators that ``fit`` builds skip their own validation.

    Returns
    -------
    callable
        The decorator.
    """
    return cast(
        "Callable[[_Method], _Method]",
        _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation),
    )


def tree_class() -> type[Any]:
    """Class of a fitted decision tree's nodes.

    Returns
    -------
    type
        scikit-learn's ``Tree``.
    """
    from sklearn.tree._tree import Tree  # here, since it imports much

    return cast("type[Any]", Tree)
