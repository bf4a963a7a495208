"""Settings of an experiment, and the presets of the command line."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from sklgm.gaussian import COVARIANCE_TYPES, CovarianceType
from sklgm.poisoning import resolve_attack

PRESETS = ("quick", "full")
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
DEFAULT_PROTOCOLS = ("white-box", "transfer")
NAMED_DATASETS = ("digits", "mnist", "cifar10")
NOISE_RIVALS = ("cleanlab",)

#: Feature collision that starts from a watermarked base, as an attack of a run.
WATERMARK = "watermark"

# Settings that count something that there has to be.
_COUNTS = (
    "n_refit",
    "n_targets",
    "n_pairs",
    "max_iter",
    "batch_size",
    "n_scatter",
    "warmup_epochs",
    "finetune_epochs",
    "refit_epochs",
    "converged_epochs",
    "feature_dim",
    "n_end_to_end_targets",
    "n_end_to_end_poisons",
    "n_end_to_end_rows",
    "end_to_end_epochs",
    "audit_folds",
)


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides the numbers of a run.

    Parameters
    ----------
    dataset : str, default="digits"
        ``"digits"``, ``"mnist"``, ``"cifar10"``, or the path of an image folder, a
        ``.zip`` of one, or an ``.npz`` file.
    protocols : tuple of str, default=("white-box", "transfer")
        Which protocols to run; ``"end-to-end"``, ``"frontier"``, ``"contamination"``,
        ``"label-noise"``, ``"search"`` and ``"peers"``, which needs the extra
        ``bench``, are the others.
    preset : {"quick", "full"}, default="quick"
        Name of the settings the others were taken from.
    seed : int >= 0, default=0
        Seed of everything.
    device : str, default="auto"
        As in :class:`sklgm.LGMClassifier`.
    data_home : str or None, default=None
        Folder of MNIST and CIFAR-10; see :func:`sklgm.datasets.get_data_home`.
    evaluation : {"test", "validation"}, default="test"
        Where targets and clean accuracy come from. ``"validation"`` holds training
        rows out instead of the test set: for choosing settings.
    backbone : str, default="auto"
        As in :class:`sklgm.LGMClassifier`.
    feature_dim : int, default=64
        Number of features.
    n_backbone : int or None, default=None
        Most training rows for the backbone; None takes all that are left.
    n_refit : int, default=2500
        Rows of the refit; at most a third of the training rows.
    n_targets : int, default=50
        Targets a model that its control classifies correctly.
    n_poisons : tuple of int, default=(1, 5, 25)
        Poisons a target, scaled down where the largest is over 10 % of a class.
    n_pairs : int, default=200
        Poisons of the white-box protocol.
    attacks : tuple of str, default=("feature_collision",)
        Names of attacks, as in :func:`sklgm.poisoning.craft`, and ``"watermark"``:
        feature collision that starts from a watermarked base. Gradient matching is
        that of what the victims train: the head, or all layers end to end. The
        adaptive attacks know the trimmed Gaussians of the backbone they are made for.
    max_perturbations : tuple of float or None, default=(None,)
        l-infinity bounds of the attacks in pixel units; None is unbounded.
    adaptive_reach : float > 0, default=0.95
        How far the adaptive attacks go in transfer and end to end: the likelihood one
        as a share of the distance from the claimed class mean at which trimming begins,
        the posterior one as a share of the surprisal (minus the log posterior) of its
        claims at which 1 % of the clean rows are flagged.
    frontier_bounds : tuple of float, default=(4 / 255, 8 / 255, 16 / 255, 32 / 255)
        l-infinity bounds of the frontier in pixel units; none is the last of them.
    frontier_reaches : tuple of float, default=(0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
        Reaches of the adaptive attacks in the frontier.
    similarity_weight : float, default=1e-4
        See :func:`sklgm.poisoning.craft`; weaker than its default, for a stronger
        attack.
    max_iter : int, default=100
        Iterations of the attack.
    warmup_epochs : int, default=3
        Epochs of softmax that both backbones share.
    finetune_epochs : int, default=3
        Epochs after them, of softmax for one and of L-GM for the other.
    refit_epochs : int, default=40
        Epochs of a head's refit, by SGD as in the poisoning benchmark.
    converged_epochs : int, default=5
        Epochs of the refits to convergence; each is up to 20 steps of L-BFGS on all
        rows.
    batch_size : int, default=128
        Rows a step of the backbones.
    lr, finetune_lr : float
        Highest learning rates of the two phases; defaults 0.003 and 0.002.
    means_lr_factor : float > 0, default=1.0
        Learning rate of the means of the L-GM backbone, in multiples of
        ``finetune_lr``.
    margin : float, default=0.3
        Margin of the L-GM backbone and head.
    likelihood_weight : float, default=0.01
        Likelihood weight of the L-GM backbone and head.
    variance_scale : float > 0, default=16.0
        Variance of L-GM and of the Gaussians fitted afterwards (where learning
        starts, for learned types), in multiples of the within-class variance of the
        features that they start from.
    covariance_type : str, default="identity"
        Covariances of L-GM and of the Gaussians fitted afterwards.
    trim : float, default=0.25
        Trimmed share of L-GM with trim and of the Gaussians fitted afterwards.
    n_scatter : int, default=4000
        Most training rows of the two-feature network that is drawn.
    n_end_to_end_targets : int, default=20
        Targets a model in the end-to-end protocol, where each costs a training of the
        whole network.
    n_end_to_end_poisons : int, default=50
        Poisons a target there, scaled down where they are over 10 % of their class in
        the rows that are fine-tuned on: 50 of 500 at the default of 5,000 rows and
        ten classes, 1 % of all rows.
    n_end_to_end_rows : int, default=5000
        Most rows that the network is fine-tuned on, class-balanced: rows of the refit,
        which the network has not seen and which give the bases, and rows that the
        backbone was trained on to fill up, so that 50 poisons are the stated share. At
        most what the scarcest class has.
    end_to_end_shares : tuple of float in (0, 0.5), default=()
        Poisoned shares of the base class in the end-to-end protocol, instead of
        ``n_end_to_end_poisons``; L-GM with ``trim="auto"`` then takes part.
    watermark_opacity : float in [0, 1), default=0.3
        Share of the target blended into its bases in the end-to-end protocol, and by
        the attack ``"watermark"``.
    end_to_end_epochs : int, default=2
        Epochs of fine-tuning, in steps of ``batch_size``.
    end_to_end_lr : float > 0, default=0.0003
        Learning rate of fine-tuning, constant.
    contamination_shares : tuple of float in (0, 0.5), default=(0.01, 0.05, 0.1, 0.2)
        Poisoned shares of the base class in the contamination protocol.
    search_seeds : tuple of int >= 0, default=(101, 102, 103)
        Seeds of the search protocol, which takes these instead of ``seed``: others than
        those that results are reported for.
    noise_shares : tuple of float in [0, 1), default=(0.0, 0.01, 0.05)
        Shares of the training labels that are flipped in the label-noise protocol.
    noise_rivals : tuple of str, default=()
        Libraries that rank the same labels by the same probabilities: ``"cleanlab"``,
        which the extra ``bench`` brings.
    audit_folds : int >= 2, default=5
        Folds of its audits.
    audit_epochs : int >= 1 or None, default=None
        Epochs of each fold; None as in :func:`sklgm.audit`.
    """

    dataset: str = "digits"
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    preset: str = "quick"
    seed: int = 0
    device: str = "auto"
    data_home: str | None = None
    evaluation: str = "test"
    backbone: str = "auto"
    feature_dim: int = 64
    n_backbone: int | None = None
    n_refit: int = 2500
    n_targets: int = 50
    n_poisons: tuple[int, ...] = (1, 5, 25)
    n_pairs: int = 200
    attacks: tuple[str, ...] = ("feature_collision",)
    max_perturbations: tuple[float | None, ...] = (None,)
    adaptive_reach: float = 0.95
    frontier_bounds: tuple[float, ...] = (4 / 255, 8 / 255, 16 / 255, 32 / 255)
    frontier_reaches: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    similarity_weight: float = 1e-4
    max_iter: int = 100
    warmup_epochs: int = 3
    finetune_epochs: int = 3
    refit_epochs: int = 40
    converged_epochs: int = 5
    batch_size: int = 128
    lr: float = 0.003
    finetune_lr: float = 0.002
    means_lr_factor: float = 1.0
    margin: float = 0.3
    likelihood_weight: float = 0.01
    variance_scale: float = 16.0
    covariance_type: CovarianceType = "identity"
    trim: float = 0.25
    n_scatter: int = 4000
    n_end_to_end_targets: int = 20
    n_end_to_end_poisons: int = 50
    n_end_to_end_rows: int = 5000
    end_to_end_shares: tuple[float, ...] = ()
    watermark_opacity: float = 0.3
    end_to_end_epochs: int = 2
    end_to_end_lr: float = 3e-4
    contamination_shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)
    search_seeds: tuple[int, ...] = (101, 102, 103)
    noise_shares: tuple[float, ...] = (0.0, 0.01, 0.05)
    noise_rivals: tuple[str, ...] = ()
    audit_folds: int = 5
    audit_epochs: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("preset", PRESETS),
            ("evaluation", ("test", "validation")),
            ("covariance_type", COVARIANCE_TYPES),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
        if "search" in self.protocols and len(self.protocols) > 1:
            raise ValueError(
                "protocols: 'search' chooses on rows of its own and stands alone, got "
                f"{self.protocols!r}"
            )
        unknown = set(self.protocols) - set(PROTOCOLS)
        if unknown or not self.protocols:
            raise ValueError(
                f"protocols must be some of {PROTOCOLS}, got {self.protocols!r}"
            )
        for name in (
            "attacks",
            "max_perturbations",
            "n_poisons",
            "contamination_shares",
            "search_seeds",
            "noise_shares",
        ):
            _check_distinct(name, getattr(self, name), at_least=1)
        for name in ("frontier_bounds", "frontier_reaches", "end_to_end_shares"):
            _check_distinct(name, getattr(self, name), at_least=0)
        for attack in self.attacks:
            if attack != WATERMARK:
                resolve_attack(attack)
        for name in _COUNTS:
            if not isinstance(getattr(self, name), Integral) or getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be an int of at least 1, got {getattr(self, name)!r}"
                )
        if self.n_backbone is not None and self.n_backbone < 1:
            raise ValueError(
                f"n_backbone must be at least 1 or None, got {self.n_backbone}"
            )
        if not all(isinstance(n, Integral) and n >= 1 for n in self.n_poisons):
            raise ValueError(
                f"n_poisons must hold ints of at least 1, got {self.n_poisons!r}"
            )
        for name in ("max_perturbations", "frontier_bounds", "frontier_reaches"):
            values = getattr(self, name)
            if name == "max_perturbations":
                values = [value for value in values if value is not None]
            if not all(
                isinstance(v, Real) and 0.0 < float(v) < math.inf for v in values
            ):
                raise ValueError(
                    f"{name} must hold finite floats > 0, got {getattr(self, name)!r}"
                )
        for name in ("contamination_shares", "end_to_end_shares"):
            shares = getattr(self, name)
            if not all(isinstance(v, Real) and 0 < float(v) < 0.5 for v in shares):
                raise ValueError(f"{name} must hold floats in (0, 0.5), got {shares!r}")
        if not all(isinstance(v, Real) and 0 <= v < 1 for v in self.noise_shares):
            raise ValueError(
                f"noise_shares must hold floats in [0, 1), got {self.noise_shares!r}"
            )
        if set(self.noise_rivals) - set(NOISE_RIVALS):
            raise ValueError(
                f"noise_rivals must be some of {NOISE_RIVALS}, got "
                f"{self.noise_rivals!r}"
            )
        if self.audit_epochs is not None and self.audit_epochs < 1:
            raise ValueError(
                f"audit_epochs must be at least 1 or None, got {self.audit_epochs}"
            )
        if self.audit_folds < 2:
            raise ValueError(f"audit_folds must be at least 2, got {self.audit_folds}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be in [0, 2**31), got {self.seed}")
        seeds = self.search_seeds
        if not all(isinstance(s, Integral) and 0 <= s < 2**31 for s in seeds):
            raise ValueError(
                f"search_seeds must hold ints in [0, 2**31), got {seeds!r}"
            )
        for name in ("similarity_weight", "margin", "likelihood_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be a finite float >= 0, got {getattr(self, name)}"
                )
        for name in (
            "variance_scale",
            "means_lr_factor",
            "lr",
            "finetune_lr",
            "end_to_end_lr",
            "adaptive_reach",
        ):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be a finite float > 0, got {getattr(self, name)}"
                )
        if not 0.0 < self.trim < 0.5:
            raise ValueError(f"trim must be in (0, 0.5), got {self.trim}")
        if not 0.0 <= self.watermark_opacity < 1.0:
            raise ValueError(
                f"watermark_opacity must be in [0, 1), got {self.watermark_opacity}"
            )


