"""The fit loop that both classifiers share; one abstract class."""

import os
import pickle
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
)
from sklearn.utils.metaestimators import available_if
from torch import nn
from torch.utils.data import Dataset

from sklgm._inputs import (
    Instances,
    StreamedInstances,
    check_every_class_has_weight,
    check_magnitude,
    encode_labels,
    resolve_device,
    resolve_dtype,
    split_off_validation,
    validate_targets,
    weight_by_class,
)
from sklgm._net import (
    AUGMENTATIONS,
    Augmentation,
    BatchDataset,
    LossNet,
    TrainingCheckpoint,
    backbone_outputs,
    build_net,
    changes_parameters,
    common_seed,
    computes_bfloat16,
    make_augmentation,
    n_complete_epochs,
    net_dtype,
    net_state,
    restore_net,
    restored_on_error,
    stops_early,
)
from sklgm._random import draw_seed, forked_generator
from sklgm._running import Checkpoints, stage_key
from sklgm._sklearn_private import (
    HasMethods,
    Interval,
    StrOptions,
    check_partial_fit_first_call,
    fit_context,
)
from sklgm.classifiers._prediction import NetworkPrediction, dtype_name
from sklgm.classifiers._presets import PRESETS
from sklgm.classifiers._skorch_params import SkorchParams
from sklgm.classifiers._stored_network import (
    check_backbone,
    loading_device,
    stored_network,
)
from sklgm.nn import BackboneFactory, FeatureNetwork, make_backbone, output_dim
from sklgm.persistence import (
    GivenError,
    PersistenceMixin,
    UnstorableError,
    pack,
    unpack,
)

Backbone = str | nn.Module | BackboneFactory
Optimizer = str | Callable[..., torch.optim.Optimizer]

OPTIMIZERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}

_AUTOCAST_DEVICES = ("cpu", "cuda")

LR_SCHEDULES = ("one_cycle", "triangle", "step", "constant")

# Rows that a backbone starts from, where it takes something from the data.
_START_ROWS = 512

_PACKED = "packed"  # what the state of a pickle is called


def _trains_in_chunks(classifier: Any) -> bool:
    """Whether there is a ``partial_fit``, for :func:`available_if`."""
    if classifier.early_stopping:
        raise AttributeError(
            "early_stopping=True: partial_fit has no validation rows; set it to False"
        )
    if classifier.accelerator is not None:
        raise AttributeError(
            "accelerator trains by fit alone: set it to None for partial_fit"
        )
    classifier._check_trains_in_chunks()
    return True


