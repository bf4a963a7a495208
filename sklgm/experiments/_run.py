"""Run an experiment from its settings to its records."""

import dataclasses
import os
from functools import partial

import torch

from sklgm._inputs import resolve_device
from sklgm._running import Progress, Runner, stage_key
from sklgm.experiments._backbones import train_backbones
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._contamination import contamination_counts, run_contamination
from sklgm.experiments._end_to_end import run_end_to_end
from sklgm.experiments._frontier import run_frontier
from sklgm.experiments._label_noise import run_label_noise
from sklgm.experiments._partition import (
    fine_tuning_rows,
    load_splits,
    make_partition,
)
from sklgm.experiments._peers import check_peers, run_peers
from sklgm.experiments._search import run_search
from sklgm.experiments._transfer import run_transfer
from sklgm.experiments._white_box import make_scatter, run_white_box
from sklgm.results import (
    DetectionScores,
    FeatureScatter,
    FigureData,
    PoisonImages,
    Record,
    RunResult,
    Trial,
    describe_environment,
)


def run(
    config: ExperimentConfig,
    *,
    command: str | None = None,
    progress: Progress | None = None,
    n_jobs: int | None = None,
    resume_from: str | os.PathLike[str] | None = None,
) -> tuple[RunResult, FigureData]:
    """Train softmax and L-GM, attack both, and record how they fare.

    Parameters
    ----------
    config : ExperimentConfig
        Settings; see :func:`sklgm.experiments.preset_config`.
    command : str or None, default=None
        Command line to record; None records the call.
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.
    n_jobs : int or None, default=None
        Processes that refit models side by side, as in joblib; None is one a core.
        Numbers do not depend on it.
    resume_from : path-like or None, default=None
        Folder where finished stages are kept, such as :func:`stages_folder` names. A
        run that was interrupted, called again with the same settings, data, code,
        versions and device, takes them from there; delete it when the results are
        saved. It is read by unpickling: take a folder of your own. None keeps nothing.

    Returns
    -------
    result : RunResult
        Records and single trials.
    figures : FigureData
        Arrays that the figures are drawn from.

    Raises
    ------
    ImportError
        If a protocol needs an extra that is not installed.
    OSError
        If data are missing or damaged.
    ValueError
        If the data set is too small for the settings.

    References
    ----------
    A. Schwarzschild et al., "Just How Toxic is Data Poisoning? A Unified Benchmark
    for Backdoor and Data Poisoning Attacks", ICML 2021 (the transfer protocol).
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020 (the white-box protocol).
    A. Shafahi et al., "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
    Networks", NeurIPS 2018 (the end-to-end protocol).
    """
    environment = describe_environment()  # at the start: versions of what runs
    runner = Runner(progress, n_jobs=n_jobs)
    runner.progress("load data", 0, 1)
    resolve_device(config.device)  # fail before the work, not after
    if "search" in config.protocols:  # it chooses, and must not see test rows
        config = dataclasses.replace(config, evaluation="validation")
    if "peers" in config.protocols:
        check_peers()
    partition = make_partition(config, load_splits(config))
    if partition.X_test.ndim == 2:  # a bound in pixel units means nothing here
        config = dataclasses.replace(config, max_perturbations=(None,))
    if "contamination" in config.protocols:  # fail before the work here, too
        contamination_counts(config.contamination_shares, partition.y_refit)
    runner.progress("load data", 1, 1)
    device = _device_name(config.device)
    key = None if resume_from is None else stage_key(config, partition, device)
    runner = Runner(progress, n_jobs=n_jobs, folder=resume_from, key=key)
    backbones = {}
    if not set(config.protocols) <= {"label-noise", "search"}:  # which train their own
        backbones = runner.once(
            "backbones", partial(train_backbones, config, partition, runner.progress)
        )

    records: list[Record] = []
    trials: list[Trial] = []
    scores: list[DetectionScores] = []
    images: list[PoisonImages] = []
    scatter: FeatureScatter | None = None
    sizes: dict[str, int] = {}  # of what not every protocol has
    if "white-box" in config.protocols:
        found, attempts, scores = run_white_box(config, partition, backbones, runner)
        records += found
        trials += attempts
        scatter = runner.once(
            "scatter", partial(make_scatter, config, partition, runner.progress)
        )
    if "transfer" in config.protocols:
        found, attempts, images = run_transfer(config, partition, backbones, runner)
        records += found
        trials += attempts
    if "end-to-end" in config.protocols:
        found, attempts = run_end_to_end(config, partition, backbones, runner)
        records += found
        trials += attempts
        n_used = sum(map(len, fine_tuning_rows(config, partition)))
        sizes["n_end_to_end_used"] = n_used
    if "frontier" in config.protocols:
        found, attempts = run_frontier(config, partition, backbones, runner)
        records += found
        trials += attempts
    if "contamination" in config.protocols:
        found, attempts = run_contamination(config, partition, backbones, runner)
        records += found
        trials += attempts
    if "label-noise" in config.protocols:
        records += run_label_noise(config, partition, runner)
    if "search" in config.protocols:
        records += run_search(config, runner)
    if "peers" in config.protocols:
        records += run_peers(config, partition, backbones, runner)
    result = RunResult(
        command=command or f"sklgm.experiments.run({config!r})",
        config={
            **dataclasses.asdict(config),
            "n_backbone_used": len(partition.X_backbone),
            "n_refit_used": len(partition.X_refit),
            "n_test_used": len(partition.X_test),
            **sizes,
        },
        environment={
            **environment,
            "device": device,
            "n_threads": torch.get_num_threads(),
        },
        records=tuple(records),
        trials=tuple(trials),
        sklgm_version=environment["packages"]["sklgm"] or "unknown",
    )
    return result, FigureData(tuple(scores), scatter, tuple(images))


def _device_name(device: str) -> str:
    resolved = resolve_device(device)
    if resolved.type == "cuda":
        return f"{resolved} ({torch.cuda.get_device_name(resolved)})"
    return str(resolved)