def _check_distinct(name: str, values: Any, *, at_least: int) -> None:
    """Check a tuple whose entries name records: equal ones would be counted twice."""
    if not isinstance(values, tuple) or len(values) < at_least:
        raise ValueError(
            f"{name} must be a tuple of at least {at_least} values, got {values!r}"
        )
    # Numbers are named with six digits.
    names = [f"{v:g}" if isinstance(v, float) else v for v in values]
    if len(set(names)) < len(names):
        raise ValueError(f"{name} must hold different values, got {values!r}")


_NATURAL: Mapping[str, Any] = {
    "max_perturbations": (None, 8 / 255),
    "margin": 0.1,  # chosen on a validation split (seed 1)
    "means_lr_factor": 10.0,  # by the search protocol on CIFAR-10 (JPEG)
}
# Enough for MNIST: three audits of 60,000 rows took 24 minutes beside other work.
_AUDIT: Mapping[str, Any] = {"audit_folds": 3, "audit_epochs": 5}
_QUICK: Mapping[str, Mapping[str, Any]] = {
    "digits": {
        "n_targets": 25,
        "n_pairs": 100,
        "warmup_epochs": 6,
        "finetune_epochs": 6,
        "refit_epochs": 120,  # as many steps as rows allow in about a minute
        "end_to_end_epochs": 8,  # of few rows: about as many steps as on MNIST
    },
    "mnist": {"n_backbone": 20_000, **_AUDIT},
    "cifar10": {"n_backbone": 20_000, "n_targets": 25, **_NATURAL},
    "path": {"n_backbone": 20_000, "n_targets": 25, **_NATURAL},
}
_ALL_ATTACKS = {
    "attacks": (
        "feature_collision",
        WATERMARK,
        "convex_polytope",
        "bullseye_polytope",
        "gradient_matching",
        "adaptive_likelihood",
        "adaptive_posterior",
    )
}
_FULL: Mapping[str, Mapping[str, Any]] = {
    "digits": {
        "n_targets": 100,
        "warmup_epochs": 6,
        "finetune_epochs": 6,
        "refit_epochs": 240,
        "end_to_end_epochs": 8,
        **_ALL_ATTACKS,
    },
    "mnist": {"n_targets": 100, "n_pairs": 500, **_ALL_ATTACKS, **_AUDIT},
    "cifar10": {"n_targets": 100, "n_pairs": 500, **_NATURAL, **_ALL_ATTACKS},
    "path": {"n_targets": 100, "n_pairs": 500, **_NATURAL, **_ALL_ATTACKS},
}