@dataclass(frozen=True)
class Training:
    """What a network is trained on, and how it is drawn from.

    Attributes
    ----------
    train : BatchDataset
        Training rows.
    valid : BatchDataset or None
        Validation rows; None without early stopping.
    classes : ndarray of shape (n_classes,)
        Label of each class index.
    device : torch.device
        Where to train.
    generator : torch.Generator
        Source of the shuffling.
    checkpoints : Checkpoints or None
        Where training is kept, so that it can go on if it is cut off.
    """

    train: BatchDataset
    valid: BatchDataset | None
    classes: NDArray[Any]
    device: torch.device
    generator: torch.Generator
    checkpoints: Checkpoints | None = None


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes
    ----------
    net : LossNet
        The trained net.
    is_kept : ndarray of bool of shape (n_train,)
        Training rows that the head ended with.
    head : classifier or None
        Classifier of features, where it was not the net that learnt it.
    """

    net: LossNet
    is_kept: NDArray[np.bool_]
    head: Any = None


class NetworkClassifier(
    ClassNamePrefixFeaturesOutMixin,
    NetworkPrediction,
    PersistenceMixin,
    SkorchParams,
    metaclass=ABCMeta,
):
    """A backbone and a head, trained by a composed skorch net.

    Subclasses say how a network is trained (:meth:`_train`, which calls
    :meth:`_train_net`) and make the head that predicts from features
    (:meth:`_publish_head`).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "backbone": [str, HasMethods("forward"), callable],
        "feature_dim": [Interval(Integral, 1, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "normalize_features": ["boolean"],
        "freeze_backbone": ["boolean"],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"all"})],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr_schedule": [StrOptions(set(LR_SCHEDULES))],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "warm_start": ["boolean"],
        "input_shape": [tuple, list, None],
        "device": [str, torch.device],
        "dtype": [StrOptions({"float32", "float64"}), torch.dtype],
        "augment": [StrOptions(set(AUGMENTATIONS)), callable, None],
        "autocast": ["boolean", StrOptions({"auto"})],
        "test_time_flip": ["boolean"],
        "compile": ["boolean"],
        "accelerator": [HasMethods(["prepare", "backward", "reduce"]), None],
        "checkpoint_dir": [str, os.PathLike, None],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # What the loss adds to every recipe.
    _preset_of_loss: ClassVar[Mapping[str, Any]] = {}

    # Parameters of the subclasses, which share one meaning and one __init__ each.
    backbone: Any
    feature_dim: int
    label_smoothing: float
    normalize_features: bool
    freeze_backbone: bool
    max_epochs: int
    batch_size: int | str
    lr: float
    optimizer: Any
    lr_schedule: str
    early_stopping: bool
    validation_fraction: float
    patience: int
    class_weight: Mapping[Any, float] | str | None
    warm_start: bool
    input_shape: Sequence[int] | None
    device: str | torch.device
    dtype: str | torch.dtype
    augment: str | Augmentation | None
    autocast: bool | Literal["auto"]
    test_time_flip: bool
    compile: bool
    accelerator: Any
    checkpoint_dir: str | os.PathLike[str] | None
    callbacks: Sequence[Any] | None
    random_state: Any
    verbose: int

    classes_: NDArray[Any]
    class_count_: NDArray[np.float64]
    net_: LossNet
    history_: Any
    head_: Any
    _column_offsets: NDArray[np.float64] | None
    # Whether training rows had a part in the backbone.
    _knows_rows: bool
    _made_of: tuple[str | None, int]

    @classmethod
    def from_preset(cls, name: str, /, **changes: Any) -> Self:
        """Make a classifier whose training follows a recipe.

        Parameters
        ----------
        name : {"natural_images", "natural_images_long", "natural_images_quick", \
                "natural_images_small"}
            The recipe; see :doc:`/user_guide/train`.
        **changes
            Parameters of the classifier that differ from the recipe.

        Returns
        -------
        object
            Not fitted; all that the recipe sets is among its parameters.

        Raises
        ------
        ValueError
            If there is no recipe of this name.
        """
        if name not in PRESETS:
            raise ValueError(f"name must be one of {list(PRESETS)}, got {name!r}")
        return cls(**{**PRESETS[name], **cls._preset_of_loss, **changes})

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike | Dataset[Any],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances; images are (n_samples, n_channels, height, width). Values
            are used as they are: uint8 is cast, not divided, with an
            ``UnscaledImagesWarning``. Only columns whose
            differences float32 cannot hold, such as Unix times, are centred before
            they are cast. A memory-mapped array
            or a map-style ``Dataset`` is read a batch at a time, never held whole.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, at least two classes; numbers, strings or booleans. None only
            where X is a ``Dataset`` of (instance, label) tuples: labels are then
            read in a pass before training.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0, rescaled to mean 1 over the training set. Rows of weight
            0 are left out.

        Returns
        -------
        self : object
            The fitted classifier. Ctrl-C ends training early: the model so far is
            kept, with a ``UserWarning``. Inside a detector, a filter, ``audit`` or
            another part of sklgm it stops the whole.

        Raises
        ------
        ValueError
            If X or y is empty, not finite or of unequal length, if there is only
            one class (of positive weight), if a parameter is out of its range, if
            ``early_stopping`` meets a class that cannot be split, if the device
            does not exist, or if training diverges.
        TypeError
            If X is sparse, or a ``Dataset`` that cannot be read by index.
        """
        continues = self.warm_start and hasattr(self, "net_")
        instances = self._validated_instances(X, reset=not continues)
        y, weight = validate_targets(type(self).__name__, instances, y, sample_weight)

        classes, y_encoded = np.unique(y, return_inverse=True)
        self._check_classes(classes)
        if continues:
            self._check_continued()
            self._check_same_classes(classes)
        weight = weight_by_class(weight, y_encoded, classes, self.class_weight)
        check_every_class_has_weight(weight, y_encoded, classes)
        mean_weight = weight[weight > 0].mean()
        weight = weight / mean_weight

        seed = draw_seed(self.random_state)
        if self.accelerator is not None:
            seed = common_seed(self.accelerator, seed)
        dtype = resolve_dtype(self.dtype)
        extreme = None
        if not (
            self._passes_backbone_once() or isinstance(instances, StreamedInstances)
        ):
            largest = check_magnitude(instances, dtype, None)
            extreme = instances[largest : largest + 1]
        train_rows, valid = np.flatnonzero(weight > 0), None
        if self.early_stopping:
            train_rows, valid_rows = split_off_validation(
                train_rows,
                y_encoded,
                classes,
                validation_fraction=self.validation_fraction,
                seed=seed,
            )
            valid = BatchDataset(instances, y_encoded, weight, dtype, valid_rows)
        train = BatchDataset(instances, y_encoded, weight, dtype, train_rows)

        device = self._training_device(dtype)
        count = train.class_count(len(classes))
        checkpoints = self._checkpoints(instances, y, weight, seed, device, continues)
        with (
            forked_generator(seed, device) as generator,
            restored_on_error(self.net_ if continues else None),
        ):
            training = Training(train, valid, classes, device, generator, checkpoints)
            if continues:
                network = self.net_.module_.to(dtype)
                network.set_frozen(self.freeze_backbone)
                network.autocast = self._autocasts(device, dtype)
                network.test_time_flip = self.test_time_flip
                if self.compile:
                    network.backbone.compile()
            else:
                network = self._make_network(count, train, device)
            if self._passes_backbone_once():
                training = replace(
                    training,
                    train=self._of_outputs(network, train, device),
                    valid=valid and self._of_outputs(network, valid, device),
                )
            trained = self._train(network, training, is_new=not continues)
            net = trained.net
            self._check_finite(net)
            self._publish(net, classes, trained.head)
            if extreme is not None:
                self._features(extreme)  # raises where they are not finite
        net.train_split = None  # the fitted net must not carry the validation rows
        if net.was_interrupted:
            self._warn_of_interruption(net)
        elif checkpoints is not None:
            checkpoints.clear()

        before = self.class_count_ if continues else 0.0
        self.class_count_ = before + mean_weight * count
        self._seed = seed
        self._publish_rows(train_rows[trained.is_kept], len(weight))
        return self

    @available_if(_trains_in_chunks)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike | Dataset[Any],
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one epoch on a chunk of the data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances, as in :meth:`fit`.
        y : array-like of shape (n_samples,) or None, default=None
            Labels; a chunk need not hold every class.
        classes : array-like of shape (n_classes,) or None, default=None
            All labels there will be; needed in the first call, and may be given
            again.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0, used as they are: they compare rows of different chunks.

        Returns
        -------
        self : object
            The classifier after one more epoch; the optimiser's state goes on. A
            chunk that fails leaves it as it was.

        Raises
        ------
        ValueError
            As :meth:`fit`; also if the first call has no ``classes``, a label is not
            among them, ``class_weight="balanced"``, or the ``fit`` before had
            ``early_stopping=True``.
        AttributeError
            If ``early_stopping=True`` or ``trim > 0``: a chunk has no validation rows,
            and cannot tell which rows of a class fit it best. Also with an
            ``accelerator``.
        TypeError
            As :meth:`fit`.

        Notes
        -----
        ``max_epochs`` is only the length that ``margin_warmup`` is a share of. What
        the network and the optimiser were built with in the first call (``lr``,
        ``margin``, ...) stays until the next ``fit``.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all labels at once; give partial_fit a "
                "dict from label to weight"
            )
        is_first = not hasattr(self, "net_")
        if is_first:
            self.__dict__.pop("classes_", None)  # of a first call that failed
        check_partial_fit_first_call(self, classes)
        self._check_classes(self.classes_)
        if not is_first:
            self._check_continued()
            if stops_early(self.net_):
                raise ValueError(
                    "partial_fit cannot go on from a fit with early_stopping=True; "
                    "call fit with early_stopping=False first"
                )
        instances = self._validated_instances(X, reset=is_first)
        y, weight = validate_targets(type(self).__name__, instances, y, sample_weight)
        y_encoded = encode_labels(y, self.classes_, name="y")
        n_classes = len(self.classes_)
        weight = weight_by_class(weight, y_encoded, self.classes_, self.class_weight)
        if not (weight > 0).any():
            raise ValueError(
                "sample_weight and class_weight leave no row of positive weight"
            )

        dtype = resolve_dtype(self.dtype) if is_first else net_dtype(self.net_)
        train = BatchDataset(
            instances, y_encoded, weight, dtype, np.flatnonzero(weight > 0)
        )
        count = train.class_count(n_classes)
        before = np.zeros(n_classes) if is_first else self.class_count_

        # A network stays where it was made, or loaded.
        device = (
            self._training_device(dtype) if is_first else torch.device(self.net_.device)
        )
        seed = (
            draw_seed(self.random_state)
            if is_first
            else (self._seed + len(self.history_)) % np.iinfo(np.int32).max
        )
        with (
            forked_generator(seed, device) as generator,
            restored_on_error(None if is_first else self.net_),
        ):
            if is_first:
                self._seed = seed
                network = self._make_network(count, train, device)
                net = self._make_net(
                    network,
                    self._make_criterion(),
                    Training(train, None, self.classes_, device, generator),
                    n_epochs=0,  # no schedule: how many chunks will come?
                    callbacks=self._own_callbacks(),
                )
            else:
                net = self.net_
                net.end_schedule()
            if self._passes_backbone_once() and net.module_.freeze_backbone:
                train = self._of_outputs(net.module_, train, device)
            self._start_chunk(net, train, before, count)
            net.partial_fit(train, epochs=1)
            self._check_finite(net)
            self._publish(net, self.classes_)
        if net.was_interrupted:
            self._warn_of_interruption(net)

        self.class_count_ = before + count
        return self

    def _check_classes(self, classes: NDArray[Any]) -> None:
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y, got one class: "
                f"{classes.tolist()[0]!r}"
            )

    def _training_device(self, dtype: torch.dtype) -> torch.device:
        """Where to train, if what is asked for can be had there."""
        device = resolve_device(self.device)
        if self.accelerator is not None:
            if self.device != "auto":
                raise ValueError(
                    "accelerator has the device of each process: leave device='auto', "
                    f"got {self.device!r}"
                )
            device = self.accelerator.device
        is_asked = self.autocast != "auto" and self.autocast
        if is_asked and not _can_autocast(device, dtype):
            raise ValueError(
                "autocast=True computes float32 networks in bfloat16 on devices of "
                f"type {_AUTOCAST_DEVICES}, got dtype={dtype_name(dtype)!r} and device="
                f"{str(device)!r}; set autocast=False"
            )
        return device

    def _autocasts(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether the backbone is trained in bfloat16."""
        if self.autocast == "auto":
            return _can_autocast(device, dtype) and computes_bfloat16(device)
        return bool(self.autocast)

    def _passes_backbone_once(self) -> bool:
        """Whether each row has one output of the backbone, whatever is trained."""
        return (
            self.freeze_backbone
            and self.augment is None
            and not is_identity(self.backbone)
            and not changes_parameters(self.callbacks or ())
        )

    def _of_outputs(
        self, network: FeatureNetwork, dataset: BatchDataset, device: torch.device
    ) -> BatchDataset:
        """Rows after the backbone of a network."""
        outputs = backbone_outputs(
            network.backbone,
            dataset,
            device,
            self._checked_nested_params(),
            test_time_flip=self.test_time_flip,
        )
        return dataset.of_outputs(outputs)

    def _checkpoints(
        self,
        instances: Instances,
        y: NDArray[Any],
        weight: NDArray[np.float64],
        seed: int,
        device: torch.device,
        continues: bool,
    ) -> Checkpoints | None:
        """Where this fit, and no other one, is kept."""
        if self.checkpoint_dir is None:
            return None
        if self.random_state is None or isinstance(instances, StreamedInstances):
            raise ValueError(
                f"checkpoint_dir={str(self.checkpoint_dir)!r} keeps a fit for the next "
                "one that is the same: it needs a random_state, and X as an array"
            )
        own = ("checkpoint_dir", "random_state", "verbose", "device")
        params = {k: v for k, v in self.get_params().items() if k not in own}
        start = self.net_.module_.state_dict() if continues else None
        is_cast = self.autocast == "auto" and computes_bfloat16(device)
        data = (params, instances, y, weight, start, is_cast)
        name = str(device)
        if device.type == "cuda":
            name += f" ({torch.cuda.get_device_name(device)})"
        try:
            key = stage_key((type(self).__name__, seed), data, name)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                "checkpoint_dir needs parameters that can be pickled, so that the same "
                f"fit is known again: {error}. Give functions of a module instead of "
                "lambdas, or checkpoint_dir=None"
            ) from error
        return Checkpoints(self.checkpoint_dir, key)

    def _check_continued(self) -> None:
        # What a user's own backbone is cannot be compared with one that was loaded.
        asked_for = (_name_of(self.backbone), self.feature_dim)
        if asked_for != self._made_of and None not in (asked_for[0], self._made_of[0]):
            raise ValueError(
                "warm_start=True and partial_fit continue a network with "
                f"(backbone, feature_dim)={self._made_of!r}, got {asked_for!r}; call "
                "fit with warm_start=False to start anew"
            )
        for name, fitted in self._structure().items():
            asked = getattr(self, name)
            if asked != fitted:
                raise ValueError(
                    f"warm_start=True and partial_fit continue a network with "
                    f"{name}={fitted!r}, got {name}={asked!r}; call fit with "
                    "warm_start=False to start anew"
                )

    def _check_same_classes(self, classes: NDArray[Any]) -> None:
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                "warm_start=True continues a fit and needs the same classes in y: "
                f"{self.classes_.tolist()!r} before, {classes.tolist()!r} now"
            )

    def _structure(self) -> dict[str, Any]:
        """Parameters that a fitted network cannot change, as it has them."""
        return {"normalize_features": self.net_.module_.normalize_features}

    def _make_network(
        self,
        class_count: NDArray[np.float64],
        train: BatchDataset,
        device: torch.device,
    ) -> FeatureNetwork:
        if self.test_time_flip and len(self.input_shape_) != 3:
            raise ValueError(
                "test_time_flip=True needs images of shape (n_channels, height, "
                f"width), got instances of shape {self.input_shape_}; set input_shape "
                "to fold flat rows into images, or test_time_flip=False"
            )
        dtype = train.dtype
        backbone = make_backbone(self.backbone, self.input_shape_, self.feature_dim)
        backbone = backbone.to(dtype)
        start_from = getattr(backbone, "start_from", None)
        self._made_of = (_name_of(self.backbone), self.feature_dim)
        self._knows_rows = False
        if start_from is not None and not isinstance(self.backbone, nn.Module):
            self._knows_rows = True
            step = max(1, len(train) // _START_ROWS)
            rows = range(0, len(train), step)[:_START_ROWS]
            start_from(train.__getitems__(rows)[0]["X"])
        feature_dim = output_dim(backbone, self.input_shape_, dtype)
        if self.compile:
            backbone.compile()
        return FeatureNetwork(
            backbone,
            self._make_head(feature_dim, class_count).to(dtype),
            normalize_features=self.normalize_features,
            freeze_backbone=self.freeze_backbone,
            autocast=self._autocasts(device, dtype),
            test_time_flip=self.test_time_flip,
        )

    def _make_net(
        self,
        network: FeatureNetwork,
        criterion: nn.Module,
        training: Training,
        *,
        n_epochs: int,
        n_before: int = 0,
        lr_factor: float = 1.0,
        callbacks: Sequence[Any] = (),
        patience: int | None = None,
        param_groups: Sequence[Any] = (),
    ) -> LossNet:
        """Build a net around a network; the user's callbacks come last.

        ``n_before`` epochs of ``max_epochs`` have been trained by another net.
        """
        nested = self._checked_nested_params()
        last: list[tuple[str, Any]] = []
        if training.checkpoints is not None:
            phase = type(criterion).__name__
            checkpoint = TrainingCheckpoint(training.checkpoints, phase)
            last.append(("checkpoint", checkpoint))
        if param_groups:
            nested.setdefault("optimizer__param_groups", list(param_groups))
        return build_net(
            network,
            criterion,
            optimizer=OPTIMIZERS.get(self.optimizer, self.optimizer),
            lr=lr_factor * self.lr,
            lr_schedule=self.lr_schedule,
            n_rows=len(training.train),
            instance_shape=training.train.X.shape[1:],
            max_epochs=n_epochs,
            n_before=n_before,
            n_total=self.max_epochs,
            batch_size=-1 if self.batch_size == "all" else int(self.batch_size),
            device=training.device,
            verbose=int(self.verbose),
            callbacks=[*callbacks, *(self.callbacks or ()), *last],
            patience=patience,
            valid_dataset=training.valid,
            generator=training.generator,
            augmentation=make_augmentation(self.augment, self.input_shape_),
            accelerator=self.accelerator,
            nested=nested,
        )

    @abstractmethod
    def _train(
        self, network: FeatureNetwork, training: Training, *, is_new: bool
    ) -> Trained:
        """Train a network, new or continued."""

    @abstractmethod
    def _make_head(
        self, feature_dim: int, class_count: NDArray[np.float64]
    ) -> nn.Module:
        """Head for ``feature_dim`` features and classes of so much weight."""

    @abstractmethod
    def _make_criterion(self) -> nn.Module:
        """Criterion of :class:`sklgm._net.LossNet`."""

    @abstractmethod
    def _own_callbacks(self) -> list[tuple[str, Any]]:
        """Callbacks that the loss needs, before the user's."""

    @abstractmethod
    def _start_chunk(
        self,
        net: LossNet,
        train: BatchDataset,
        before: NDArray[np.float64],
        count: NDArray[np.float64],
    ) -> None:
        """Tell the head the class weights before a chunk, and in it."""

    @abstractmethod
    def _check_trains_in_chunks(self) -> None:
        """Raise AttributeError where parameters leave nothing for ``partial_fit``."""

    @abstractmethod
    def _publish_head(
        self, module: nn.Module, classes: NDArray[Any], head: Any
    ) -> None:
        """Assign ``head_``, made from the module if None, and what belongs to it."""

    @abstractmethod
    def _publish_rows(self, rows: NDArray[np.int64], n_samples: int) -> None:
        """Assign what the classifier tells of the rows that it ended with."""

    def _publish(
        self,
        net: LossNet,
        classes: NDArray[Any],
        head: Any = None,
    ) -> None:
        self.classes_ = classes
        self.net_ = net
        self.history_ = net.history
        self.n_iter_ = n_complete_epochs(net)
        self._n_features_out = net.module_.head.feature_dim
        self._publish_head(net.module_.head, classes, head)

    def _warn_of_interruption(self, net: LossNet) -> None:
        warnings.warn(
            f"training was interrupted after {n_complete_epochs(net)} complete epochs "
            f"(max_epochs={self.max_epochs}); the model so far is kept",
            UserWarning,
            stacklevel=4,  # the caller of the decorated fit
        )

    def _check_finite(self, net: LossNet) -> None:
        for name, parameter in net.module_.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise ValueError(
                    f"training diverged: {name} is not finite after "
                    f"{len(net.history)} epochs with lr={self.lr!r}; lower lr or "
                    "scale X"
                )

    def _stored_state(self) -> dict[str, Any]:
        """Attributes for a file; the net as what training made of it."""
        state = {k: v for k, v in vars(self).items() if k not in ("net_", "history_")}
        if hasattr(self, "net_"):
            check_backbone(self.backbone, self.input_shape_, self.net_.module_)
            state["net_"] = net_state(self.net_)
        return state

    def _restore_state(self, state: dict[str, Any], device: Any) -> None:
        """Take attributes from a file, and build the net again."""
        of_net = state.pop("net_", None)
        self.__dict__.update(state)
        if of_net is None:
            return
        if not (isinstance(self.optimizer, str) or callable(self.optimizer)):
            raise GivenError(
                "optimizer must be the class that was fitted with, got "
                f"{self.optimizer!r}"
            )
        network = stored_network(self.backbone, self.input_shape_, of_net)
        rows = BatchDataset(np.empty((0, 1)), None, None, torch.float32)
        self.net_ = self._make_net(
            network,
            self._make_criterion(),
            Training(
                rows,
                None,
                self.classes_,
                loading_device(device, self.device),
                torch.Generator(),
            ),
            n_epochs=0,
            callbacks=self._own_callbacks(),
            patience=self.patience if of_net["stops_early"] else None,
            param_groups=of_net["param_groups"],
        )
        restore_net(self.net_, of_net)
        self.history_ = self.net_.history

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle, copies and skops: as in a file, where that is possible.

        A skorch net would hold pickles of its own.
        """
        if hasattr(self, "net_"):
            try:
                packed = pack(self, is_complete=True)
                return {_PACKED: np.frombuffer(packed, np.uint8)}
            except UnstorableError:
                pass
        state: dict[str, Any] = super().__getstate__()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state that `__getstate__` gave."""
        if _PACKED in state:
            name = f"the state of {type(self).__name__}"
            state = vars(unpack(state[_PACKED].tobytes(), name))
        super().__setstate__(state)


def _name_of(backbone: Any) -> str | None:
    """Name of a backbone; None of a user's own."""
    return backbone if isinstance(backbone, str) else None


def is_identity(backbone: Any) -> bool:
    """Whether the features of a backbone are the columns.

    Parameters
    ----------
    backbone : object
        The parameter.

    Returns
    -------
    bool
        True for ``"identity"``.
    """
    return isinstance(backbone, str) and backbone == "identity"


def _can_autocast(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a network of this type can be computed in bfloat16 there."""
    return device.type in _AUTOCAST_DEVICES and dtype == torch.float32
