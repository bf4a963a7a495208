"""Which classes a file may name: those of sklgm and public ones of scikit-learn."""

import dataclasses
import importlib
import sys
from typing import Any

import sklearn
from sklearn.base import BaseEstimator

# What is public in scikit-learn but is not a package of estimators.
_NO_ESTIMATORS = {"callback", "datasets", "exceptions", "experimental", "externals"}
_SKLEARN_PACKAGES = {
    name for name in sklearn.__all__ if name.islower() and "_config" not in name
} - _NO_ESTIMATORS


class UnstorableError(TypeError):
    """A value that a file without pickles has no word for."""


class GivenError(ValueError):
    """What was given to ``load`` does not fit the file."""


def class_name(cls: type) -> str | None:
    """Name by which a file may call a class.

    Parameters
    ----------
    cls : type
        Any class.

    Returns
    -------
    str or None
        Module and name; None for a class that no file may name.
    """
    package, *rest = cls.__module__.split(".")
    if package == "sklgm":
        is_known = is_record(cls) or issubclass(cls, BaseEstimator)
        name = f"{cls.__module__}.{cls.__qualname__}"
        return name if is_known and _found(cls.__module__, cls.__qualname__) else None
    if package == "sklearn" and rest and rest[0] in _SKLEARN_PACKAGES:
        public = f"sklearn.{rest[0]}"
        if _found(public, cls.__name__) is cls and _is_of_sklearn(cls):
            return f"{public}.{cls.__name__}"
    return None


def class_by_name(name: str) -> type:
    """Class that a file calls by its name.

    Parameters
    ----------
    name : str
        As :func:`class_name` gives it.

    Returns
    -------
    type
        The class. Nothing is imported for it but a public package of scikit-learn.

    Raises
    ------
    ValueError
        If a file may not name it, or this version has no such class.
    """
    module, _, qualname = name.rpartition(".")
    package, _, rest = module.partition(".")
    if package == "sklearn" and rest in _SKLEARN_PACKAGES:
        importlib.import_module(module)
    is_ours = package in ("sklgm", "sklearn")
    cls: type | None = _found(module, qualname) if is_ours else None
    if cls is None or class_name(cls) != name:
        raise ValueError(f"it names the class {name!r}, which is not known here")
    return cls


def is_record(cls: type) -> bool:
    """Whether a class is a dataclass or a named tuple.

    Parameters
    ----------
    cls : type
        Any class.

    Returns
    -------
    bool
        True for these.
    """
    return dataclasses.is_dataclass(cls) or is_named_tuple(cls)


def is_named_tuple(cls: type) -> bool:
    """Whether a class is a named tuple.

    Parameters
    ----------
    cls : type
        Any class.

    Returns
    -------
    bool
        True for these.
    """
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _is_of_sklearn(cls: type) -> bool:
    is_splitter = hasattr(cls, "split") and hasattr(cls, "get_n_splits")
    return issubclass(cls, BaseEstimator) or is_splitter


def _found(module: str, name: str) -> Any:
    """Class of a module that is imported already; None if there is none."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None
