"""Classifier trained with the large-margin Gaussian mixture loss."""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.utils.data import Dataset

from sklgm._inputs import Instances, resolve_dtype
from sklgm._net import (
    Augmentation,
    BatchDataset,
    LGMCriterion,
    LossNet,
    MarginGrowth,
    SoftmaxCriterion,
    TrimmedGaussians,
    clipping,
    infer,
    set_class_means,
)
from sklgm._running import interrupts_are_raised
from sklgm._sklearn_private import Interval, StrOptions
from sklgm.classifiers._network import (
    Backbone,
    NetworkClassifier,
    Optimizer,
    Trained,
    Training,
)
from sklgm.classifiers._robust_gaussian import RobustGaussianClassifier
from sklgm.gaussian import (
    COVARIANCE_TYPES,
    LOCATIONS,
    Change,
    CovarianceType,
    Location,
    Threat,
    Trim,
)
from sklgm.nn import FeatureNetwork, GaussianMixtureHead, LinearHead

# Share of the rows whose features the L-GM loss starts from where it trains on, and the
# rows of each class at least: a pass over all would cost a third of an epoch.
_START_SHARE, _START_ROWS = 0.1, 64


class LGMClassifier(NetworkClassifier):
    """Classifier trained with the large-margin Gaussian mixture (L-GM) loss.

    The features of each class are made to follow a Gaussian, so that a row can be
    asked how likely its features are under the label it claims. Training begins with
    some epochs of softmax; the L-GM loss then starts at the class means of the features
    of a tenth of the rows. With ``trim`` the Gaussians are estimated from the rows that
    fit them best, so that a few poisoned rows do not move them. Use it where labels
    come from others; see :class:`~sklgm.LGMOutlierDetector` for ranking suspect rows.

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
    softmax_warmup : float in [0, 1], default=0.5
        Share of ``max_epochs`` that is trained with softmax cross-entropy before the
        L-GM loss takes over. Not used where features are fixed
        (``backbone="identity"``, ``freeze_backbone``), by ``warm_start``, nor by
        ``partial_fit``.
    label_smoothing : float in [0, 1), default=0.0
        Share of each label that is spread evenly over all classes in the epochs of
        ``softmax_warmup``, as in ``torch.nn.functional.cross_entropy``.
    margin : float >= 0, default=0.3
        Classification margin alpha: in training the squared distance to the
        claimed class is multiplied by ``1 + margin``.
    margin_warmup : float in [0, 1], default=0.25
        Share of ``max_epochs`` over which the margin grows linearly from 0, beginning
        with the first epoch of the L-GM loss.
    variance : float > 0 or "auto", default="auto"
        Variance of every class and dimension for ``covariance_type="identity"``,
        else where learning starts; squared feature units. ``"auto"``:
        ``variance_scale`` times the within-class variance, averaged over dimensions,
        of the features when the L-GM loss takes over. It is the temperature
        of the logits only where the scale of the features is fixed (frozen or
        normalised features, weight decay): see Notes.
    variance_scale : float > 0, default=16.0
        Factor of ``variance="auto"``.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, \
            default="identity"
        ``"identity"``: ``variance`` times I, fixed; ``"spherical"``: one learned
        variance per class; ``"diag"``: one per class and dimension; ``"tied_diag"``:
        one learned diagonal for all classes.
    likelihood_weight : float >= 0, default=0.01
        Weight lambda of the likelihood term.
    location : {"auto", "gradient", "mean", "trimmed_mean", "median", "kept_mean"}, \
            default="auto"
        How the class means are estimated when training ends: ``"gradient"`` leaves
        them as learnt; the others estimate them, and learned variances, from the
        features as :class:`~sklgm.RobustGaussianClassifier` does. ``"auto"`` is
        ``"kept_mean"`` if ``trim`` is not 0, else ``"gradient"``. Where features are
        fixed and the location is not ``"gradient"``, nothing is trained: the estimate
        would overwrite it.
    trim : float in [0, 0.5) or "auto", default=0.0
        Share of each class that is left out when its Gaussian is estimated: for
        ``"kept_mean"`` the least likely rows, after training and, unless features are
        fixed, in every L-GM epoch, with weight 0 in it: those that lie farthest from
        the mean of their class, by the distances of the epoch before. The Gaussians
        are estimated again before every third epoch, from a tenth of the rows. For
        ``"trimmed_mean"`` the values of each dimension at either end.
        ``"auto"``, for ``"kept_mean"`` alone, leaves out what lies beyond the bulk of
        each class, 1 % where its features are Gaussian; an attacker who knows that has
        more room than below a fixed 0.25.
    normalize_features : bool, default=False
        Scale every feature vector to the norm ``sqrt(feature_dim)``.
    freeze_backbone : bool, default=False
        Train the head only. Each row passes the backbone once, as in prediction; its
        features are kept, in a temporary file from 1 GiB on. With ``augment``, or a
        callback that thaws the backbone (skorch's ``Unfreezer``), in every epoch.
    max_epochs : int >= 0, default=20
        Passes over the training rows, those of ``softmax_warmup`` among them. With 0
        the class means are estimated from the features of the backbone as it is.
    batch_size : int >= 1 or "all", default=128
        Rows per step.
    lr : float > 0, default=0.003
        Highest learning rate.
    lgm_lr_factor : float > 0, default=1.0
        Learning rate in the epochs of the L-GM loss, in multiples of ``lr``. Its
        gradient is several times that of softmax where ``likelihood_weight`` is high:
        plain SGD, whose steps follow the size of the gradient, needs a factor below 1.
    max_grad_norm : float > 0 or None, default=None
        Greatest Euclidean norm of the gradient of all weights in a step of the L-GM
        loss; a longer one is shortened to it. Where classes are compact when the loss
        takes over, its gradient is so long that plain SGD diverges without.
    means_lr_factor : float > 0, default=10.0
        Learning rate of the class means, in multiples of that of the network. Not used
        by ``torch.optim.LBFGS``, nor if ``optimizer__param_groups`` is set.
    lr_schedule : {"one_cycle", "triangle", "step", "constant"}, default="one_cycle"
        ``"one_cycle"``: up to ``lr`` and down to 0, once for the softmax epochs and
        once for those of the L-GM loss; ``"triangle"``: by straight lines, once for all
        epochs, the momentum left alone; ``"step"``: a tenth of ``lr`` in the last
        quarter of the epochs. A skorch ``LRScheduler`` among ``callbacks`` takes its
        place; ``partial_fit`` has none.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimiser, or a subclass of ``torch.optim.Optimizer``.
    early_stopping : bool, default=False
        Hold out a stratified ``validation_fraction`` and stop after ``patience``
        epochs of the L-GM loss without a lower validation loss; the best weights are
        kept.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out by ``early_stopping``.
    patience : int >= 1, default=5
        Epochs that ``early_stopping`` waits for a lower validation loss.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, as in scikit-learn.
    warm_start : bool, default=False
        Continue from the weights of the fit before, with its structure and priors.
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
    means_ : ndarray of shape (n_classes, feature_dim)
        Class means mu.
    covariances_ : ndarray
        Variances: shape () for ``"identity"``, (n_classes,) for ``"spherical"``,
        (n_classes, feature_dim) for ``"diag"``, (feature_dim,) for ``"tied_diag"``.
    priors_ : ndarray of shape (n_classes,)
        Weighted shares of the classes in the first training, fixed; sum to 1.
        ``partial_fit`` takes the shares of all rows so far.
    head_ : RobustGaussianClassifier
        The class Gaussians as a classifier of features: ``head_.predict(transform(X))``
        is ``predict(X)``.
    is_kept_ : ndarray of bool of shape (n_samples,)
        Rows of ``fit`` that entered the class Gaussians: all that were trained on, or
        those that ``"kept_mean"`` did not leave out. Not after ``partial_fit``.
    net_ : skorch.NeuralNet
        The trained net.
    history_ : skorch.history.History
        Losses of each epoch, those of ``softmax_warmup`` first.
    n_iter_ : int
        Epochs trained; 0 where the Gaussians were estimated from fixed features.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.
    input_shape_ : tuple of int
        Shape of one instance.

    See Also
    --------
    SoftmaxClassifier : The same with a softmax head.
    RobustGaussianClassifier : The class Gaussians alone, on fixed features.
    LGMOutlierDetector : Scores and p-values for claimed labels.

    Notes
    -----
    With squared Mahalanobis distances D_k, priors pi_k (``priors_``), alpha
    (``margin``), lambda (``likelihood_weight``) and claimed class z, the loss is

        L = L_cls + lambda L_lkd,
        L_cls = -log softmax_z(log pi_k + log N_k(f) - [k = z] alpha D_k / 2),
        L_lkd = (D_z + log|Sigma_z|) / 2.

    Unlike the code published with [2]_, the distance in L_lkd includes the
    covariance. L is unchanged, up to a constant, when features, means and standard
    deviations are multiplied by one factor.

    References
    ----------
    .. [1] W. Wan, Y. Zhong, T. Li, J. Chen, "Rethinking Feature Distribution for
       Loss Functions in Image Classification", CVPR 2018, eq. 4 to 11.
    .. [2] "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
       arXiv 2003.00798, 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import LGMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LGMClassifier(random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    >>> clf.transform(X).shape
    (150, 64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkClassifier._parameter_constraints,
        "softmax_warmup": [Interval(Real, 0, 1, closed="both")],
        "margin": [Interval(Real, 0, None, closed="left")],
        "margin_warmup": [Interval(Real, 0, 1, closed="both")],
        "variance": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "variance_scale": [Interval(Real, 0, None, closed="neither")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "likelihood_weight": [Interval(Real, 0, None, closed="left")],
        "location": [StrOptions({"auto", "gradient", *LOCATIONS})],
        "lgm_lr_factor": [Interval(Real, 0, None, closed="neither")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "means_lr_factor": [Interval(Real, 0, None, closed="neither")],
        "trim": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
    }

    # A likelihood_weight of 2 and a variance_scale of 16 make classes more compact, and
    # cost accuracy.
    _preset_of_loss: ClassVar[Mapping[str, Any]] = {
        "softmax_warmup": 0.75,
        "margin": 1.0,
        "margin_warmup": 0.0,
        "variance_scale": 4.0,
        "likelihood_weight": 0.5,
        "lgm_lr_factor": 0.3,
        "max_grad_norm": 1.0,
        "means_lr_factor": 1.0,
    }

    def __init__(
        self,
        backbone: Backbone = "auto",
        *,
        feature_dim: int = 64,
        softmax_warmup: float = 0.5,
        label_smoothing: float = 0.0,
        margin: float = 0.3,
        margin_warmup: float = 0.25,
        variance: float | Literal["auto"] = "auto",
        variance_scale: float = 16.0,
        covariance_type: CovarianceType = "identity",
        likelihood_weight: float = 0.01,
        location: Location | Literal["auto", "gradient"] = "auto",
        trim: Trim = 0.0,
        normalize_features: bool = False,
        freeze_backbone: bool = False,
        max_epochs: int = 20,
        batch_size: int | str = 128,
        lr: float = 0.003,
        lgm_lr_factor: float = 1.0,
        max_grad_norm: float | None = None,
        means_lr_factor: float = 10.0,
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
        self.softmax_warmup = softmax_warmup
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.margin_warmup = margin_warmup
        self.variance = variance
        self.variance_scale = variance_scale
        self.covariance_type = covariance_type
        self.likelihood_weight = likelihood_weight
        self.location = location
        self.trim = trim
        self.normalize_features = normalize_features
        self.freeze_backbone = freeze_backbone
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lgm_lr_factor = lgm_lr_factor
        self.max_grad_norm = max_grad_norm
        self.means_lr_factor = means_lr_factor
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

    def predict_joint_log_proba(
        self, X: ArrayLike | Dataset[Any]
    ) -> NDArray[np.floating]:
        """Log joint densities of features and class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``log pi_k + log N_k(f)``, natural log; columns in the order of
            ``classes_``.
        """
        logits, dtype = self._logits(X)
        log_joint: NDArray[np.floating] = logits.astype(dtype)
        return log_joint

    def score_samples(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Log density of the features under the whole mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log sum_k pi_k N_k(f)``, natural log; higher is more normal.
        """
        return self._score_samples(X)

    def certified_poisons(
        self,
        X: ArrayLike | Dataset[Any],
        *,
        threat: Threat = "one_class",
        change: Change = "replace",
        assume_trusted_features: bool = False,
    ) -> NDArray[np.int64]:
        """Count the poisoned training rows that each prediction provably withstands.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances to predict.
        threat : {"one_class", "any"}, default="one_class"
            ``"one_class"``: the poisons all claim one class, whichever it is;
            ``"any"``: each class holds so many of them.
        change : {"replace"}, default="replace"
            Poisons replace training rows of the classes they claim. Rows that come on
            top would change the class shares, which are the priors here:
            ``"insert"`` is refused.
        assume_trusted_features : bool, default=False
            Take the features for given, although the network that computes them was
            trained on the rows in question. The numbers hold for what would be
            estimated from poisoned rows by this network, not for the network that
            they would train.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            The largest number of poisons (of poisons per class, for ``"any"``) for
            which the prediction is proved to stay the same.

        Raises
        ------
        ValueError
            If features were trained on the rows in question, or a backbone was started
            from them (``"airbench"``), unless ``assume_trusted_features``; for
            ``change="insert"``; or if there is no bound, as in
            :meth:`RobustGaussianClassifier.certified_poisons`: ``location="median"``
            or ``"trimmed_mean"`` and ``covariance_type="identity"`` have one.
        """
        features = self.transform(X)
        # Offsets of columns are means of all rows.
        is_of_rows = self._knows_rows or self._column_offsets is not None
        if is_of_rows and not assume_trusted_features:
            raise ValueError(
                "the network was trained on the rows in question, or its first layer "
                "made from them, so that poisons among them could be anything to it: "
                "fit with freeze_backbone=True and a backbone module that was trained "
                "on trusted rows, or set assume_trusted_features=True"
            )
        if change == "insert":
            raise ValueError(
                "change='insert' changes the class shares, which are the priors of "
                "this classifier: certify a RobustGaussianClassifier with priors on "
                "its features"
            )
        counts: NDArray[np.int64] = self.head_.certified_poisons(
            features, threat=threat, change=change
        )
        return counts

    def _structure(self) -> dict[str, Any]:
        return {
            **super()._structure(),
            "covariance_type": self.net_.module_.head.covariance_type,
        }

    def _train(
        self, network: FeatureNetwork, training: Training, *, is_new: bool
    ) -> Trained:
        location, are_fixed = self._location(), self._features_are_fixed()
        n_epochs = self.max_epochs if location == "gradient" or not are_fixed else 0
        self._knows_rows |= not are_fixed and n_epochs > 0
        n_warmup = 0
        warmed: LossNet | None = None
        if is_new and n_epochs > 0 and not are_fixed:
            n_warmup = round(self.softmax_warmup * n_epochs)
        if n_warmup > 0:
            head = network.head
            network.head = _linear_head(head)
            warmed = self._make_net(
                network,
                SoftmaxCriterion(self.label_smoothing),
                training,
                n_epochs=n_warmup,
            )
            warmed.partial_fit(training.train)
            network.head = head.to(training.device)

        net = self._make_lgm_net(network, training, n_epochs - n_warmup, n_warmup)
        if warmed is not None:
            net.was_interrupted = warmed.was_interrupted
        n_left = 0 if net.was_interrupted else n_epochs - n_warmup
        if is_new and (location == "gradient" or n_left > 0):
            rows = training.train
            if n_left > 0:
                rows = rows.sample(_START_SHARE, _START_ROWS)
            self._start_head(net, rows, location)
        if n_left > 0:
            net.partial_fit(training.train)
        if warmed is not None:
            net.continue_history(warmed)
        is_kept = np.ones(len(training.train), dtype=bool)
        estimated: RobustGaussianClassifier | None = None
        if location != "gradient":
            is_trained = not is_new or n_epochs > 0
            try:
                estimated = self._estimate_head(
                    net, training.train, location, is_trained
                )
                is_kept = estimated.is_kept_
            except KeyboardInterrupt:  # the head is as the last epoch left it
                if interrupts_are_raised():
                    raise
                net.was_interrupted = True
        return Trained(net, is_kept, estimated)

    def _location(self) -> Location | Literal["gradient"]:
        if self.location == "auto":
            return "gradient" if self.trim == 0.0 else "kept_mean"
        return self.location

    def _trims(self) -> bool:
        """Whether rows are left out while the network is trained."""
        return self._location() == "kept_mean" and self.trim != 0.0

    def _features_are_fixed(self) -> bool:
        return self.freeze_backbone or self.backbone == "identity"

    def _takes_rows_alone(self) -> bool:
        # What is certified is how poisons move a location of features that they leave
        # alone: the mean of a column, which one row can take anywhere, would not.
        is_certified = self._location() in ("median", "trimmed_mean")
        return is_certified and self._features_are_fixed()

    def _make_lgm_net(
        self,
        network: FeatureNetwork,
        training: Training,
        n_epochs: int,
        n_before: int,
    ) -> LossNet:
        means_lr = self.means_lr_factor * self.lgm_lr_factor * self.lr
        has_groups = self.means_lr_factor != 1.0 and self.optimizer != torch.optim.LBFGS
        return self._make_net(
            network,
            self._make_criterion(),
            training,
            n_epochs=n_epochs,
            n_before=n_before,
            lr_factor=self.lgm_lr_factor,
            callbacks=self._own_callbacks(),
            patience=self.patience if self.early_stopping else None,
            # What history records as the learning rate is that of the first group.
            param_groups=[("backbone*", {}), ("head.means", {"lr": means_lr})]
            if has_groups
            else [],
        )

    def _make_head(
        self, feature_dim: int, class_count: NDArray[np.float64]
    ) -> nn.Module:
        head = GaussianMixtureHead(
            feature_dim,
            len(class_count),
            covariance_type=self.covariance_type,
            variance=1.0 if self.variance == "auto" else self.variance,
        ).to(resolve_dtype(self.dtype))
        head.set_priors(_shares(class_count))  # in the precision of that type
        return head

    def _make_criterion(self) -> nn.Module:
        return LGMCriterion(self.margin, self.likelihood_weight)

    def _own_callbacks(self) -> list[tuple[str, Any]]:
        n_epochs = self.margin_warmup * self.max_epochs
        growth = MarginGrowth(self.margin, n_epochs)
        callbacks: list[tuple[str, Any]] = [("margin_growth", growth)]
        if self._trims():
            callbacks.append(("trimmed", TrimmedGaussians(self.trim)))
        if self.max_grad_norm is not None:
            callbacks.append(("gradient_clipping", clipping(self.max_grad_norm)))
        return callbacks

    def _start_head(
        self,
        net: LossNet,
        train: BatchDataset,
        location: Location | Literal["gradient"],
    ) -> None:
        """Start the head at the class means, with the variance that was asked for."""
        start = self._gaussians_of_features(
            net, train, "mean" if location == "gradient" else location, "identity"
        )
        head = net.module_.head
        head.start_from(torch.from_numpy(start.means_), self._variance(start))

    def _gaussians_of_features(
        self,
        net: LossNet,
        train: BatchDataset,
        location: Location,
        covariance_type: CovarianceType,
    ) -> RobustGaussianClassifier:
        """Class Gaussians of the features as they are, of the classes with rows."""
        features = infer(net, train, output=1)
        lowest, highest = features.aminmax()  # NaN if any is; isfinite would copy
        if not bool(torch.isfinite(lowest) & torch.isfinite(highest)):
            raise ValueError(
                f"training diverged: features are not finite after {len(net.history)} "
                f"epochs with lr={self.lr!r}; lower lr or scale X"
            )
        return RobustGaussianClassifier(
            location=location,
            trim=0.0 if location == "mean" else self.trim,
            covariance_type=covariance_type,
        ).fit(features.numpy(), train.y_encoded, train.sample_weight)

    def _variance(self, gaussians: RobustGaussianClassifier) -> float:
        """Scale ``variance`` for features that follow these Gaussians."""
        if self.variance != "auto":
            return self.variance
        return self.variance_scale * float(gaussians.covariances_)

    def _estimate_head(
        self,
        net: LossNet,
        train: BatchDataset,
        location: Location,
        is_trained: bool,
    ) -> RobustGaussianClassifier:
        """Estimate the head's Gaussians from features.

        A head that was trained keeps a fixed variance.
        """
        gaussians = self._gaussians_of_features(
            net, train, location, self.covariance_type
        )
        head = net.module_.head
        means = torch.from_numpy(gaussians.means_)
        if not is_trained and self.covariance_type == "identity":
            head.start_from(means, self._variance(gaussians))
        else:
            head.set_gaussians(means, torch.from_numpy(gaussians.covariances_).log())
        return gaussians

    def _start_chunk(
        self,
        net: LossNet,
        train: BatchDataset,
        before: NDArray[np.float64],
        count: NDArray[np.float64],
    ) -> None:
        head = net.module_.head
        head.set_priors(_shares(before + count))
        if self.variance == "auto" and not before.any():
            of_chunk = self._gaussians_of_features(net, train, "mean", "identity")
            head.start_from(head.means, self._variance(of_chunk))
        new = np.flatnonzero((count > 0) & (before == 0))
        if len(new) > 0:
            set_class_means(net, train, new)
        self.__dict__.pop("is_kept_", None)
        self._knows_rows |= not self._features_are_fixed()

    def _check_trains_in_chunks(self) -> None:
        if self._location() != "gradient":
            raise AttributeError(
                f"trim={self.trim!r} and location={self.location!r} estimate the class "
                "Gaussians from all rows at once; set trim=0 and location='auto' for "
                "partial_fit"
            )

    def _publish_head(
        self, module: nn.Module, classes: NDArray[Any], head: Any
    ) -> None:
        assert isinstance(module, GaussianMixtureHead)
        covariances = module.floored_log_variances().detach().exp().cpu().numpy()
        if not np.isfinite(covariances).all():
            raise ValueError(
                "X holds values too large: the variances of its features are not "
                f"finite in {covariances.dtype}; scale X, or set dtype='float64'"
            )
        priors = module.log_priors.exp().cpu().numpy()
        if head is None:
            head = RobustGaussianClassifier.from_gaussians(
                module.means.detach().cpu().numpy(),
                covariances,
                covariance_type=module.covariance_type,
                priors=priors,
                classes=classes,
            )
        else:
            head.classes_ = classes  # it was fitted on their indices
            if self.covariance_type == "identity":
                # That of a trained network is given with it, not by the rows.
                is_of_rows = self.variance == "auto" and self._features_are_fixed()
                head._take_variance(float(covariances), is_of_rows=is_of_rows)
        self.head_ = head
        self.means_ = module.means.detach().cpu().numpy().copy()
        self.covariances_ = covariances
        self.priors_ = priors

    def _publish_rows(self, rows: NDArray[np.int64], n_samples: int) -> None:
        self.is_kept_ = np.zeros(n_samples, dtype=bool)
        self.is_kept_[rows] = True

    def _predicted(self, instances: Instances) -> NDArray[Any]:
        labels: NDArray[Any] = self.head_.predict(self._features(instances))
        return labels

    def _feature_logits(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        log_joint: NDArray[np.floating] = self.head_.predict_joint_log_proba(features)
        return log_joint


def _linear_head(head: nn.Module) -> LinearHead:
    """Softmax head for the features and classes of class Gaussians."""
    assert isinstance(head, GaussianMixtureHead)
    made: LinearHead = LinearHead(head.feature_dim, head.n_classes).to(head.means)
    return made


def _shares(class_count: NDArray[np.float64]) -> list[float]:
    """Priors before normalisation; a class not seen yet counts as one row."""
    counts: list[float] = np.where(class_count > 0, class_count, 1.0).tolist()
    return counts
