"""Classifier trained with the large-margin Gaussian mixture loss."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.utils.data import Dataset

from sklgm._net import (
    BatchDataset,
    LGMCriterion,
    LossNet,
    MarginGrowth,
    TrimmedGaussians,
    set_class_means,
    set_trimmed_gaussians,
)
from sklgm._sklearn_private import Interval, StrOptions
from sklgm.classifiers._network import Backbone, NetworkClassifier, Optimizer
from sklgm.gaussian import COVARIANCE_TYPES, CovarianceType, Trim
from sklgm.nn import GaussianMixtureHead


class LGMClassifier(NetworkClassifier):
    """Classifier trained with the large-margin Gaussian mixture (L-GM) loss.

    The features of each class are made to follow a Gaussian, so that a row can be
    asked how likely its features are under the label it claims. With ``trim`` the
    Gaussians are estimated from the rows that fit them best, so that a few
    poisoned rows do not move them. Use it where labels come from others; see
    :class:`~sklgm.LGMOutlierDetector` for ranking suspect rows.

    Parameters
    ----------
    backbone : str, nn.Module or callable, default="auto"
        Network from instances to features: ``"auto"`` (``"cnn"`` for images,
        ``"mlp"`` for rows), ``"mlp"``, ``"cnn"``, ``"vgg19"``, ``"resnet18"``,
        ``"identity"``, a module (deep-copied: its weights are the start), or a
        callable ``(input_shape, feature_dim) -> nn.Module``.
    feature_dim : int >= 1, default=64
        Number of features; ``"identity"`` and a module have their own.
    margin : float >= 0, default=0.3
        Classification margin alpha: in training the squared distance to the
        claimed class is multiplied by ``1 + margin``.
    margin_warmup : float in [0, 1], default=0.5
        Share of ``max_epochs`` over which the margin grows linearly from 0.
    variance : float > 0, default=1.0
        Variance of every class and dimension for ``covariance_type="identity"``,
        else where learning starts; squared feature units. It is the temperature
        of the logits only where the scale of the features is fixed (frozen or
        normalised features, weight decay): see Notes.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, \
            default="identity"
        ``"identity"``: ``variance`` times I, fixed; ``"spherical"``: one learned
        variance a class; ``"diag"``: one a class and dimension; ``"tied_diag"``:
        one learned diagonal for all classes.
    likelihood_weight : float >= 0, default=0.1
        Weight lambda of the likelihood term.
    trim : float in [0, 0.5) or "auto", default=0.0
        Share of each class that is left out when its Gaussian is estimated after
        training and, unless the backbone is frozen, at each epoch's start. With 0
        the means and variances are the gradient's. ``"auto"`` leaves out what lies
        beyond the bulk of each class, 1 % where its features are Gaussian; an
        attacker who knows that has more room than below a fixed 0.25.
    normalize_features : bool, default=False
        Scale every feature vector to the norm ``sqrt(feature_dim)``.
    freeze_backbone : bool, default=False
        Train the head only.
    max_epochs : int >= 0, default=20
        Passes over the training rows. With 0 the class means are estimated from the
        features of the backbone as it is; with ``trim``, learned variances too.
    batch_size : int >= 1 or "all", default=128
        Rows a step.
    lr : float > 0, default=0.003
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimiser, or a subclass of ``torch.optim.Optimizer``.
    early_stopping : bool, default=False
        Hold out a stratified ``validation_fraction`` and stop after 5 epochs
        without a lower validation loss; the best weights are kept.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out by ``early_stopping``.
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
    callbacks : sequence of skorch callbacks or None, default=None
        Deep-copied before use.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, split, shuffling and dropout. The same seed gives the same
        bits on the CPU with the same number of threads.
    verbose : int, default=0
        1 prints a line an epoch.
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
    SoftmaxClassifier : The same with a softmax head.
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
    >>> clf = LGMClassifier(lr=0.01, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    >>> clf.transform(X).shape
    (150, 64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetworkClassifier._parameter_constraints,
        "margin": [Interval(Real, 0, None, closed="left")],
        "margin_warmup": [Interval(Real, 0, 1, closed="both")],
        "variance": [Interval(Real, 0, None, closed="neither")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "likelihood_weight": [Interval(Real, 0, None, closed="left")],
        "trim": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
    }

    def __init__(
        self,
        backbone: Backbone = "auto",
        *,
        feature_dim: int = 64,
        margin: float = 0.3,
        margin_warmup: float = 0.5,
        variance: float = 1.0,
        covariance_type: CovarianceType = "identity",
        likelihood_weight: float = 0.1,
        trim: Trim = 0.0,
        normalize_features: bool = False,
        freeze_backbone: bool = False,
        max_epochs: int = 20,
        batch_size: int | str = 128,
        lr: float = 0.003,
        optimizer: Optimizer = "adam",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        input_shape: Sequence[int] | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
        callbacks: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        **skorch_params: Any,
    ) -> None:
        self.backbone = backbone
        self.feature_dim = feature_dim
        self.margin = margin
        self.margin_warmup = margin_warmup
        self.variance = variance
        self.covariance_type = covariance_type
        self.likelihood_weight = likelihood_weight
        self.trim = trim
        self.normalize_features = normalize_features
        self.freeze_backbone = freeze_backbone
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.input_shape = input_shape
        self.device = device
        self.dtype = dtype
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
        log_joint: NDArray[np.floating] = self._logits(X).numpy()
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

    def _structure(self) -> dict[str, Any]:
        return {
            **super()._structure(),
            "covariance_type": self.net_.module_.head.covariance_type,
        }

    def _make_head(
        self, feature_dim: int, class_count: NDArray[np.float64]
    ) -> nn.Module:
        return GaussianMixtureHead(
            feature_dim,
            len(class_count),
            covariance_type=self.covariance_type,
            variance=self.variance,
            priors=_shares(class_count),
        )

    def _make_criterion(self) -> nn.Module:
        return LGMCriterion(self.margin, self.likelihood_weight)

    def _own_callbacks(self) -> list[tuple[str, Any]]:
        n_epochs = self.margin_warmup * self.max_epochs
        growth = ("margin_growth", MarginGrowth(self.margin, n_epochs))
        if self.trim == 0.0 or self._features_are_fixed():
            return [growth]
        return [growth, ("trimmed", TrimmedGaussians(self.trim, self.variance))]

    def _features_are_fixed(self) -> bool:
        return self.freeze_backbone or self.backbone == "identity"

    def _start(
        self, net: LossNet, train: BatchDataset, classes: NDArray[np.int64]
    ) -> None:
        if len(classes) == 0:
            return
        if self.trim != 0.0:
            if self.max_epochs > 0:  # else they are set at the end, from the same rows
                self._finish(net, train)
        else:
            set_class_means(net, train, classes)

    def _finish(self, net: LossNet, train: BatchDataset) -> None:
        if self.trim != 0.0:
            set_trimmed_gaussians(net, train, trim=self.trim, variance=self.variance)

    def _set_priors(self, net: LossNet, class_count: NDArray[np.float64]) -> None:
        net.module_.head.set_priors(_shares(class_count))

    def _publish_head(self, head: nn.Module) -> None:
        assert isinstance(head, GaussianMixtureHead)
        self.means_ = head.means.detach().cpu().numpy().copy()
        log_variances = head.floored_log_variances().detach()
        self.covariances_ = log_variances.exp().cpu().numpy()
        self.priors_ = head.log_priors.exp().cpu().numpy()


def _shares(class_count: NDArray[np.float64]) -> list[float]:
    """Priors before normalisation; a class not seen yet counts as one row."""
    counts: list[float] = np.where(class_count > 0, class_count, 1.0).tolist()
    return counts
