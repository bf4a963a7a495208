"""The fit loop that both classifiers share; one abstract class."""

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import Tags, assert_all_finite, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)
from torch import Tensor, nn

from sklgm._net import (
    NESTED_PREFIXES,
    BatchDataset,
    LossNet,
    build_net,
    infer,
)
from sklgm._random import draw_seed, forked_generator
from sklgm._sklearn_private import (
    HasMethods,
    Interval,
    StrOptions,
    check_sample_weight,
    fit_context,
)
from sklgm._validation import resolve_device, resolve_dtype, validate_instances
from sklgm.nn import FeatureNetwork, make_backbone, output_dim

OPTIMIZERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}

# Epochs without a lower validation loss before early stopping ends training.
PATIENCE = 5


class NetworkClassifier(
    ClassNamePrefixFeaturesOutMixin,
    ClassifierMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """A backbone and a head, trained by a composed skorch net.

    Subclasses say which head and criterion (:meth:`_make_head`,
    :meth:`_make_criterion`), what surrounds training (:meth:`_before_training`,
    :meth:`_after_training`) and what they publish; they add nothing to the loop.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "backbone": [str, HasMethods("forward"), callable],
        "feature_dim": [Interval(Integral, 1, None, closed="left")],
        "normalize_features": ["boolean"],
        "freeze_backbone": ["boolean"],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"all"})],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "warm_start": ["boolean"],
        "input_shape": [tuple, list, None],
        "device": [str, torch.device],
        "dtype": [StrOptions({"float32", "float64"}), torch.dtype],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Parameters of the subclasses, which share one meaning and one __init__ each.
    backbone: Any
    feature_dim: int
    normalize_features: bool
    freeze_backbone: bool
    max_epochs: int
    batch_size: int | str
    lr: float
    optimizer: Any
    early_stopping: bool
    validation_fraction: float
    class_weight: Mapping[Any, float] | str | None
    warm_start: bool
    input_shape: Sequence[int] | None
    device: str | torch.device
    dtype: str | torch.dtype
    callbacks: Sequence[Any] | None
    random_state: Any
    verbose: int

    classes_: NDArray[Any]
    net_: LossNet

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances; images are (n_samples, n_channels, height, width). Values
            are used as they are: uint8 is cast, not divided.
        y : array-like of shape (n_samples,)
            Labels, at least two classes; numbers, strings or booleans.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0, rescaled to mean 1 over the training set. Rows of weight
            0 are left out.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If X or y is empty, not finite or of unequal length, if there is only
            one class (of positive weight), if a parameter is out of its range, if
            ``early_stopping`` meets a class that cannot be split, if the device
            does not exist, or if training diverges.
        TypeError
            If X is sparse.
        """
        nested = self._checked_nested_params()
        device = resolve_device(self.device)
        dtype = resolve_dtype(self.dtype)
        continues = self.warm_start and hasattr(self, "net_")
        X = self._validated_instances(X, continues)
        y, weight = self._validated_targets(X, y, sample_weight)

        classes, y_encoded = np.unique(y, return_inverse=True)
        self._check_classes(classes, continues)
        X, y_encoded, weight = self._weighted_rows(X, y_encoded, weight, classes)

        seed = draw_seed(self.random_state)
        train_rows, valid_rows = self._split(y_encoded, classes, seed)
        train = BatchDataset(
            X[train_rows], y_encoded[train_rows], weight[train_rows], dtype
        )
        valid = (
            None
            if valid_rows is None
            else BatchDataset(
                X[valid_rows], y_encoded[valid_rows], weight[valid_rows], dtype
            )
        )

        with forked_generator(seed, device) as generator:
            if continues:
                network = self.net_.module_.to(dtype)
                network.set_frozen(self.freeze_backbone)
            else:
                network = self._make_network(len(classes), train, dtype)
            net = build_net(
                network,
                self._make_criterion(),
                optimizer=OPTIMIZERS.get(self.optimizer, self.optimizer),
                lr=self.lr,
                max_epochs=self.max_epochs,
                batch_size=-1 if self.batch_size == "all" else int(self.batch_size),
                device=device,
                verbose=int(self.verbose),
                callbacks=[*self._own_callbacks(), *(self.callbacks or ())],
                patience=PATIENCE if self.early_stopping else None,
                valid_dataset=valid,
                generator=generator,
                nested=nested,
            )
            if not continues:
                self._before_training(net, train)
            if self.max_epochs > 0:
                net.partial_fit(train)
            self._after_training(net, train)
        self._check_finite(net)
        net.train_split = None  # the fitted net must not carry the validation rows

        self.classes_ = classes
        self.net_ = net
        self.history_ = net.history
        self.n_iter_ = len(net.history)
        self._n_features_out = output_dim(network.backbone, self.input_shape_, dtype)
        self._publish(net)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        indices = self._logits(X).argmax(dim=1).numpy()
        labels: NDArray[Any] = self.classes_[indices]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In [0, 1], rows sum to 1; columns in the order of ``classes_``.
        """
        proba: NDArray[np.floating] = np.exp(self.predict_log_proba(X))
        return proba

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Natural log of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Values <= 0; columns in the order of ``classes_``.
        """
        log_proba: NDArray[np.floating] = torch.log_softmax(
            self._logits(X), dim=1
        ).numpy()
        return log_proba

    def decision_function(self, X: ArrayLike) -> NDArray[np.floating]:
        """Logits of each class; for two classes the second minus the first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Natural-log scale; higher speaks for the class.
        """
        logits = self._logits(X)
        if len(self.classes_) == 2:
            logits = logits[:, 1] - logits[:, 0]
        decision: NDArray[np.floating] = logits.numpy()
        return decision

    def _score_samples(self, X: ArrayLike) -> NDArray[np.floating]:
        """Natural log of the sum over classes of exp(logit), shape (n_samples,)."""
        scores: NDArray[np.floating] = torch.logsumexp(self._logits(X), dim=1).numpy()
        return scores

    def transform(self, X: ArrayLike) -> NDArray[np.floating]:
        """Features of each row: the output of the backbone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, feature_dim)
            Features, as the head sees them.
        """
        features: NDArray[np.floating] = self._outputs(X)[1].numpy()
        return features

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, skorch's nested ones among them.

        Parameters
        ----------
        deep : bool, default=True
            As in scikit-learn.

        Returns
        -------
        dict of str to object
            Parameter values by name.
        """
        params: dict[str, Any] = super().get_params(deep=deep)
        return {**params, **self._nested_params()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, skorch's nested ones among them.

        Parameters
        ----------
        **params : dict
            Parameters of the constructor, and names that start with
            ``optimizer__``, ``callbacks__``, ``iterator_train__`` or
            ``iterator_valid__``.

        Returns
        -------
        self : object
            The classifier.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        nested = {k: v for k, v in params.items() if k.startswith(NESTED_PREFIXES)}
        super().set_params(**{k: v for k, v in params.items() if k not in nested})
        if nested:
            self._skorch_params = {**self._nested_params(), **nested}
        return self

    def _nested_params(self) -> dict[str, Any]:
        # Set only where there are any: scikit-learn allows no other attribute
        # than the named parameters after __init__.
        return dict(vars(self).get("_skorch_params", {}))

    def _checked_nested_params(self) -> dict[str, Any]:
        nested = self._nested_params()
        for name in nested:
            if not name.startswith(NESTED_PREFIXES):
                raise ValueError(
                    f"{name!r} is not a parameter of {type(self).__name__}; nested "
                    f"parameters start with one of {NESTED_PREFIXES}"
                )
        return nested

    def _validated_instances(self, X: ArrayLike, continues: bool) -> NDArray[Any]:
        shape = None if self.input_shape is None else tuple(self.input_shape)
        return validate_instances(self, X, reset=not continues, input_shape=shape)

    def _validated_targets(
        self, X: NDArray[Any], y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None"
            )
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        check_consistent_length(X, labels)
        weight = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        return labels, weight

    def _check_classes(self, classes: NDArray[Any], continues: bool) -> None:
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y, got one class: "
                f"{classes.tolist()[0]!r}"
            )
        if continues:
            self._check_continued(classes)

    def _check_continued(self, classes: NDArray[Any]) -> None:
        for name, fitted in self._structure().items():
            asked = getattr(self, name)
            if asked != fitted:
                raise ValueError(
                    f"warm_start=True continues a network with {name}={fitted!r}, got "
                    f"{name}={asked!r}; set warm_start=False to start anew"
                )
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                "warm_start=True continues a fit and needs the same classes in y: "
                f"{self.classes_.tolist()!r} before, {classes.tolist()!r} now"
            )

    def _structure(self) -> dict[str, Any]:
        """Parameters that a fitted network cannot change, as it has them."""
        return {"normalize_features": self.net_.module_.normalize_features}

    def _weighted_rows(
        self,
        X: NDArray[Any],
        y_encoded: NDArray[np.int64],
        weight: NDArray[np.float64],
        classes: NDArray[Any],
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64]]:
        """Rows of positive weight, with weights of mean 1."""
        if self.class_weight is not None:
            per_class = compute_class_weight(
                self.class_weight,
                classes=classes,
                y=classes[y_encoded],
                sample_weight=weight,
            )
            weight = weight * per_class[y_encoded]
        is_used = weight > 0
        missing = np.setdiff1d(np.arange(len(classes)), y_encoded[is_used])
        if len(missing) > 0:
            raise ValueError(
                f"class {classes.tolist()[missing[0]]!r} has no row of positive "
                "sample_weight"
            )
        if not is_used.all():
            X, y_encoded, weight = X[is_used], y_encoded[is_used], weight[is_used]
        return X, y_encoded, weight / weight.mean()

    def _split(
        self, y_encoded: NDArray[np.int64], classes: NDArray[Any], seed: int
    ) -> tuple[Any, NDArray[np.int64] | None]:
        """Training and validation rows; no copy where nothing is split off."""
        if not self.early_stopping:
            return slice(None), None
        counts = np.bincount(y_encoded)
        if counts.min() < 2:
            raise ValueError(
                "early_stopping=True splits the rows of each class, but class "
                f"{classes.tolist()[counts.argmin()]!r} has only {counts.min()} row"
            )
        splitter = StratifiedShuffleSplit(
            n_splits=1, test_size=self.validation_fraction, random_state=seed
        )
        try:
            train_rows, valid_rows = next(splitter.split(y_encoded, y_encoded))
        except ValueError as error:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} cannot split "
                f"{len(y_encoded)} rows of {len(classes)} classes: {error}"
            ) from error
        return train_rows, valid_rows

    def _make_network(
        self, n_classes: int, train: BatchDataset, dtype: torch.dtype
    ) -> FeatureNetwork:
        backbone = make_backbone(self.backbone, self.input_shape_, self.feature_dim)
        backbone = backbone.to(dtype)
        feature_dim = output_dim(backbone, self.input_shape_, dtype)
        return FeatureNetwork(
            backbone,
            self._make_head(feature_dim, n_classes, train).to(dtype),
            normalize_features=self.normalize_features,
            freeze_backbone=self.freeze_backbone,
        )

    @abstractmethod
    def _make_head(
        self, feature_dim: int, n_classes: int, train: BatchDataset
    ) -> nn.Module:
        """Head for ``feature_dim`` features and ``n_classes`` classes."""

    @abstractmethod
    def _make_criterion(self) -> nn.Module:
        """Criterion of :class:`sklgm._net.LossNet`."""

    @abstractmethod
    def _own_callbacks(self) -> list[tuple[str, Any]]:
        """Callbacks that the loss needs, before the user's."""

    @abstractmethod
    def _before_training(self, net: LossNet, train: BatchDataset) -> None:
        """Start the head from data, if it can be."""

    @abstractmethod
    def _after_training(self, net: LossNet, train: BatchDataset) -> None:
        """Finish the head, if there is more than its gradient."""

    @abstractmethod
    def _publish(self, net: LossNet) -> None:
        """Assign the subclass's fitted attributes."""

    def _check_finite(self, net: LossNet) -> None:
        for name, parameter in net.module_.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise ValueError(
                    f"training diverged: {name} is not finite after "
                    f"{len(net.history)} epochs with lr={self.lr!r}; lower lr or "
                    "scale X"
                )

    def _outputs(self, X: ArrayLike) -> tuple[Tensor, ...]:
        check_is_fitted(self, "net_")
        X = validate_instances(self, X, reset=False)
        outputs = infer(self.net_, X, resolve_dtype(self.dtype))
        if not bool(torch.isfinite(outputs[0]).all()):
            raise ValueError(
                f"X holds values too large for the network's {self.dtype}: some "
                "logits are not finite"
            )
        return outputs

    def _logits(self, X: ArrayLike) -> Tensor:
        return self._outputs(X)[0]

    def __sklearn_tags__(self) -> Tags:
        """Tags: images are accepted besides rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
