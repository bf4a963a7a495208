"""The skorch net: its loss hook, its state, and passing rows through it."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.history import History
from skorch.utils import to_tensor
from torch import Tensor

from sklgm._net._augment import Augmentation
from sklgm._net._batches import Batch, BatchDataset
from sklgm._net._loaders import ordered_loader
from sklgm._random import generators_kept
from sklgm._running import interrupts_are_raised, tell_epoch
from sklgm.losses import weighted_mean
from sklgm.nn import FeatureNetwork

# What of ``iterator_valid__*`` says how rows are read, and not which or in what order.
INFERENCE_SETTINGS = (
    "batch_size",
    "collate_fn",
    "num_workers",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)


class LossNet(NeuralNet):
    """A skorch net whose criterion sees the head and the sample weights.

    Attributes
    ----------
    was_interrupted : bool
        Whether Ctrl-C ended the last training; skorch keeps the model and is silent.
    n_resumed : int
        Epochs that were taken over from a training that was cut off.
    augmentation : callable or None
        Changes the instances of training batches.
    n_before, n_total : int
        Epochs trained before by another net, and of the whole training.
    constant_rates : list of dict
        What a schedule changes in each group of the optimiser, as it was before.
    """

    was_interrupted = False
    n_resumed = 0
    augmentation: Augmentation | None = None
    n_before = 0
    n_total = 0
    constant_rates: list[dict[str, Any]]

    def end_schedule(self) -> None:
        """Go on at the constant learning rate that the schedule started from."""
        kept = [(n, c) for n, c in self.callbacks_ if n != "lr_schedule"]  # type: ignore[has-type]
        self.callbacks_ = kept
        for group, constant in zip(
            self.optimizer_.param_groups, self.constant_rates, strict=True
        ):
            group.update(constant)

    def continue_history(self, before: "LossNet") -> None:
        """Put the epochs of another net before those of this one.

        Once it is trained: schedules and callbacks count from its own first epoch.
        """
        self.history_ = History([*before.history, *self.history])

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> "LossNet":
        """Train; skorch keeps the model so far where the user interrupts it."""
        super().partial_fit(X, y, classes, **fit_params)
        if self.was_interrupted and interrupts_are_raised():
            raise KeyboardInterrupt
        return self

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> "LossNet":
        """Train, and note whether the user interrupted it."""
        self.was_interrupted = False
        epochs = self.max_epochs if epochs is None else epochs
        try:
            super().fit_loop(X, y, epochs=epochs - self.n_resumed, **fit_params)
        except KeyboardInterrupt as error:
            self.was_interrupted = not _is_early_stop(error)
            raise
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Index of the most probable class, which scorers of skorch compare with y."""
        indices: NDArray[np.int64] = self.predict_proba(X).argmax(axis=1)
        return indices

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell the callbacks, but those that would do nothing."""
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            if _listens(type(callback), method_name):  # type: ignore[arg-type]
                getattr(callback, method_name)(self, **cb_kwargs)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Tell how far the whole training is, if anyone listens."""
        super().on_epoch_end(net, **kwargs)
        if self.n_total > 0:
            n_done = min(self.n_before + len(self.history), self.n_total)
            tell_epoch(n_done, self.n_total)

    def run_single_epoch(
        self, iterator: Any, training: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Set the mode of every module once, and pass the batches of an epoch."""
        self._set_training(training)
        super().run_single_epoch(iterator, training, *args, **kwargs)

    def train_step(self, batch: Batch, **fit_params: Any) -> Any:
        """Augment the batch, once, and take a step."""
        if self.augmentation is not None:
            X, y_encoded = batch
            instances = self.augmentation(X["X"].to(self.device))
            batch = ({**X, "X": instances}, y_encoded)
        return super().train_step(batch, **fit_params)

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Compute outputs, loss and gradients of a batch."""
        if not self.module_.training:  # a callback has passed rows through the net
            self._set_training(True)
        X, y_encoded = batch
        features = self._features(X)
        weight = X.get("sample_weight")  # none: all are 1
        loss, logits, distances = self.criterion_.of_training(
            features,
            y_encoded.to(self.device),
            self.module_.head,
            None if weight is None else weight.to(self.device),
        )
        loss = self._backward(loss, len(y_encoded))
        return {
            "loss": loss,
            "y_pred": (logits, features),
            "claimed_distances": distances,
        }

    def infer(self, x: Any, **fit_params: Any) -> tuple[Tensor, ...]:
        """Compute the outputs of the network for a batch."""
        if not isinstance(x, dict):
            x = {"X": to_tensor(x, device=self.device)}
        features = self._features(x)
        logits, *further = self.module_.head(features)
        return (logits, features, *further)

    def get_loss(
        self,
        y_pred: tuple[Tensor, ...],
        y_true: Tensor,
        X: Mapping[str, Tensor] | None = None,
        training: bool = False,
    ) -> Tensor:
        """Weighted mean of the criterion's losses; validation has no margin."""
        loss: Tensor = self.criterion_(
            y_pred, y_true.to(self.device), self.module_.head, training
        )
        weight = (X or {}).get("sample_weight")
        return weighted_mean(loss, None if weight is None else weight.to(loss.device))

    def _features(self, X: Mapping[str, Tensor]) -> Tensor:
        return features_of(self.module_, X, torch.device(str(self.device)))

    def initialize_optimizer_anew(self) -> None:
        """Make an optimiser of the parameters as they are, without any state."""
        self._initialize_optimizer()
        rates = self.constant_rates[0]
        self.constant_rates = [rates] * len(self.optimizer_.param_groups)

    def gathered(self, values: Tensor) -> Tensor:
        """Join what all processes hold, shape (n_values, ...), one after the other."""
        return values

    def _backward(self, loss: Tensor, n_rows: int) -> Tensor:
        """Compute gradients of the loss of so many rows; return what is recorded."""
        loss.backward()  # type: ignore[no-untyped-call]
        return loss


def features_of(
    network: FeatureNetwork, X: Mapping[str, Tensor], device: torch.device
) -> Tensor:
    """Features of a batch, whose rows may have passed a frozen backbone before.

    Parameters
    ----------
    network : FeatureNetwork
        The network, on the device.
    X : mapping of str to Tensor
        A batch: ``"X"``, or ``"output"`` of the backbone.
    device : torch.device
        Where to compute.

    Returns
    -------
    Tensor of shape (n_rows, feature_dim)
        What the head sees.
    """
    if "output" in X:
        return network.scaled(X["output"].to(device))
    return network.features(X["X"].to(device))


@lru_cache
def _listens(kind: type, method_name: str) -> bool:
    """Whether a class of callbacks does anything when it is told of an event."""
    return getattr(kind, method_name) is not getattr(Callback, method_name, None)


def _is_early_stop(error: KeyboardInterrupt) -> bool:
    """Whether early stopping ended training, which raises the same exception."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and isinstance(
        traceback.tb_frame.f_locals.get("self"), EarlyStopping
    )


def n_complete_epochs(net: LossNet) -> int:
    """Epochs that came to their end; an interrupted one leaves no loss.

    Parameters
    ----------
    net : LossNet
        Any net.

    Returns
    -------
    int
        Their number, over all trainings of the net.
    """
    return sum("train_loss" in epoch for epoch in net.history)


def net_dtype(net: LossNet) -> torch.dtype:
    """Type in which a net computes, that of its head.

    Parameters
    ----------
    net : LossNet
        An initialised net.

    Returns
    -------
    torch.dtype
        float32 or float64.
    """
    parameter: Tensor = next(net.module_.head.parameters())
    return parameter.dtype


@contextmanager
def restored_on_error(net: LossNet | None) -> Iterator[None]:
    """Put a net back as it was if what is done with it fails.

    Parameters
    ----------
    net : LossNet or None
        The net that goes on training; None does nothing.

    Yields
    ------
    None
        For the length of a ``with`` block.
    """
    if net is None:
        yield
        return
    module = copy.deepcopy(net.module_.state_dict())
    optimizer = copy.deepcopy(net.optimizer_.state_dict())
    dtype, n_epochs = net_dtype(net), len(net.history)
    try:
        yield
    except BaseException:
        net.module_.to(dtype).load_state_dict(module)
        net.optimizer_.load_state_dict(optimizer)
        del net.history[n_epochs:]
        raise


def stops_early(net: LossNet) -> bool:
    """Whether a net was built to watch a validation loss.

    Parameters
    ----------
    net : LossNet
        An initialised net.

    Returns
    -------
    bool
        True if training it needs validation rows.
    """
    return any(
        isinstance(callback, EarlyStopping) and callback.monitor == "valid_loss"
        for _, callback in net.callbacks_
    )


def batches_of(net: LossNet, dataset: BatchDataset) -> Iterator[tuple[Tensor, ...]]:
    """Pass a data set through a net in evaluation mode.

    Every row is passed, in order, whatever ``iterator_valid__*`` says of shuffling,
    sampling or a last batch that is not full.

    Parameters
    ----------
    net : LossNet
        A trained net.
    dataset : BatchDataset
        The rows, in order.

    Yields
    ------
    tuple of Tensor on the CPU
        Of each batch: logits (n_rows, n_classes) and features (n_rows, feature_dim).
    """
    given = net.get_params_for("iterator_valid")
    settings = {name: given[name] for name in INFERENCE_SETTINGS if name in given}
    device = torch.device(str(net.device))
    loader = ordered_loader(dataset, device=device, is_read_again=False, **settings)
    # The items of a stream may be drawn at random; arrays draw nothing.
    is_array = isinstance(dataset.X, np.ndarray)
    with nullcontext() if is_array else generators_kept():
        for batch in loader:
            outputs = net.evaluation_step(batch, training=False)
            yield tuple(output.cpu() for output in outputs)


def infer(net: LossNet, dataset: BatchDataset, *, output: int) -> Tensor:
    """One output of the network for every row, in evaluation mode.

    Parameters
    ----------
    net : LossNet
        A trained net.
    dataset : BatchDataset
        The rows.
    output : int
        0 for logits, 1 for features.

    Returns
    -------
    Tensor on the CPU of shape (n_samples, ...)
        Filled batch by batch: nothing else of the size of the data set is made.
    """
    filled = torch.empty(0)
    start = 0
    for outputs in batches_of(net, dataset):
        part = outputs[output]
        if start == 0:
            filled = torch.empty(len(dataset), *part.shape[1:], dtype=part.dtype)
        filled[start : start + len(part)] = part
        start += len(part)
    return filled
