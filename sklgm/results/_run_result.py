"""What an experiment found, as plain records that survive JSON.

Plots and reports are drawn from these, so neither needs training. Nothing here
imports torch.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from sklgm._running import installed_version

__all__ = [
    "MODELS",
    "PROTOCOLS",
    "SCHEMA_VERSION",
    "Record",
    "RunResult",
    "Trial",
    "results_schema",
]

SCHEMA_VERSION = 1

# Documents written before these were recorded lack them.
_LATER_FIELDS = {"control_margin", "margin", "auroc"}

#: Values of `Record.model` and `Trial.model`, in the order of tables and plots.
MODELS = ("softmax", "softmax_trimmed_gaussians", "lgm", "lgm_trim")

#: Values of `Record.protocol` and `Trial.protocol`.
PROTOCOLS = (
    "white-box",
    "transfer",
    "end-to-end",
    "frontier",
    "label-noise",
    "peers",
    "contamination",
    "search",
)


@dataclass(frozen=True)
class Record:
    """One measured number, with all that is needed to place it in a table.

    numpy scalars are converted to Python's at construction.

    Parameters
    ----------
    protocol : str
        One of :data:`PROTOCOLS`: how it was measured.
    dataset : str
        Display name, for instance ``"CIFAR-10 (JPEG)"``.
    model : {"softmax", "softmax_trimmed_gaussians", "lgm", "lgm_trim"}
        The model that was measured.
    attack : str
        ``"none"``, ``"feature_collision"``, ``"feature_collision_linf_8_255"``, ...
    n_poisons : int
        Poisons a target, at least 0.
    arm : str
        For a success rate ``"attack"``, ``"control"`` (the same refit without
        poisons) or ``"common"`` (targets that every model's control gets right);
        ``"clean"`` without poisons; else a variant such as ``"diag"``, or the score
        kind of a detection metric, ``"likelihood"``, ``"posterior"`` or
        ``"combined"``, or (protocol ``"peers"``) the name of a detector.
    metric : str
        ``"attack_success_rate"``, ``"clean_accuracy"``, ``"backbone_accuracy"``,
        ``"auroc"``, ``"tpr_at_1pct_fpr"``, ``"collision_ratio"``, ``"l2"``,
        ``"linf"``, ...
    value : float
        The number; nan where it is unknown. Infinities become nan.
    low : float or None
        Lower end of the 95 % interval, None if there is none.
    high : float or None
        Upper end of the 95 % interval, None if there is none.
    n : int
        Number of cases behind `value`: the targets that count, the outliers, or the
        test rows. At least 0.
    seed : int
        The seed of the run.

    Raises
    ------
    ValueError
        If `protocol` or `model` is unknown, a string is empty, or a count is
        negative.
    TypeError
        If a field has another type.
    """

    protocol: str
    dataset: str
    model: str
    attack: str
    n_poisons: int
    arm: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    seed: int

    def __post_init__(self) -> None:
        _set(self, "protocol", _choice, PROTOCOLS)
        _set(self, "model", _choice, MODELS)
        for name in ("dataset", "attack", "arm", "metric"):
            _set(self, name, _text)
        for name in ("n_poisons", "n"):
            _set(self, name, _count)
        _set(self, "seed", _integer)
        for name in ("low", "high"):
            _set(self, name, _optional_number)
        value = _optional_number(self.value, "value")
        object.__setattr__(self, "value", math.nan if value is None else value)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as strict JSON values.

        Returns
        -------
        dict
            With ``"value": None`` where the value is nan.
        """
        mapping = {item.name: getattr(self, item.name) for item in fields(self)}
        if math.isnan(self.value):
            mapping["value"] = None
        return mapping

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Record:
        """Make a record from what `to_dict` returned.

        Parameters
        ----------
        mapping : mapping
            Exactly the fields of a record.

        Returns
        -------
        Record

        Raises
        ------
        ValueError
            If a field is missing or unknown, or as for the constructor.
        """
        return cls(**_checked_keys(cls, mapping))


@dataclass(frozen=True)
class Trial:
    """One target under attack.

    numpy scalars are converted to Python's at construction. None stands for what
    does not apply; numbers that are not finite become None.

    Parameters
    ----------
    protocol : str
        One of :data:`PROTOCOLS`: how it was measured.
    dataset : str
        Display name.
    model : {"softmax", "softmax_trimmed_gaussians", "lgm", "lgm_trim"}
        The model under attack.
    attack : str
        As in `Record`.
    n_poisons : int
        Poisons crafted for this target, at least 0.
    seed : int
        The seed of the run.
    target_index : int or None
        Row of the target in the test set.
    target_label : str, int or None
        True label of the target.
    base_label : str, int or None
        Label that the poisons claim.
    control_label : str, int or None, default=None
        What the model refitted without poisons predicts for the target.
    predicted_label : str, int or None, default=None
        What the model refitted with the poisons predicts for the target.
    success : bool or None, default=None
        Whether the target got its base label.
    counted : bool or None, default=None
        Whether the target is one of those behind the model's rate: the control arm
        got it right, before as many as asked for were found.
    collision_ratio : float or None, default=None
        Mean of |f_poison - f_target| / |f_base - f_target|, at least 0.
    l2 : float or None, default=None
        Mean Euclidean norm of the perturbation, in units of the pixel range.
    linf : float or None, default=None
        Largest change of a pixel, in units of the pixel range.
    n_iter : int or None, default=None
        Iterations of the attack.
    stop_reason : str or None, default=None
        Why the attack stopped.
    control_margin : float or None, default=None
        log p(target label) - log p(base label) of the target without the poisons, in
        natural units.
    margin : float or None, default=None
        The same with the poisons.
    auroc : float or None, default=None
        Of the posterior of the claimed labels by the model refitted with the poisons:
        these against the other rows.

    Raises
    ------
    ValueError
        If `protocol` or `model` is unknown, a string is empty, or a count is
        negative.
    TypeError
        If a field has another type.
    """

    protocol: str
    dataset: str
    model: str
    attack: str
    n_poisons: int
    seed: int
    target_index: int | None
    target_label: str | int | None
    base_label: str | int | None
    control_label: str | int | None = None
    predicted_label: str | int | None = None
    success: bool | None = None
    counted: bool | None = None
    collision_ratio: float | None = None
    l2: float | None = None
    linf: float | None = None
    n_iter: int | None = None
    stop_reason: str | None = None
    control_margin: float | None = None
    margin: float | None = None
    auroc: float | None = None

    def __post_init__(self) -> None:
        _set(self, "protocol", _choice, PROTOCOLS)
        _set(self, "model", _choice, MODELS)
        for name in ("dataset", "attack"):
            _set(self, name, _text)
        _set(self, "n_poisons", _count)
        _set(self, "seed", _integer)
        for name in ("target_label", "base_label", "control_label", "predicted_label"):
            _set(self, name, _label)
        for name in ("success", "counted"):
            _set(self, name, _optional_flag)
        for name in (
            "collision_ratio",
            "l2",
            "linf",
            "control_margin",
            "margin",
            "auroc",
        ):
            _set(self, name, _optional_number)
        for name in ("target_index", "n_iter"):
            if getattr(self, name) is not None:
                _set(self, name, _count)
        if self.stop_reason is not None:
            _set(self, "stop_reason", _text)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as strict JSON values.

        Returns
        -------
        dict
        """
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Trial:
        """Make a trial from what `to_dict` returned.

        Parameters
        ----------
        mapping : mapping
            Exactly the fields of a trial.

        Returns
        -------
        Trial

        Raises
        ------
        ValueError
            If a field is missing or unknown, or as for the constructor.
        """
        return cls(**_checked_keys(cls, mapping))


def _sklgm_version() -> str:
    return installed_version("sklgm") or "unknown"


@dataclass(frozen=True)
class RunResult:
    """Everything a run found, and how to run it again.

    Parameters
    ----------
    command : str
        The command line that made it.
    config : dict
        The settings of the run. Converted to JSON values at construction: tuples and
        arrays become lists, numpy scalars Python's, paths strings, and numbers that
        are not finite None.
    environment : dict
        What `describe_environment` returned; converted likewise.
    records : tuple of Record
        The measured numbers.
    trials : tuple of Trial, default=()
        The single targets behind them.
    schema_version : int, default=1
        Version of the file format; only 1 exists.
    sklgm_version : str, optional
        Version that made the result. By default the installed one, ``"unknown"``
        where sklgm runs without being installed.

    Raises
    ------
    ValueError
        If `schema_version` is not 1.
    TypeError
        If `config` or `environment` holds what JSON has no word for; the message
        names the place.

    Examples
    --------
    >>> from sklgm.results import Record, RunResult
    >>> record = Record(
    ...     protocol="transfer", dataset="digits", model="lgm_trim",
    ...     attack="feature_collision", n_poisons=5, arm="attack",
    ...     metric="attack_success_rate", value=0.0, low=0.0, high=0.07, n=50, seed=0,
    ... )
    >>> result = RunResult("sklgm reproduce digits", {}, {}, (record,))
    >>> RunResult.from_dict(result.to_dict()) == result
    True
    """

    command: str
    config: dict[str, Any]
    environment: dict[str, Any]
    records: tuple[Record, ...]
    trials: tuple[Trial, ...] = ()
    schema_version: int = SCHEMA_VERSION
    sklgm_version: str = field(default_factory=_sklgm_version)

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version={self.schema_version!r} cannot be read: this version "
                f"of sklgm knows {SCHEMA_VERSION}."
            )
        for name in ("config", "environment"):
            mapping = getattr(self, name)
            if not isinstance(mapping, Mapping):
                raise TypeError(f"{name}={mapping!r} must be a dict.")
            object.__setattr__(self, name, _json_value(mapping, name))
        object.__setattr__(self, "records", _tuple_of(Record, self.records, "records"))
        object.__setattr__(self, "trials", _tuple_of(Trial, self.trials, "trials"))

    def to_dict(self) -> dict[str, Any]:
        """Return strict JSON values, valid under `results_schema`.

        Returns
        -------
        dict
        """
        return {
            "schema_version": self.schema_version,
            "sklgm_version": self.sklgm_version,
            "command": self.command,
            "config": _json_value(self.config, "config"),
            "environment": _json_value(self.environment, "environment"),
            "records": [record.to_dict() for record in self.records],
            "trials": [trial.to_dict() for trial in self.trials],
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> RunResult:
        """Make a result from what `to_dict` returned.

        Parameters
        ----------
        mapping : mapping
            Exactly the fields of a result.

        Returns
        -------
        RunResult
            Equal to the one written, but that nan differs from nan.

        Raises
        ------
        ValueError
            If the schema version is another one, or a field is missing or unknown.
        """
        version = mapping.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version={version!r} cannot be read: this version of sklgm "
                f"knows {SCHEMA_VERSION}."
            )
        values = _checked_keys(cls, mapping)
        values["records"] = tuple(map(Record.from_dict, values["records"]))
        values["trials"] = tuple(map(Trial.from_dict, values["trials"]))
        return cls(**values)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result as JSON, a line a record and trial, whole or not at all.

        Parameters
        ----------
        path : str or path
            File to write; its folder is made. An existing file is replaced in one
            step, so that a reader never sees half of it.

        Returns
        -------
        Path
            `path`.
        """
        path = Path(path)
        text = _one_line_an_item(self.to_dict())
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder: a rename is atomic only within one file system.
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunResult:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or path
            File to read.

        Returns
        -------
        RunResult

        Raises
        ------
        ValueError
            If the file is not JSON, or as for `from_dict`.
        """
        mapping = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(mapping, dict):
            raise ValueError(f"{os.fspath(path)} holds no JSON object.")
        return cls.from_dict(mapping)


def results_schema() -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of a saved `RunResult`.

    Returns
    -------
    dict
        The content of ``results.schema.json``, which the package ships.

    Examples
    --------
    >>> from sklgm.results import results_schema
    >>> results_schema()["properties"]["schema_version"]
    {'const': 1}
    """
    file = importlib.resources.files("sklgm.results").joinpath("results.schema.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def _one_line_an_item(document: Mapping[str, Any]) -> str:
    """JSON with a line for each item of a list: small, and differences can be read."""
    texts = []
    for key, value in document.items():
        if isinstance(value, list):
            items = [f"  {json.dumps(item, allow_nan=False)}" for item in value]
            text = "[\n" + ",\n".join(items) + "\n ]"
        else:
            text = json.dumps(value, allow_nan=False)
        texts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(texts) + "\n}\n"


def _set(instance: object, name: str, convert: Any, *arguments: Any) -> None:
    """Replace a field of a frozen dataclass by its converted value."""
    value = convert(getattr(instance, name), name, *arguments)
    object.__setattr__(instance, name, value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} must be a string.")
    if not value:
        raise ValueError(f"{name}={value!r} must not be empty.")
    return str(value)


def _choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}.")
    return str(value)


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}={value!r} must be an integer.")
    return int(value)


