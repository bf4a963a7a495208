"""Settings of a run, the bases of each protocol's own, and their presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    get_args,
)

from sklgm._running import import_extra

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = import_extra("pydantic", "cli")

#: Feature collision that starts from a watermarked base, as an attack of a run.
WATERMARK = "watermark"
AttackName = Literal[
    "feature_collision",
    "watermark",
    "convex_polytope",
    "bullseye_polytope",
    "gradient_matching",
    "adaptive_likelihood",
    "adaptive_posterior",
    "adaptive_joint",
]
RecipeName = Literal[
    "natural_images",
    "natural_images_long",
    "natural_images_quick",
    "natural_images_small",
]
NAMED_DATASETS = ("digits", "mnist", "cifar10")

#: Values that differ from the defaults, by kind of data set (``"digits"``,
#: ``"mnist"``, ``"cifar10"`` or ``"path"``) and preset; ``"*"`` is any.
Presets = Mapping[tuple[str, str], Mapping[str, Any]]

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        raise ValueError("must hold different values")
    return values


def _known_data(dataset: str) -> str:
    if dataset not in NAMED_DATASETS and not Path(dataset).exists():
        raise ValueError(
            f"must be one of {', '.join(NAMED_DATASETS)} or an existing path"
        )
    return dataset


Count = Annotated[int, pydantic.Field(ge=1)]
Seed = Annotated[int, pydantic.Field(ge=0, lt=2**31)]
Weight = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
#: A share of a class that leaves the other rows in the majority.
Minority = Annotated[float, pydantic.Field(gt=0, lt=0.5)]
#: To be put on a tuple: different values, or at least one of them.
Distinct = pydantic.AfterValidator(_distinct)
Some = pydantic.Field(min_length=1)


class Settings(pydantic.BaseModel):
    """Values that are checked when they are set, and do not change afterwards."""

    # Built when they are first used: a help text does not need them.
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", defer_build=True)

    #: Merged with those of the classes it derives from; later entries win.
    presets: ClassVar[Presets] = {}

    @classmethod
    def for_preset(cls, kind: str, preset: str, /, **changes: Any) -> Self:
        """Take the settings of a preset.

        Parameters
        ----------
        kind : {"digits", "mnist", "cifar10", "path"}
            Kind of data set.
        preset : {"quick", "full"}
            ``"quick"`` is minutes on two cores; ``"full"`` takes all training rows and
            at least 100 targets.
        **changes
            Values that differ from the preset.

        Returns
        -------
        Settings
            Checked.

        Raises
        ------
        ValueError
            If a name is unknown or a value is out of its range; the message names it.
        """
        values: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            own: Presets = vars(base).get("presets", {})
            for (of_kind, of_preset), further in own.items():
                if of_kind in ("*", kind) and of_preset in ("*", preset):
                    values |= further
        return cls(**values | changes)


class RunSettings(Settings):
    """What all protocols of a run share: data, seed, device and the networks.

    Parameters
    ----------
    dataset : str, default="digits"
        ``"digits"``, ``"mnist"``, ``"cifar10"``, or the path of an image folder, a
        ``.zip`` of one, or an ``.npz`` file.
    preset : {"quick", "full"}, default="quick"
        Name of the settings that others were taken from.
    seed : int in [0, 2**31), default=0
        Seed of all random numbers.
    device : str, default="auto"
        As in :class:`sklgm.LGMClassifier`.
    data_home : str or None, default=None
        Folder of MNIST and CIFAR-10; see :func:`sklgm.datasets.get_data_home`.
    evaluation : {"test", "validation"}, default="test"
        Where targets and clean accuracy come from. ``"validation"`` holds training
        rows out instead of the test set: for choosing settings.
    n_backbone : int or None, default=None
        Largest number of training rows for the networks; None takes all that are left.
    n_refit : int, default=2500
        Rows on which heads are refitted; at most a third of the training rows.
    backbone : str, default="auto"
        As in :class:`sklgm.LGMClassifier`.
    feature_dim : int, default=64
        Number of features.
    max_epochs : int, default=6
        Epochs of both networks.
    margin : float >= 0, default=0.3
        Margin of the L-GM network and head.
    recipe : str or None, default=None
        Name of a preset of :meth:`sklgm.LGMClassifier.from_preset` that both networks
        are trained by, in place of ``backbone``, ``max_epochs`` and ``margin``.
    """

    dataset: Annotated[str, pydantic.AfterValidator(_known_data)] = "digits"
    preset: Literal["quick", "full"] = "quick"
    seed: Seed = 0
    device: str = "auto"
    data_home: str | None = None
    evaluation: Literal["test", "validation"] = "test"
    n_backbone: Count | None = None
    n_refit: Count = 2500
    backbone: str = "auto"
    feature_dim: Count = 64
    max_epochs: Count = 6
    margin: Weight = 0.3
    recipe: RecipeName | None = None

    presets: ClassVar[Presets] = {
        ("digits", "*"): {"max_epochs": 12},
        ("mnist", "quick"): {"n_backbone": 20_000},
        # The margin was chosen on a validation split (seed 1).
        ("cifar10", "*"): {"margin": 0.1},
        ("cifar10", "quick"): {"n_backbone": 20_000, "backbone": "small"},
        ("path", "*"): {"margin": 0.1},
        ("path", "quick"): {"n_backbone": 20_000, "backbone": "small"},
    }

    @classmethod
    def of_dataset(cls, dataset: str, preset: str = "quick", **changes: Any) -> Self:
        """Take the settings of a preset for a data set.

        Parameters
        ----------
        dataset : str
            ``"digits"``, ``"mnist"``, ``"cifar10"`` or a path.
        preset : {"quick", "full"}, default="quick"
            See :meth:`for_preset`.
        **changes
            Values that differ from the preset.

        Returns
        -------
        RunSettings
            Checked.

        Raises
        ------
        ValueError
            If the data set is neither a known name nor an existing path, or a value
            is out of its range.

        Examples
        --------
        >>> from sklgm.experiments import RunSettings
        >>> RunSettings.of_dataset("mnist", seed=1).n_backbone
        20000
        """
        names = {"dataset": dataset, "preset": preset}
        return cls.for_preset(_kind(dataset), preset, **names, **changes)

    @property
    def kind(self) -> str:
        """The data set, or ``"path"``: what presets are chosen by."""
        return _kind(self.dataset)


def _kind(dataset: str) -> str:
    return dataset if dataset in NAMED_DATASETS else "path"


@dataclass(frozen=True)
class PlannedAttack:
    """An attack with all that a protocol may vary.

    Parameters
    ----------
    name : str
        As in the column ``attack``.
    bound : float or None, default=None
        l-infinity bound in pixel units.
    reach : float or None, default=None
        Reach of an adaptive attack where it is varied; else that of the settings.
    is_watermarked : bool, default=False
        Whether bases are blended with their target.
    matched_parameters : {"head", "all"}, default="head"
        Parameters whose gradient is matched: those that the victims train.
    """

    name: str
    bound: float | None = None
    reach: float | None = None
    is_watermarked: bool = False
    matched_parameters: str = "head"

    def __str__(self) -> str:
        parts = [self.name]
        parts += [] if self.bound is None else [f"at most {255 * self.bound:g}/255"]
        parts += [] if self.reach is None else [f"reach {self.reach:g}"]
        return ", ".join(parts)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns ``attack``, ``bound`` and ``reach``."""
        return {"attack": self.name, "bound": self.bound, "reach": self.reach}


