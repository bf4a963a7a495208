"""Settings of a run, the base of each protocol's own, and their presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from sklgm._running import import_extra

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = import_extra("pydantic", "cli")

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

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

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
        Seed of everything.
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

    presets: ClassVar[Presets] = {
        ("digits", "*"): {"max_epochs": 12},
        ("mnist", "quick"): {"n_backbone": 20_000},
        # The margin was chosen on a validation split (seed 1).
        ("cifar10", "*"): {"margin": 0.1},
        ("cifar10", "quick"): {"n_backbone": 20_000},
        ("path", "*"): {"margin": 0.1},
        ("path", "quick"): {"n_backbone": 20_000},
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
