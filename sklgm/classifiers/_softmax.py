"""Classifier trained with softmax cross-entropy, for comparison."""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.utils.data import Dataset

from sklgm._net import Augmentation, BatchDataset, LossNet, SoftmaxCriterion
from sklgm._sklearn_private import Interval
from sklgm.classifiers._network import (
    Backbone,
    NetworkClassifier,
    Optimizer,
    Trained,
    Training,
)
from sklgm.nn import FeatureNetwork, LinearHead


class SoftmaxClassifier(NetworkClassifier):
    """Classifier trained with softmax cross-entropy, for comparison.

    Everything but the head and the loss is that of
    :class:`~sklgm.LGMClassifier`.

    Parameters
    ----------
    backbone : str, nn.Module or callable, default="auto"
        Network from instances to features: ``"auto"`` (``"airbench"`` for colour
        images of at least 32 x 32 pixels, ``"cnn"`` for others, ``"mlp"`` for rows),
        ``"small"`` (the latter two), ``"mlp"``, ``"cnn"``, ``"vgg19"``,
        ``"resnet18"``, ``"airbench"`` (strong on natural images;
        :meth:`from_preset` trains it well), ``"airbench_narrow"`` (about
        a quarter of the arithmetic), ``"identity"``, a module
        (deep-copied: its weights are the start), or a callable
        ``(input_shape, feature_dim) -> nn.Module``.
    feature_dim : int >= 1, default=64
        Number of features; ``"identity"`` and a module have their own.
    normalize_features : bool, default=False
        Scale every feature vector to the norm ``sqrt(feature_dim)``.
    label_smoothing : float in [0, 1), default=0.0
        Share of each label that is spread evenly over all classes in training, as in
        ``torch.nn.functional.cross_entropy``; the validation loss uses 0.
    freeze_backbone : bool, default=False
        Train the head only. Each row passes the backbone once, as in prediction; its
        features are kept, in a temporary file from 1 GiB on. With ``augment``, or a
        callback that thaws the backbone (skorch's ``Unfreezer``), in every epoch.
    max_epochs : int >= 0, default=20
        Passes over the training rows.
    batch_size : int >= 1 or "all", default=128
        Rows per step.
    lr : float > 0, default=0.003
        Highest learning rate.
    lr_schedule : {"one_cycle", "triangle", "step", "constant"}, default="one_cycle"
        ``"one_cycle"``: up to ``lr`` and down to 0; ``"triangle"``: the same by
        straight lines, the momentum left alone; ``"step"``: a tenth of ``lr`` in the
        last quarter of the epochs. A skorch ``LRScheduler`` among ``callbacks``
        takes its place; ``partial_fit`` has none.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimiser, or a subclass of ``torch.optim.Optimizer``.
    early_stopping : bool, default=False
        Hold out a stratified ``validation_fraction`` and stop after ``patience``
        epochs without a lower validation loss; the best weights are kept.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out by ``early_stopping``.
    patience : int >= 1, default=5
        Epochs that ``early_stopping`` waits for a lower validation loss.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, as in scikit-learn.
    warm_start : bool, default=False
        Continue from the weights of the fit before, with its structure.
    input_shape : tuple of int or None, default=None
        Shape to fold flat rows into, such as (1, 28, 28); None takes that of X.
    device : str or torch.device, default="auto"
        ``"auto"`` takes CUDA if there is one, else the CPU.
    dtype : {"float32", "float64"} or torch.dtype, default="float32"
        Type of the network and of what it returns.
    augment : {"flip", "crop+flip"}, callable or None, default=None
        Random changes of the images of each training batch; never at prediction, nor
        when Gaussians are estimated. ``"flip"``: mirror each left to right with
        probability 0.5; ``"crop+flip"``: also shift it by up to 2 pixels at a side of
        32 (in proportion at others), filled by reflection. A callable gets and returns
        the tensor (n_samples, n_channels, height, width); a transform of
        ``torchvision.transforms.v2`` gets each image by itself. Both draw from torch's
        global generator, which ``random_state`` seeds for the length of the fit.
    autocast : bool or "auto", default=False
        Train the backbone in bfloat16 by ``torch.autocast``, on CPUs and CUDA; head,
        loss, parameters and all predictions stay in float32. Faster on hardware with
        bfloat16 (AVX-512 bf16, AMX, GPUs of compute capability 8.0), many times slower
        elsewhere; the trained weights differ by more than rounding. ``"auto"``: where
        the device has instructions for it; ``net_.module_.autocast`` tells.
    test_time_flip : bool, default=False
        Wherever features are computed without training, take the mean of those of
        each image and of its mirror image; twice the time. For images in which left
        and right mean nothing.
    compile : bool, default=False
        Compile the backbone with ``torch.compile`` when it is first used: minutes for a
        large one, after which steps are faster, on GPUs above all. Needs a C++ compiler
        or Triton; where it fails, ``fit`` does. Trained weights differ by rounding. A
        pickled classifier is compiled no more.
    accelerator : accelerate.Accelerator or None, default=None
        Processes of Hugging Face Accelerate that train the network together, such as
        one for each GPU: each calls ``fit`` with the same rows, computes its share of
        every batch on its device, and ends with the same network. ``batch_size`` rows
        are then shared, so that the result is that of one process, up to rounding; but
        batch normalisation sees the share of a process only. Needs the extra
        ``accelerate`` and ``device="auto"``.
    checkpoint_dir : path-like or None, default=None
        Folder where ``fit`` keeps where training is, every few seconds and without
        pickle. A fit that was cut off, called again with the same data, parameters, int
        ``random_state``, code, versions and threads, goes on from there to the same
        bits (on the CPU). Deleted when training ends. Not used by ``partial_fit``.
    callbacks : sequence of skorch callbacks or None, default=None
        Deep-copied before use.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, split, shuffling and dropout. The same seed gives the same
        bits on the CPU with the same number of threads.
    verbose : int, default=0
        1 prints one line per epoch.
    **skorch_params : dict
        skorch's nested parameters: ``optimizer__*``, ``callbacks__*``,
        ``iterator_train__*``, ``iterator_valid__*``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Summed weight of the training rows of each class, those of fits that were
        continued among them.
    head_ : LogisticRegression
        The last layer as a classifier of features: ``head_.predict(transform(X))`` is
        ``predict(X)``.
    net_ : skorch.NeuralNet
        The trained net.
    history_ : skorch.history.History
        Losses of each epoch.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.
    input_shape_ : tuple of int
        Shape of one instance.

    See Also
    --------
    LGMClassifier : The same with class Gaussians and a margin.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxClassifier(random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkClassifier._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        backbone: Backbone = "auto",
        *,
        feature_dim: int = 64,
        normalize_features: bool = False,
        label_smoothing: float = 0.0,
        freeze_backbone: bool = False,
        max_epochs: int = 20,
        batch_size: int | str = 128,
        lr: float = 0.003,
        lr_schedule: str = "one_cycle",
        optimizer: Optimizer = "adam",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        input_shape: Sequence[int] | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
        augment: str | Augmentation | None = None,
        autocast: bool | Literal["auto"] = False,
        test_time_flip: bool = False,
        compile: bool = False,
        accelerator: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        **skorch_params: Any,
    ) -> None:
        self.backbone = backbone
        self.feature_dim = feature_dim
        self.normalize_features = normalize_features
        self.label_smoothing = label_smoothing
        self.freeze_backbone = freeze_backbone
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.input_shape = input_shape
        self.device = device
        self.dtype = dtype
        self.augment = augment
        self.autocast = autocast
        self.test_time_flip = test_time_flip
        self.compile = compile
        self.accelerator = accelerator
        self.checkpoint_dir = checkpoint_dir
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose
        if skorch_params:
            self._skorch_params = skorch_params

    def score_samples(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Energy of each row: the logsumexp of its logits, not a density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more like the training rows of some class; the scale has no
            meaning beyond the order.
        """
        return self._score_samples(X)

    def _train(
        self, network: FeatureNetwork, training: Training, *, is_new: bool
    ) -> Trained:
        net = self._make_net(
            network,
            self._make_criterion(),
            training,
            n_epochs=self.max_epochs,
            patience=self.patience if self.early_stopping else None,
        )
        if self.max_epochs > 0:
            net.partial_fit(training.train)
        return Trained(net, np.ones(len(training.train), dtype=bool))

    def _make_head(
        self, feature_dim: int, class_count: NDArray[np.float64]
    ) -> nn.Module:
        return LinearHead(feature_dim, len(class_count))

    def _make_criterion(self) -> nn.Module:
        return SoftmaxCriterion(self.label_smoothing)

    def _own_callbacks(self) -> list[tuple[str, Any]]:
        return []

    def _start_chunk(
        self,
        net: LossNet,
        train: BatchDataset,
        before: NDArray[np.float64],
        count: NDArray[np.float64],
    ) -> None:
        """Nothing: a linear head starts from noise and learns its offsets."""

    def _check_trains_in_chunks(self) -> None:
        """Nothing stands against it."""

    def _publish_head(
        self, module: nn.Module, classes: NDArray[Any], head: Any
    ) -> None:
        from sklearn.linear_model import LogisticRegression  # it imports much

        assert isinstance(module, LinearHead)
        coef = module.linear.weight.detach().cpu().numpy().astype(np.float64)
        intercept = module.linear.bias.detach().cpu().numpy().astype(np.float64)
        if len(classes) == 2:  # scikit-learn keeps the second class against the first
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.head_ = LogisticRegression()
        self.head_.classes_, self.head_.n_features_in_ = classes, coef.shape[1]
        self.head_.coef_, self.head_.intercept_ = coef, intercept

    def _publish_rows(self, rows: NDArray[np.int64], n_samples: int) -> None:
        """Nothing: all rows are trained on."""

    def _feature_logits(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        linear = self.net_.module_.head.linear
        weight, bias = (part.detach().cpu().numpy() for part in linear.parameters())
        logits: NDArray[np.floating] = features @ weight.T + bias
        return logits