class CraftSettings(Settings):
    """How poisons are crafted, whatever the attack.

    Parameters
    ----------
    similarity_weight : float >= 0, default=1e-4
        See :func:`sklgm.poisoning.craft`; weaker than its default, for a stronger
        attack.
    max_iter : int, default=100
        Iterations of the attack.
    watermark_opacity : float in [0, 1), default=0.3
        Share of the target blended into its bases by the attack ``"watermark"``, and
        by all attacks end to end.
    reach : float > 0 or None, default=0.95
        How far the adaptive attacks go: the likelihood one as a share of the distance
        from the claimed class mean at which trimming begins, the posterior one as a
        share of the surprisal (minus the log posterior) of its claims at which 1 % of
        the clean rows are flagged. None: as far as their base.
    n_restarts : int, default=1
        Searches of each poison, of which the best is kept.
    augment : bool, default=False
        Whether gradient matching averages over views of an image, for victims who
        augment.
    """

    similarity_weight: Weight = 1e-4
    max_iter: Count = 100
    watermark_opacity: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.3
    reach: Positive | None = 0.95
    n_restarts: Count = 1
    augment: bool = False


class AttackSettings(CraftSettings):
    """Which attacks there are, each with each bound.

    Parameters
    ----------
    attacks : tuple of str, default=("feature_collision",)
        Names of attacks, as in :func:`sklgm.poisoning.craft`, and ``"watermark"``:
        feature collision that starts from a watermarked base. Gradient matching is
        that of what the victims train. The adaptive attacks know the trimmed Gaussians
        of the network they are made for.
    bounds : tuple of float > 0 or None, default=(None,)
        l-infinity bounds of the attacks in pixel units; None is unbounded. Instances
        that are not images are not bounded.
    """

    attacks: Annotated[tuple[AttackName, ...], Some, Distinct] = ("feature_collision",)
    bounds: Annotated[tuple[Positive | None, ...], Some, Distinct] = (None,)

    presets: ClassVar[Presets] = {
        ("cifar10", "*"): {"bounds": (None, 8 / 255)},
        ("path", "*"): {"bounds": (None, 8 / 255)},
        ("*", "full"): {"attacks": get_args(AttackName)},
    }

    def plan(self, *, has_images: bool, **changes: Any) -> list[PlannedAttack]:
        """List the attacks, each with each bound.

        Parameters
        ----------
        has_images : bool
            Whether bounds in pixel units mean something.
        **changes
            Fields of all of them.

        Returns
        -------
        list of PlannedAttack
            In the order of the settings.
        """
        planned = [
            PlannedAttack(name, bound, is_watermarked=name == WATERMARK)
            for name in self.attacks
            for bound in (self.bounds if has_images else (None,))
        ]
        return [replace(attack, **changes) for attack in planned]


