"""Run protocols from their settings to their rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sklgm._running import (
    Progress,
    Runner,
    describe_environment,
    interrupts_raised,
    stage_key,
)
from sklgm.experiments._protocol import PROTOCOLS, Context, get_protocol
from sklgm.experiments._settings import RunSettings, Settings

if TYPE_CHECKING:
    from sklgm.results import FigureArrays, RunResult


def run(
    settings: RunSettings,
    protocols: Mapping[str, Settings] | Iterable[str] = (
        "certified",
        "white-box",
        "transfer",
    ),
    *,
    command: str | None = None,
    progress: Progress | None = None,
    n_jobs: int | None = None,
    resume_from: str | os.PathLike[str] | None = None,
) -> tuple[RunResult, tuple[FigureArrays, ...]]:
    """Train softmax and L-GM, attack both, and record how they fare.

    Parameters
    ----------
    settings : RunSettings
        Settings of the run; see :meth:`RunSettings.of_dataset`.
    protocols : mapping of str to Settings, or iterable of str, \
            default=("certified", "white-box", "transfer")
        Which protocols to run, with their settings; names alone take those of the
        run's preset.
    command : str or None, default=None
        Command line to record; None records the call.
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.
    n_jobs : int or None, default=None
        Processes that refit models side by side, as in joblib; None is one per core.
        Numbers do not depend on it.
    resume_from : path-like or None, default=None
        Folder where finished stages are kept, such as :func:`stages_folder` names. A
        run that was interrupted, called again with the same settings, data, code,
        versions and device, takes them from there; delete it when the results are
        saved. They are arrays with checksums, and no pickles; what is damaged or not
        your own is done again, with a ``UserWarning``. None keeps nothing.

    Returns
    -------
    result : RunResult
        The tidy table and single trials.
    arrays : tuple of DetectionScores, FeatureScatter or PoisonImages
        What figures are drawn from.

    Raises
    ------
    ImportError
        If a protocol needs an extra that is not installed.
    OSError
        If data are missing or damaged.
    ValueError
        If there is no such protocol, or the data set is too small for the settings.

    References
    ----------
    A. Schwarzschild et al., "Just How Toxic is Data Poisoning? A Unified Benchmark
    for Backdoor and Data Poisoning Attacks", ICML 2021 (the transfer protocol).
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020 (the white-box protocol).
    A. Shafahi et al., "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
    Networks", NeurIPS 2018 (the end-to-end protocol).

    Examples
    --------
    >>> from sklgm.experiments import RunSettings, get_protocol, run
    >>> transfer = get_protocol("transfer").settings
    >>> few = transfer.for_preset("digits", "quick", n_targets=10, n_poisons=(5,))
    >>> result, arrays = run(
    ...     RunSettings.of_dataset("digits"), {"transfer": few}
    ... )  # doctest: +SKIP
    """
    # Imported when something runs: torch takes seconds.
    import torch

    from sklgm._inputs import resolve_device
    from sklgm.results import Row, RunResult, Trial

    environment = describe_environment()  # at the start: versions of what runs
    chosen = _with_settings(settings, protocols)
    if not chosen:
        raise ValueError("protocols must name at least one protocol")
    device = resolve_device(settings.device)  # fail before the work, not after
    device_name = str(device)
    if device.type == "cuda":
        device_name += f" ({torch.cuda.get_device_name(device)})"
    runner = Runner(progress, n_jobs=n_jobs)
    runner.progress("load data", 0, 1)
    context = Context(settings, runner)
    for name, own in chosen.items():
        check = get_protocol(name).check
        if check is not None:
            check(context, own)
    runner.progress("load data", 1, 1)
    if resume_from is not None:
        key = stage_key((settings, chosen), context.partition, device_name)
        context.runner = Runner(progress, n_jobs=n_jobs, folder=resume_from, key=key)

    rows: list[Row] = []
    trials: list[Trial] = []
    arrays: list[FigureArrays] = []
    with interrupts_raised():
        for name, own in chosen.items():
            for item in get_protocol(name).measure(context, own):
                if isinstance(item, Row):
                    rows.append(item)
                elif isinstance(item, Trial):
                    trials.append(item)
                else:
                    arrays.append(item)
    partition = context.partition
    result = RunResult.from_rows(
        rows,
        trials,
        command=command or f"sklgm.experiments.run({settings!r}, {chosen!r})",
        settings={
            "run": {
                **settings.model_dump(),
                "n_backbone_used": len(partition.X_backbone),
                "n_refit_used": len(partition.X_refit),
                "n_test_used": len(partition.X_test),
            },
            **{name: own.model_dump() for name, own in chosen.items()},
        },
        environment={
            **environment,
            "device": device_name,
            "n_threads": torch.get_num_threads(),
        },
    )
    own_version = environment["packages"]["sklgm"] or "unknown"
    return replace(result, sklgm_version=own_version), tuple(arrays)


def _with_settings(
    settings: RunSettings, protocols: Mapping[str, Any] | Iterable[str]
) -> dict[str, Settings]:
    """Give each protocol its settings, in the order of the registry."""
    if isinstance(protocols, str):
        raise TypeError(f"protocols must be a sequence of names, got {protocols!r}")
    given = protocols if isinstance(protocols, Mapping) else dict.fromkeys(protocols)
    for name, own in given.items():
        cls = get_protocol(name).settings
        if own is not None and not isinstance(own, cls):
            raise TypeError(
                f"protocols[{name!r}] must be a {cls.__name__}, got "
                f"{type(own).__name__}"
            )
    return {
        name: given[name]
        or get_protocol(name).settings.for_preset(settings.kind, settings.preset)
        for name in PROTOCOLS
        if name in given
    }
