"""What a run measured, and the files that hold it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklgm._running import import_extra, installed_version
from sklgm.persistence import write_atomically
from sklgm.results._rows import (
    TABLE_SCHEMA,
    TRIALS_SCHEMA,
    Row,
    Trial,
    checked_frame,
    frame_of,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = import_extra("polars", "cli")

SCHEMA_VERSION = 2

_RUN, _TABLE, _TRIALS = "run.json", "table.parquet", "trials.parquet"
#: What ``run.json`` holds, and the type of each entry.
_RUN_TYPES = {
    "schema_version": int,
    "sklgm_version": str,
    "command": str,
    "settings": dict,
    "environment": dict,
}


@dataclass(frozen=True, eq=False)
class RunResult:
    """Everything a run measured, and how to run it again.

    Parameters
    ----------
    command : str
        The command line that made it.
    settings : dict
        Settings of the run by the name of what they belong to: ``"run"``, or a
        protocol. Converted to what JSON holds: tuples and arrays become lists, paths
        strings, and numbers that are not finite None.
    environment : dict
        Versions, device and the like; converted likewise.
    table : DataFrame
        The tidy table: the columns of :data:`TABLE_SCHEMA`, one row per number.
    trials : DataFrame, optional
        The columns of :data:`TRIALS_SCHEMA`, one row per target and victim; by default
        there are none.
    sklgm_version : str, optional
        Version that made the result; by default the installed one, ``"unknown"`` where
        sklgm runs without being installed.

    Raises
    ------
    ValueError
        If a table has other columns than its schema.
    TypeError
        If `settings` or `environment` holds what JSON has no word for.

    Examples
    --------
    >>> from sklgm.results import Row, RunResult
    >>> row = Row(
    ...     dataset="digits", protocol="transfer", victim="lgm_trim",
    ...     attack="feature_collision", n_poisons=5, metric="attack_success_rate",
    ...     value=0.0, low=0.0, high=0.07, n=50, seed=0,
    ... )
    >>> result = RunResult.from_rows(
    ...     [row], command="sklgm reproduce digits", settings={}, environment={}
    ... )
    >>> result.table.select("victim", "metric", "value").row(0)
    ('lgm_trim', 'attack_success_rate', 0.0)
    """

    command: str
    settings: dict[str, Any]
    environment: dict[str, Any]
    table: pl.DataFrame
    trials: pl.DataFrame = field(default_factory=TRIALS_SCHEMA.to_frame)
    sklgm_version: str = field(
        default_factory=lambda: installed_version("sklgm") or "unknown"
    )

    def __post_init__(self) -> None:
        for name in ("settings", "environment"):
            object.__setattr__(self, name, _json_values(getattr(self, name), name))
        for name, schema in (("table", TABLE_SCHEMA), ("trials", TRIALS_SCHEMA)):
            frame = checked_frame(getattr(self, name), schema, name)
            object.__setattr__(self, name, frame)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Row],
        trials: Iterable[Trial] = (),
        *,
        command: str,
        settings: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> RunResult:
        """Gather rows and trials.

        Parameters
        ----------
        rows : iterable of Row
            The measured numbers.
        trials : iterable of Trial, default=()
            The single targets behind them.
        command : str
            As for the class.
        settings, environment : mapping
            As for the class.

        Returns
        -------
        RunResult

        Raises
        ------
        TypeError
            If a row or trial is none, or holds a value of a wrong type, or as for the
            class.
        """
        return cls(
            command,
            dict(settings),
            dict(environment),
            frame_of(rows, Row),
            frame_of(trials, Trial),
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``table.parquet``, ``trials.parquet`` and ``run.json``.

        Parameters
        ----------
        folder : str or path
            Where; it is made. Each file is written in one step, so that a reader never
            sees half of it, and ``run.json`` last. There is no ``trials.parquet``
            where there are no trials.

        Returns
        -------
        Path
            `folder`.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _TABLE, _parquet_writer(self.table))
        if len(self.trials):
            write_atomically(folder / _TRIALS, _parquet_writer(self.trials))
        else:
            (folder / _TRIALS).unlink(missing_ok=True)
        run = {name: getattr(self, name, SCHEMA_VERSION) for name in _RUN_TYPES}
        text = json.dumps(run, indent=1, allow_nan=False) + "\n"
        write_atomically(folder / _RUN, text.encode("utf-8"))
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> RunResult:
        """Read what `save` wrote.

        Parameters
        ----------
        folder : str or path
            Where it lies.

        Returns
        -------
        RunResult

        Raises
        ------
        FileNotFoundError
            If there is no ``run.json`` or no ``table.parquet``.
        ValueError
            If a file is damaged, no result of sklgm, or of another schema version; the
            message names it.
        """
        folder = Path(folder)
        run = _read_run(folder / _RUN)
        trials = TRIALS_SCHEMA.to_frame()
        if (folder / _TRIALS).exists():
            trials = _read_parquet(folder / _TRIALS, TRIALS_SCHEMA)
        table = _read_parquet(folder / _TABLE, TABLE_SCHEMA)
        del run["schema_version"]
        return cls(**run, table=table, trials=trials)


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    version = run.get("schema_version") if isinstance(run, dict) else None
    if type(version) is not int:
        raise ValueError(f"{path} is not a result of sklgm: it has no schema_version.")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version={version}, but this version of sklgm reads "
            f"{SCHEMA_VERSION}: use the version of sklgm that wrote it."
        )
    for name, kind in _RUN_TYPES.items():
        if not isinstance(run.get(name), kind):
            raise ValueError(f"{path} is damaged: {name} must be a {kind.__name__}.")
    return {name: run[name] for name in _RUN_TYPES}


def _read_parquet(path: Path, schema: pl.Schema) -> pl.DataFrame:
    content = path.read_bytes()  # a missing file keeps its own error
    try:
        return checked_frame(pl.read_parquet(content), schema, path.name)
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _parquet_writer(frame: pl.DataFrame) -> Callable[[Path], object]:
    return lambda path: frame.write_parquet(path, compression="zstd", statistics=False)


def _json_values(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Nested settings as a JSON file gives them back; what is not finite is None."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        raise TypeError(f"{name} holds {value!r}, which is of no type that JSON knows.")

    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name}={mapping!r} must be a dict.")
    text = json.dumps(dict(mapping), default=plain)
    values: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return values