class TargetSettings(CraftSettings):
    """How many targets are attacked.

    Parameters
    ----------
    n_targets : int, default=50
        Targets per model that its control classifies correctly.
    """

    n_targets: Count = 50

    presets: ClassVar[Presets] = {
        ("*", "full"): {"n_targets": 100},
        ("digits", "quick"): {"n_targets": 25},
        ("cifar10", "quick"): {"n_targets": 25},
        ("path", "quick"): {"n_targets": 25},
    }


class RefitSettings(TargetSettings):
    """How heads are refitted for each target.

    Parameters
    ----------
    refit_epochs : int, default=40
        Epochs of a head's refit, by SGD as in the poisoning benchmark.
    """

    refit_epochs: Count = 40

    presets: ClassVar[Presets] = {
        # As many steps as few rows allow in about a minute.
        ("digits", "quick"): {"refit_epochs": 120},
        ("digits", "full"): {"refit_epochs": 240},
    }


class CountSettings(TargetSettings, AttackSettings):
    """How many targets, and how many poisons of which attacks for each.

    Parameters
    ----------
    n_targets
        See :class:`TargetSettings`.
    attacks, bounds, reach, similarity_weight, max_iter, watermark_opacity
        See :class:`AttackSettings`.
    n_poisons : tuple of int, default=(25,)
        Poisons per target, scaled down where the largest is over 10 % of a class.
    """

    n_poisons: Annotated[tuple[Count, ...], Some, Distinct] = (25,)


class DefenceSettings(Settings):
    """Further defences, and what attackers do not know.

    Parameters
    ----------
    locations : tuple of str, default=()
        Robust locations, ``"median"`` or ``"trimmed_mean"``, whose heads on the
        features of each network take part.
    jpeg_quality : int in [1, 95] or None, default=None
        If given, softmax on training images that are re-encoded as JPEG takes part, of
        75 in published comparisons: attacked by one who knows it, and, as the variant
        ``"unaware"``, by the poisons made for softmax.
    surrogate_backbones : tuple of str, default=()
        Black box: attackers do not have the networks but their own, with these
        backbones, trained on the same clean rows from another seed, for ``max_epochs``
        of the run and without its recipe; of several the objectives are averaged.
        Empty: they have the networks themselves.
    """

    locations: Annotated[tuple[Literal["median", "trimmed_mean"], ...], Distinct] = ()
    jpeg_quality: Annotated[int, pydantic.Field(ge=1, le=95)] | None = None
    surrogate_backbones: Annotated[tuple[str, ...], Distinct] = ()
