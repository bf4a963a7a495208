"""What a fitted network answers: features, logits, probabilities and labels."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, logsumexp
from sklearn.base import ClassifierMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import Dataset

from sklgm._inputs import (
    Instances,
    StreamedInstances,
    check_magnitude,
    column_offsets,
    resolve_dtype,
    validate_instances,
    validate_stream,
    validate_targets,
    warn_of_unscaled_images,
)
from sklgm._net import BatchDataset, LossNet, infer, net_dtype


class NetworkPrediction(ClassifierMixin, TransformerMixin, metaclass=ABCMeta):
    """The methods that ask a fitted network, and how instances are read for it.

    Subclasses fit ``net_``, and say how logits are made from features
    (:meth:`_feature_logits`).
    """

    input_shape: Sequence[int] | None
    dtype: str | torch.dtype
    classes_: NDArray[Any]
    net_: LossNet
    _column_offsets: NDArray[np.float64] | None

    def predict(self, X: ArrayLike | Dataset[Any]) -> NDArray[Any]:
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        check_is_fitted(self, "net_")
        return self._predicted(self._validated_instances(X, reset=False))

    def predict_proba(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In [0, 1], rows sum to 1; columns in the order of ``classes_``.
        """
        proba: NDArray[np.floating] = np.exp(self.predict_log_proba(X))
        return proba

    def predict_log_proba(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Natural log of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Values <= 0; columns in the order of ``classes_``.
        """
        logits, dtype = self._logits(X)
        # Compared in the precision of the head; of one type with predict_proba then.
        logits = (logits - logits.max(axis=1, keepdims=True)).astype(dtype)
        log_proba: NDArray[np.floating] = log_softmax(logits, axis=1)
        return log_proba

    def decision_function(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Logits of each class; for two classes the second minus the first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Natural-log scale; higher speaks for the class.
        """
        logits, dtype = self._logits(X)
        if len(self.classes_) == 2:
            logits = logits[:, 1] - logits[:, 0]
        decision: NDArray[np.floating] = logits.astype(dtype)
        return decision

    def _score_samples(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Natural log of the sum over classes of exp(logit), shape (n_samples,)."""
        logits, dtype = self._logits(X)
        scores: NDArray[np.floating] = logsumexp(logits, axis=1).astype(dtype)
        return scores

    def transform(self, X: ArrayLike | Dataset[Any]) -> NDArray[np.floating]:
        """Features of each row: the output of the backbone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, feature_dim)
            Features, as the head sees them.
        """
        check_is_fitted(self, "net_")
        return self._features(self._validated_instances(X, reset=False))

    def score(
        self,
        X: ArrayLike | Dataset[Any],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Share of the rows whose label is predicted.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
                or torch.utils.data.Dataset
            Instances.
        y : array-like of shape (n_samples,) or None, default=None
            Labels; None only where X is a ``Dataset`` of (instance, label) tuples,
            which is then read once for both (twice with worker processes).
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.

        Returns
        -------
        float
            Accuracy in [0, 1].
        """
        check_is_fitted(self, "net_")
        instances = self._validated_instances(X, reset=False)
        if y is None and isinstance(instances, StreamedInstances):
            instances.check_labelled()
        predicted_labels = self._predicted(instances)
        y, weight = validate_targets(type(self).__name__, instances, y, sample_weight)
        return float(accuracy_score(y, predicted_labels, sample_weight=weight))

    def _validated_instances(
        self, X: ArrayLike | Dataset[Any], *, reset: bool
    ) -> Instances:
        shape = None if self.input_shape is None else tuple(self.input_shape)
        if isinstance(X, Dataset):
            stream = validate_stream(self, X, reset=reset, input_shape=shape)
            if reset:
                self._column_offsets = None
                warn_of_unscaled_images(stream, stacklevel=4)
            return stream
        instances = validate_instances(self, X, reset=reset, input_shape=shape)
        if reset:
            # Of who called the decorated fit.
            warn_of_unscaled_images(instances, stacklevel=4)
            names = getattr(self, "feature_names_in_", None)
            check_magnitude(instances, resolve_dtype(self.dtype), names)
            is_centred = resolve_dtype(self.dtype) == torch.float32
            is_centred = is_centred and not self._takes_rows_alone()
            self._column_offsets = column_offsets(instances) if is_centred else None
        if self._column_offsets is None:
            return instances
        return instances - self._column_offsets

    @abstractmethod
    def _feature_logits(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        """Logits (n_samples, n_classes) of features (n_samples, feature_dim)."""

    def _takes_rows_alone(self) -> bool:
        """Whether no other row may have a part in the features of a row."""
        return False

    def _features(self, instances: Instances) -> NDArray[np.floating]:
        """Features (n_samples, feature_dim), finite."""
        dataset = BatchDataset(instances, None, None, net_dtype(self.net_))
        values = infer(self.net_, dataset, output=1)
        if not bool(torch.isfinite(values).all()):
            raise ValueError(
                "X holds values too large for the network's "
                f"{dtype_name(dataset.dtype)}: some of its features are not finite"
            )
        features: NDArray[np.floating] = values.numpy()
        return features

    def _logits(
        self, X: ArrayLike | Dataset[Any]
    ) -> tuple[NDArray[np.floating], np.dtype[Any]]:
        """Logits (n_samples, n_classes), and the type in which they are returned."""
        features = self.transform(X)
        return self._feature_logits(features), features.dtype

    def _predicted(self, instances: Instances) -> NDArray[Any]:
        logits = self._feature_logits(self._features(instances))
        labels: NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return labels

    def __sklearn_tags__(self) -> Tags:
        """Tags: images are accepted besides rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a type of torch, such as ``"float32"``.

    Parameters
    ----------
    dtype : torch.dtype
        The type.

    Returns
    -------
    str
        Without ``torch.``.
    """
    return str(dtype).removeprefix("torch.")