def _count(value: Any, name: str) -> int:
    count = _integer(value, name)
    if count < 0:
        raise ValueError(f"{name}={value!r} must be at least 0.")
    return count


def _optional_number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{name}={value!r} must be a number or None.")
    number = float(value)
    return number if math.isfinite(number) else None


def _optional_flag(value: Any, name: str) -> bool | None:
    if value is None:
        return None
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r} must be True, False or None.")
    return bool(value)


def _label(value: Any, name: str) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    try:
        return _integer(value, name)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be a string or an integer.") from None


def _tuple_of(cls: type, values: Iterable[Any], name: str) -> tuple[Any, ...]:
    result = tuple(values)
    for index, value in enumerate(result):
        if not isinstance(value, cls):
            raise TypeError(f"{name}[{index}]={value!r} must be a {cls.__name__}.")
    return result


def _checked_keys(cls: type, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return `mapping` as a dict, if its keys are the fields of `cls`."""
    expected = {item.name for item in fields(cls)}
    if missing := sorted(expected - set(mapping) - _LATER_FIELDS):
        raise ValueError(f"{cls.__name__} lacks {', '.join(missing)}.")
    if unknown := sorted(set(mapping) - expected):
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}.")
    return dict(mapping)


def _json_value(value: Any, place: str) -> Any:
    """Convert nested settings to what strict JSON can hold."""
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        return _json_value(value.tolist(), place)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}: keys must be strings.")
        return {key: _json_value(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item, f"{place}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{place}={value!r} is of no type that JSON knows.")