def preset_config(
    dataset: str, preset: str = "quick", **overrides: Any
) -> ExperimentConfig:
    """Return the settings of a preset.

    Parameters
    ----------
    dataset : str
        ``"digits"``, ``"mnist"``, ``"cifar10"`` or a path.
    preset : {"quick", "full"}, default="quick"
        ``"quick"`` is minutes on two cores, ``"full"`` takes all training rows and
        at least 100 targets.
    **overrides : dict
        Fields of :class:`ExperimentConfig` that differ from the preset; a value of
        None keeps the preset's.

    Returns
    -------
    ExperimentConfig
        The settings.

    Raises
    ------
    ValueError
        If the preset is unknown, or the data set is neither a known name nor an
        existing path.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {PRESETS}, got {preset!r}")
    if dataset not in NAMED_DATASETS and not Path(dataset).exists():
        raise ValueError(
            f"dataset must be one of {NAMED_DATASETS} or an existing path, got "
            f"{dataset!r}"
        )
    key = dataset if dataset in NAMED_DATASETS else "path"
    settings = (_QUICK if preset == "quick" else _FULL)[key]
    given = {k: v for k, v in overrides.items() if v is not None}
    config = ExperimentConfig(dataset=dataset, preset=preset, **settings)
    return dataclasses.replace(config, **given)
