"""The format of model files, and the functions that write and read them."""

import hashlib
import importlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import sklearn

from sklgm.persistence._classes import GivenError, UnstorableError
from sklgm.persistence._codec import Decoder, Encoder
from sklgm.persistence._files import read_regular, write_atomically

#: Version of the format; a file of a higher one is refused.
FORMAT_VERSION = 1

_FORMAT = "sklgm model"
_NO_DIGEST = "0" * 64
_MAX_BYTES = 4 * 2**30
# Types that safetensors has a word for; arrays of others are stored as their bytes.
_TENSOR_TYPES = frozenset("|b1 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <f4 <f8".split())
# Packages of the estimators that a file may hold. They are above this one: it knows
# them by name, and imports them when a file is read.
_PACKAGES = ("classifiers", "outliers", "filtering", "poisoning")


class PersistenceMixin:
    """Estimator that saves itself without pickle."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the estimator in one file, for :func:`sklgm.load`.

        Parameters
        ----------
        path : path-like
            Where; a file that is there is replaced, in one step.

        Raises
        ------
        TypeError
            If it holds what cannot be stored without pickle, such as a fitted
            estimator of another package than scikit-learn; the message says what.
        OSError
            If the file cannot be written.

        See Also
        --------
        sklgm.save : The same as a function; it takes a Pipeline, too.
        """
        save(self, path)


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save an estimator in one file, without pickle.

    Parameters
    ----------
    estimator : estimator
        Of sklgm, or a Pipeline or another estimator of scikit-learn, with whatever
        estimators of these it holds; fitted or not.
    path : path-like
        Where; a file that is there is replaced, in one step.

    Raises
    ------
    TypeError
        If it holds what cannot be stored without pickle; the message says what.
    OSError
        If the file cannot be written.

    See Also
    --------
    sklgm.load : Reads the file.

    Notes
    -----
    The file is in the safetensors format: arrays as they are, and parameters, classes
    and versions as JSON in its header, with the SHA-256 of the whole. Parameters that
    are modules, functions or callbacks of your own are not stored, but their weights
    are; :func:`load` asks for them by name.

    Examples
    --------
    >>> import sklgm
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), sklgm.RobustGaussianClassifier())
    >>> sklgm.save(model.fit(X, y), "iris.sklgm")  # doctest: +SKIP
    >>> sklgm.load("iris.sklgm").predict(X[:2])  # doctest: +SKIP
    array([0, 0])
    """
    write_atomically(path, pack(estimator))


def load(
    path: str | os.PathLike[str],
    *,
    device: Any = None,
    max_bytes: int = _MAX_BYTES,
    **given: Any,
) -> Any:
    """Load what :func:`save` or an estimator's ``save`` wrote.

    Nothing that the file holds is executed. It is made of classes of sklgm and public
    ones of scikit-learn only.

    Parameters
    ----------
    path : path-like
        Where the file lies.
    device : str, torch.device or None, default=None
        Where networks are put. None is the ``device`` of the estimator, and the CPU
        where this machine has none such.
    max_bytes : int, default=4294967296
        A larger file is not read.
    **given : object
        Values of parameters that are objects of your own, such as
        ``backbone=MyNetwork()``, which gets the weights of the file.

    Returns
    -------
    estimator
        As it was saved; its predictions are the same bits on the same machine.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is not a model file, is damaged or was altered, comes from a newer version
        of the format, is too large, or does not fit what is ``given``.
    TypeError
        If a parameter must be given again, or one was given that the file holds.

    Warns
    -----
    UserWarning
        If it was saved with another version of scikit-learn.

    See Also
    --------
    sklgm.save : Writes the file.
    """
    content = read_regular(path, max_bytes)
    return unpack(content, os.fspath(path), device=device, given=given)


def pack(value: Any, *, is_complete: bool = False) -> bytes:
    """Encode a value as the content of a file.

    Parameters
    ----------
    value : object
        An estimator, or records and containers of arrays.
    is_complete : bool, default=False
        Whether no parameter may be left out, to be given again.

    Returns
    -------
    bytes
        A safetensors file.

    Raises
    ------
    UnstorableError
        If it holds what cannot be stored; a ``TypeError``.
    """
    encoder = Encoder()
    node = encoder.encode(value, type(value).__name__)
    if is_complete and encoder.given:
        raise UnstorableError(f"{', '.join(encoder.given)} cannot be stored")
    document = {
        "value": node,
        "given": encoder.given,
        "versions": {
            name: importlib.import_module(name).__version__
            for name in ("sklgm", "sklearn", "numpy")
        },
    }
    metadata = {
        "format": _FORMAT,
        "format_version": str(FORMAT_VERSION),
        "sha256": _NO_DIGEST,
        "document": json.dumps(document, allow_nan=False),
    }
    tensors = {
        name: array
        if array.dtype.str in _TENSOR_TYPES
        else np.frombuffer(array.tobytes(), np.uint8)
        for name, array in encoder.arrays.items()
    }
    content = bytearray(safetensors.numpy.save(tensors, metadata))
    digest = hashlib.sha256(content).hexdigest()
    start, stop = _digest_place(content, _NO_DIGEST)
    content[start:stop] = digest.encode()
    return bytes(content)


def unpack(
    content: bytes,
    name: str,
    *,
    device: Any = None,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """Decode the content of a file.

    Parameters
    ----------
    content : bytes
        As :func:`pack` gave it.
    name : str
        What errors call it.
    device : str, torch.device or None, default=None
        Where networks are put.
    given : mapping of str to object or None, default=None
        Values of parameters that are not stored.

    Returns
    -------
    object
        The value.

    Raises
    ------
    ValueError
        As :func:`load`.
    TypeError
        As :func:`load`.
    """
    metadata, arrays = _parts(content, name)
    _check_digest(content, metadata["sha256"], name)
    for package in _PACKAGES:
        importlib.import_module(f"sklgm.{package}")
    try:
        document = json.loads(metadata["document"])
        asked, versions = (_texts(document[part]) for part in ("given", "versions"))
        node = document["value"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{name} is damaged: {_short(error)}") from error
    _check_given(asked, given or {}, name)
    try:
        value = Decoder(arrays, given or {}, device).decode(node)
    except GivenError as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:  # whatever a crafted document leads to
        raise ValueError(f"{name} is damaged: {_short(error)}") from error
    _warn_of_versions(versions, name)
    return value


def _parts(content: bytes, name: str) -> tuple[dict[str, str], dict[str, bytearray]]:
    """Metadata and arrays of a file of this format."""
    try:
        parts = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} is not a model file of sklgm, or is cut off: {_short(error)}"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"{name} is a safetensors file, but no model file of sklgm")
    version = metadata.get("format_version", "")
    if version.isdecimal() and int(version[:9]) > FORMAT_VERSION:
        raise ValueError(
            f"{name} has version {version[:9]} of the format, and this version of "
            f"sklgm reads up to {FORMAT_VERSION}: update sklgm"
        )
    if version != str(FORMAT_VERSION) or not {"sha256", "document"} <= set(metadata):
        raise ValueError(f"{name} is damaged: its header is not complete")
    return metadata, {tensor: part["data"] for tensor, part in parts}


def _check_digest(content: bytes, digest: str, name: str) -> None:
    try:
        start, stop = _digest_place(content, digest)
    except ValueError as error:
        raise ValueError(f"{name} is damaged: its header has no checksum") from error
    hashed = hashlib.sha256(content[:start])
    hashed.update(_NO_DIGEST.encode())
    hashed.update(memoryview(content)[stop:])
    if hashed.hexdigest() != digest:
        raise ValueError(f"{name} was altered or damaged: its checksum does not match")


def _digest_place(content: bytes | bytearray, digest: str) -> tuple[int, int]:
    """First byte of the digest in a file, and the one after its last."""
    if len(digest) != len(_NO_DIGEST):
        raise ValueError("no digest")
    # In the document quotes are escaped: there is one such place.
    before = b'"sha256":"'
    start = content.index(before + digest.encode() + b'"') + len(before)
    return start, start + len(digest)


def _check_given(asked: dict[str, str], given: Mapping[str, Any], name: str) -> None:
    missing = [parameter for parameter in asked if parameter not in given]
    if missing:
        held = ", ".join(f"{parameter}={asked[parameter]}" for parameter in missing)
        again = ", ".join(f"{parameter}=..." for parameter in missing)
        raise TypeError(
            f"{name} was saved with {held}, which is not in the file: give it again, "
            f"load(path, {again})"
        )
    unknown = [parameter for parameter in given if parameter not in asked]
    if unknown:
        raise TypeError(
            f"{name} holds {unknown[0]!r} itself; load takes "
            f"{', '.join(asked) if asked else 'no parameters'} for it"
        )


def _warn_of_versions(versions: dict[str, str], name: str) -> None:
    saved, here = versions.get("sklearn", ""), sklearn.__version__
    if saved.split(".")[:2] != here.split(".")[:2]:
        warnings.warn(
            f"{name} was saved with scikit-learn {saved}, and this is {here}: "
            "estimators of scikit-learn in it may predict otherwise, or fail",
            UserWarning,
            stacklevel=4,
        )


def _texts(part: Any) -> dict[str, str]:
    texts = dict(part)
    if not all(type(text) is str for text in texts.values()):
        raise TypeError("its document holds other things than texts")
    return texts


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."
