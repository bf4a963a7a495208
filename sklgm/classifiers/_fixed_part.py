"""The part of an estimator that training leaves as it is, applied to rows once."""

import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from torch import nn

from sklgm._inputs import (
    Instances,
    resolve_dtype,
    split_steps,
    transform_by_steps,
)
from sklgm._net import BatchDataset, backbone_outputs, net_dtype, with_backbone
from sklgm._running import Progress
from sklgm.classifiers._network import NetworkClassifier, is_identity
from sklgm.nn import make_backbone, output_dim

_PASSES = (None, "passthrough")


class FixedPart:
    """What an estimator does to rows whatever it is trained on, and the rest of it.

    Models of several folds share it: rows pass it once, and each fold trains the rest.

    Parameters
    ----------
    estimator : estimator
        The whole.
    n_steps : int
        Steps of a Pipeline that are fixed.
    backbone : FrozenBackbone or None
        Of its last step, if all steps before it are fixed.

    Attributes
    ----------
    trainable : estimator
        Not fitted; takes what :meth:`transform` gives.
    """

    def __init__(
        self, estimator: Any, n_steps: int, backbone: "FrozenBackbone | None"
    ) -> None:
        self.estimator = estimator
        self.backbone = backbone
        steps = estimator.steps[:n_steps] if isinstance(estimator, Pipeline) else []
        # A step that learns nothing is fitted for the number of columns alone.
        self.steps = [(name, clone(step)) for name, step in steps]
        if backbone is not None:
            self.trainable: Any = backbone.head()
        else:
            self.trainable = _with_steps(estimator, estimator.steps[n_steps:])

    @classmethod
    def of(cls, estimator: Any) -> "Self | FrozenNetwork | None":
        """Find the fixed part of an estimator that is to be fitted.

        Parameters
        ----------
        estimator : estimator
            Any.

        Returns
        -------
        FixedPart, FrozenNetwork or None
            A frozen backbone that was given as a module (``freeze_backbone=True``, no
            augmentation), alone or at the end of a Pipeline whose other steps are
            fixed; the first steps of a Pipeline, where a ``FrozenEstimator`` is among
            them; or the backbone of a ``FrozenEstimator``. None of any other.
        """
        if isinstance(estimator, FrozenEstimator):
            return FrozenNetwork.of(estimator)
        if not isinstance(estimator, Pipeline):
            backbone = FrozenBackbone.of(estimator)
            return None if backbone is None else cls(estimator, 0, backbone)
        steps = [step for _, step in estimator.steps]
        n_steps = 0
        while n_steps < len(steps) - 1 and _is_fixed(steps[n_steps]):
            n_steps += 1
        is_last = n_steps == len(steps) - 1
        backbone = FrozenBackbone.of(steps[-1]) if is_last else None
        if backbone is None and not any(
            isinstance(step, FrozenEstimator) for step in steps[:n_steps]
        ):
            return None
        return cls(estimator, n_steps, backbone)

    @classmethod
    def of_fitted(cls, estimator: Any, fitted: Any) -> Self:
        """Find the fixed part again, in a model that :meth:`joined` made.

        Parameters
        ----------
        estimator : estimator
            As :meth:`of` took it; it has a fixed part of this kind.
        fitted : estimator
            Fitted, like a clone of it.

        Returns
        -------
        FixedPart
            It shares what is fixed with the model.
        """
        part = cls.of(estimator)
        assert isinstance(part, cls)
        last = fitted
        if isinstance(estimator, Pipeline):
            part.steps, last = fitted.steps[: len(part.steps)], fitted.steps[-1][1]
        if part.backbone is not None:
            part.backbone.take(last)
        return part

    def fit_transform(self, X: Any, progress: Progress | None = None) -> Any:
        """Learn the shape of rows, and pass them.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            All rows.
        progress : callable or None, default=None
            Called with the name of the stage, rows done and rows in all.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, ...)
            What the rest takes; memory-mapped where it is large.
        """
        for _, step in self.steps:
            if step not in _PASSES:
                X = step.fit(X, None).transform(X)
        return X if self.backbone is None else self.backbone.start(X, progress)

    def transform(self, X: Any) -> Any:
        """Pass other rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows like those of :meth:`fit_transform`.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, ...)
            What the rest takes.
        """
        for _, step in self.steps:
            if step not in _PASSES:
                X = step.transform(X)
        return X if self.backbone is None else self.backbone.outputs(X)

    def joined(self, fitted: Any) -> Any:
        """Put the fixed part before a fitted rest.

        Parameters
        ----------
        fitted : estimator
            A clone of ``trainable``, fitted.

        Returns
        -------
        estimator
            Fitted, like a clone of the whole; it shares the fixed part.
        """
        if self.backbone is not None:
            fitted = self.backbone.joined(fitted)
            if not isinstance(self.estimator, Pipeline):
                return fitted
            rest = [(self.estimator.steps[-1][0], fitted)]
        else:
            rest = fitted.steps
        return _with_steps(self.estimator, [*self.steps, *rest])


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A fitted network that is kept as it is, for what is learnt of its features.

    Parameters
    ----------
    estimator : FrozenEstimator
        Of a fitted classifier with a backbone, alone or at the end of a Pipeline.
    """

    estimator: FrozenEstimator

    @property
    def trainable(self) -> FrozenEstimator:
        """The classifier of outputs; it shares the state of the one that was given."""
        _, classifier = split_steps(self.estimator)
        return FrozenEstimator(_of_outputs(classifier))

    @classmethod
    def of(cls, estimator: FrozenEstimator) -> Self | None:
        """Take a network that is frozen as a whole.

        Parameters
        ----------
        estimator : FrozenEstimator
            Any.

        Returns
        -------
        FrozenNetwork or None
            None where there is no backbone, or nothing was fitted.
        """
        _, last = split_steps(estimator)
        is_fitted = isinstance(last, NetworkClassifier) and hasattr(last, "net_")
        return cls(estimator) if is_fitted and not is_identity(last.backbone) else None

    def fit_transform(self, X: Any, progress: Progress | None = None) -> Any:
        """Pass all rows: (n_samples, feature_dim)."""
        steps, classifier = split_steps(self.estimator)
        X = transform_by_steps(steps, X)
        return backbone_outputs(
            classifier.net_.module_.backbone,
            BatchDataset(
                classifier._validated_instances(X, reset=False),
                None,
                None,
                net_dtype(classifier.net_),
            ),
            torch.device(classifier.net_.device),
            classifier._checked_nested_params(),
            progress,
            test_time_flip=classifier.net_.module_.test_time_flip,
        )

    def transform(self, X: Any) -> Any:
        """Pass other rows: (n_samples, feature_dim)."""
        return self.fit_transform(X)

    def joined(self, fitted: Any) -> FrozenEstimator:
        """Return the network as it was given."""
        return self.estimator


class FrozenBackbone:
    """The frozen backbone of a classifier, and what rows it takes.

    Parameters
    ----------
    classifier : NetworkClassifier
        Its backbone is a module, which is copied.
    """

    def __init__(self, classifier: NetworkClassifier) -> None:
        self._classifier: NetworkClassifier = clone(classifier)
        self._module: nn.Module = nn.Identity()

    @classmethod
    def of(cls, estimator: Any) -> Self | None:
        """Take the backbone of an estimator, if it is a frozen module.

        Parameters
        ----------
        estimator : estimator
            Any.

        Returns
        -------
        FrozenBackbone or None
            None where features depend on what is trained, or are drawn anew.
        """
        is_module = isinstance(getattr(estimator, "backbone", None), nn.Module)
        if not (isinstance(estimator, NetworkClassifier) and is_module):
            return None
        return cls(estimator) if estimator._passes_backbone_once() else None

    def head(self) -> NetworkClassifier:
        """Return the classifier, not fitted, of the outputs of the backbone."""
        head: NetworkClassifier = copy.copy(self._classifier)
        head.backbone, head.input_shape = "identity", None
        head.test_time_flip = False
        return head

    def start(self, X: Any, progress: Progress | None = None) -> NDArray[np.floating]:
        """Learn the shape of rows, and pass them: (n_samples, feature_dim)."""
        classifier = self._classifier
        classifier._validate_params()
        instances = classifier._validated_instances(X, reset=True)
        dtype = resolve_dtype(classifier.dtype)
        shape = classifier.input_shape_
        module = make_backbone(classifier.backbone, shape, classifier.feature_dim)
        self._module = module.to(dtype).requires_grad_(False)
        output_dim(self._module, shape, dtype)  # refuses what is not a backbone
        return self._passed(instances, progress)

    def outputs(self, X: Any) -> NDArray[np.floating]:
        """Pass other rows: (n_samples, feature_dim)."""
        return self._passed(self._classifier._validated_instances(X, reset=False), None)

    def joined(self, fitted: NetworkClassifier) -> NetworkClassifier:
        """Put the backbone into a fitted classifier of its outputs."""
        template = self._classifier
        joined: NetworkClassifier = copy.copy(fitted)
        joined.backbone, joined.input_shape = template.backbone, template.input_shape
        joined.test_time_flip = template.test_time_flip
        _copy_shape(template, joined)
        joined.net_ = with_backbone(
            fitted.net_,
            self._module,
            test_time_flip=template.test_time_flip,
        )
        joined.history_ = joined.net_.history
        return joined

    def take(self, joined: NetworkClassifier) -> None:
        """Take the backbone, and the shape of rows, of what :meth:`joined` made."""
        self._module = joined.net_.module_.backbone
        _copy_shape(joined, self._classifier)

    def _passed(
        self, instances: Instances, progress: Progress | None
    ) -> NDArray[np.floating]:
        classifier = self._classifier
        dtype = resolve_dtype(classifier.dtype)
        return backbone_outputs(
            self._module,
            BatchDataset(instances, None, None, dtype),
            classifier._training_device(dtype),
            classifier._checked_nested_params(),
            progress,
            test_time_flip=classifier.test_time_flip,
        )


def _of_outputs(fitted: NetworkClassifier) -> NetworkClassifier:
    """Fitted classifier of the outputs of the backbone of another."""
    head: NetworkClassifier = copy.copy(fitted)
    head.backbone, head.input_shape = "identity", None
    head.test_time_flip = False
    head.net_ = with_backbone(fitted.net_, nn.Flatten(), test_time_flip=False)
    feature_dim = fitted.net_.module_.head.feature_dim
    head.input_shape_, head.n_features_in_ = (feature_dim,), feature_dim
    head.__dict__.pop("feature_names_in_", None)
    return head


def _is_fixed(step: Any) -> bool:
    """Whether a step of a Pipeline does the same to rows whatever it is fitted on."""
    if step in _PASSES:
        return True
    if not hasattr(step, "transform"):
        return False
    return isinstance(step, FrozenEstimator) or not get_tags(step).requires_fit


def _with_steps(pipeline: Pipeline, steps: list[Any]) -> Pipeline:
    """Copy a Pipeline, with other steps."""
    copied = copy.copy(pipeline)
    copied.steps = steps
    return copied


def _copy_shape(known: NetworkClassifier, to: NetworkClassifier) -> None:
    """Copy what a fitted classifier knows of the shape of its rows."""
    for name in (
        "input_shape_",
        "n_features_in_",
        "feature_names_in_",
        "_column_offsets",
    ):
        if hasattr(known, name):
            setattr(to, name, getattr(known, name))
