"""The only file that imports skorch: the net, its loss hook, its callbacks."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PassthroughScoring
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from sklgm._validation import Instances
from sklgm.gaussian import GaussianEstimate, Trim, estimate_gaussians
from sklgm.losses import (
    lgm_classification_loss,
    lgm_likelihood_loss,
    softmax_loss,
    weighted_mean,
)
from sklgm.nn import FeatureNetwork, GaussianMixtureHead

Batch = tuple[dict[str, Tensor], Tensor]

_NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}

# Rows passed at once where nothing is trained; bounds memory, changes no result.
_INFERENCE_BATCH_SIZE = 512


class BatchDataset(Dataset[Batch]):
    """Instances with labels and weights, cast to tensors a batch at a time.

    Parameters
    ----------
    X : ndarray of shape (n_instances, *input_shape) or StreamedInstances
        Instances of any numeric type; may be read-only or memory-mapped, since a
        batch is a copy.
    y_encoded : ndarray of shape (n_instances,) or None
        Class indices; None stands for zeros (prediction).
    sample_weight : ndarray of shape (n_instances,) or None
        Weights >= 0; None stands for ones.
    dtype : torch.dtype
        Type of the batches.
    rows : ndarray of shape (n_samples,) or None, default=None
        The instances of this data set, by index: nothing is copied but batches.
        None: all.

    Attributes
    ----------
    is_kept : Tensor of bool of shape (n_samples,)
        Rows that enter the loss; :meth:`keep` sets it.
    """

    def __init__(
        self,
        X: Instances,
        y_encoded: NDArray[np.int64] | None,
        sample_weight: NDArray[np.float64] | None,
        dtype: torch.dtype,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.X = X
        self.rows = np.arange(len(X)) if rows is None else rows
        n_samples = len(self.rows)
        self.y_encoded = (
            np.zeros(n_samples, dtype=np.int64)
            if y_encoded is None
            else y_encoded[self.rows]
        )
        self.sample_weight = (
            np.ones(n_samples) if sample_weight is None else sample_weight[self.rows]
        )
        self.is_kept = torch.ones(n_samples, dtype=torch.bool)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Let only some rows enter the loss, shape (n_samples,)."""
        # Shared, so that worker processes that outlive an epoch see it change.
        self.is_kept.share_memory_()  # type: ignore[no-untyped-call]
        self.is_kept.copy_(torch.from_numpy(is_kept))

    def class_count(self, n_classes: int) -> NDArray[np.float64]:
        """Sum the weights of each class, shape (n_classes,)."""
        count: NDArray[np.float64] = np.bincount(
            self.y_encoded, weights=self.sample_weight, minlength=n_classes
        ).astype(np.float64)
        return count

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Rows of one batch; a whole batch at once is far faster than row by row."""
        rows = np.asarray(indices)
        weight = self.sample_weight[rows] * self.is_kept.numpy()[rows]
        # numpy casts what torch cannot read: other byte orders, extended precision.
        # What overflows there is refused later, where logits are not finite.
        with np.errstate(over="ignore"):
            X = np.ascontiguousarray(
                self.X[self.rows[rows]], dtype=_NUMPY_DTYPES[self.dtype]
            )
        batch = {
            "X": torch.from_numpy(X),
            "sample_weight": torch.from_numpy(weight).to(self.dtype),
        }
        return batch, torch.from_numpy(self.y_encoded[rows])


def keep_batch(batch: Any) -> Any:
    """Collate nothing: :class:`BatchDataset` returns whole batches."""
    return batch


class LossNet(NeuralNet):
    """A skorch net whose criterion sees the head and the sample weights.

    Attributes
    ----------
    was_interrupted : bool
        Whether Ctrl-C ended the last training; skorch keeps the model and is silent.
    """

    was_interrupted = False

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> "LossNet":
        """Train, and note whether the user interrupted it."""
        self.was_interrupted = False
        try:
            super().fit_loop(X, y, epochs=epochs, **fit_params)
        except KeyboardInterrupt as error:
            self.was_interrupted = not _is_early_stop(error)
            raise
        return self

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
        weight = None if X is None else X["sample_weight"].to(self.device)
        return weighted_mean(loss, weight)


def _is_early_stop(error: KeyboardInterrupt) -> bool:
    """Whether early stopping ended training, which raises the same exception."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and isinstance(
        traceback.tb_frame.f_locals.get("self"), EarlyStopping
    )


class NoSingleRowSampler(BatchSampler):
    """Batches of rows in which none but an only row stands alone.

    Batch normalisation cannot be trained on a single row, so a last batch of one
    joins the batch before it. ``batch_size=1`` asks for single rows and gets them.
    """

    def __iter__(self) -> Iterator[list[int]]:
        previous: list[int] | None = None
        for batch in super().__iter__():
            if previous is not None:
                if len(batch) == 1 < self.batch_size:
                    batch = previous + batch
                else:
                    yield previous
            previous = batch
        if previous is not None:
            yield previous


def train_loader(
    dataset: BatchDataset,
    *,
    batch_size: int,
    generator: torch.Generator,
    shuffle: bool = True,
    drop_last: bool = False,
    **kwargs: Any,
) -> DataLoader[Batch]:
    """Loader of training batches; ``iterator_train__*`` are its arguments."""
    rows: Sampler[int] = (
        RandomSampler(dataset, generator=generator)
        if shuffle
        else SequentialSampler(dataset)
    )
    batches = NoSingleRowSampler(rows, batch_size, drop_last)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=keep_batch, **kwargs)


class LGMCriterion(nn.Module):
    """Large-margin Gaussian mixture loss of a batch, a value a row.

    Parameters
    ----------
    margin : float >= 0
        Classification margin in training; validation uses 0.
    likelihood_weight : float >= 0
        Weight of the likelihood term.
    """

    def __init__(self, margin: float, likelihood_weight: float) -> None:
        super().__init__()
        self.margin = margin
        self.likelihood_weight = likelihood_weight

    def forward(
        self,
        outputs: tuple[Tensor, ...],
        y_encoded: Tensor,
        head: GaussianMixtureHead,
        training: bool,
    ) -> Tensor:
        """Loss of each row, shape (n_samples,)."""
        log_joint, _, distances = outputs
        margin = self.margin if training else 0.0
        loss = lgm_classification_loss(log_joint, distances, y_encoded, margin)
        if self.likelihood_weight > 0.0:
            likelihood = lgm_likelihood_loss(
                distances, head.log_determinants(), y_encoded
            )
            loss = loss + self.likelihood_weight * likelihood
        return loss


class SoftmaxCriterion(nn.Module):
    """Softmax cross-entropy of a batch, a value a row."""

    def forward(
        self,
        outputs: tuple[Tensor, ...],
        y_encoded: Tensor,
        head: nn.Module,
        training: bool,
    ) -> Tensor:
        """Loss of each row, shape (n_samples,)."""
        return softmax_loss(outputs[0], y_encoded)


class MarginGrowth(Callback):
    """Let the margin grow linearly from 0 over the first epochs.

    Parameters
    ----------
    margin : float >= 0
        Final margin.
    n_epochs : float >= 0
        Length of the growth; 0 sets the final margin at once.
    """

    def __init__(self, margin: float, n_epochs: float) -> None:
        self.margin = margin
        self.n_epochs = n_epochs

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set this epoch's margin; epochs are counted over all trainings of a net."""
        n_before = len(net.history) - 1
        share = min(1.0, n_before / self.n_epochs) if self.n_epochs > 0 else 1.0
        net.criterion_.margin = self.margin * share


class TrimmedGaussians(Callback):
    """Estimate the class Gaussians from the best-fitting rows at each epoch's start.

    Rows left out have weight 0 in the epoch's loss.

    Parameters
    ----------
    trim : float in (0, 0.5) or "auto"
        Share of each class that is left out.
    variance : float > 0
        See :func:`sklgm.gaussian.estimate_gaussians`.
    """

    def __init__(self, trim: Trim, variance: float) -> None:
        self.trim = trim
        self.variance = variance

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: BatchDataset, **kwargs: Any
    ) -> None:
        """Estimate again and set the rows' weights."""
        dataset_train.keep(
            set_trimmed_gaussians(
                net, dataset_train, trim=self.trim, variance=self.variance
            )
        )


class ValidationAccuracy(Callback):
    """Record the share of correct rows of every validation batch."""

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Batch,
        training: bool,
        y_pred: tuple[Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record ``valid_acc`` of the batch."""
        if not training and y_pred is not None:
            hits = y_pred[0].argmax(dim=1).cpu() == batch[1]
            net.history.record_batch("valid_acc", float(hits.double().mean()))


def one_cycle(
    max_lr: float | Sequence[float], n_rows: int, batch_size: int, n_epochs: int
) -> Callback:
    """Learning-rate schedule: up to ``max_lr``, then down to zero, a step a batch.

    Parameters
    ----------
    max_lr : float > 0, or sequence of them
        Highest learning rate; one for each group of ``optimizer__param_groups`` and
        one, the last, for all other parameters.
    n_rows : int
        Training rows.
    batch_size : int
        Rows a batch.
    n_epochs : int
        Epochs of the whole training.

    Returns
    -------
    skorch.callbacks.Callback
        For the ``callbacks`` of a classifier.

    References
    ----------
    L. N. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural
    Networks Using Large Learning Rates", 2017.
    """
    return LRScheduler(
        policy=torch.optim.lr_scheduler.OneCycleLR,
        step_every="batch",
        max_lr=max_lr,
        total_steps=max(1, n_epochs * -(-n_rows // batch_size)) + 1,
    )


def step_decay(n_epochs: int) -> Callback:
    """Learning-rate schedule: a tenth of the rate after ``n_epochs``.

    Parameters
    ----------
    n_epochs : int
        Epochs at the full rate.

    Returns
    -------
    skorch.callbacks.Callback
        For the ``callbacks`` of a classifier.
    """
    return LRScheduler(
        policy=torch.optim.lr_scheduler.MultiStepLR, milestones=[n_epochs], gamma=0.1
    )


def build_net(
    network: FeatureNetwork,
    criterion: nn.Module,
    *,
    optimizer: type[torch.optim.Optimizer],
    lr: float,
    max_epochs: int,
    batch_size: int,
    device: torch.device,
    verbose: int,
    callbacks: Sequence[Any],
    patience: int | None,
    valid_dataset: BatchDataset | None,
    generator: torch.Generator,
    nested: Mapping[str, Any],
) -> LossNet:
    """Build and initialise a skorch net around a network.

    Parameters
    ----------
    network : FeatureNetwork
        The network to train; used as it is, not copied.
    criterion : nn.Module
        :class:`LGMCriterion` or :class:`SoftmaxCriterion`.
    optimizer : type of torch.optim.Optimizer
        Its class; constructed with ``lr`` and the nested ``optimizer__*``.
    lr : float > 0
        Learning rate.
    max_epochs : int >= 0
        Number of epochs.
    batch_size : int >= 1 or -1
        Rows a batch; -1 takes all rows at once.
    device : torch.device
        Where to train.
    verbose : int >= 0
        0 prints nothing, 1 one line an epoch.
    callbacks : sequence of skorch callbacks
        The user's come last; each is deep-copied, never mutated.
    patience : int or None
        Epochs without a lower validation loss before training ends.
    valid_dataset : BatchDataset or None
        Validation rows.
    generator : torch.Generator
        Source of the shuffling.
    nested : mapping of str to object
        skorch's nested parameters, such as ``optimizer__weight_decay``.

    Returns
    -------
    LossNet
        Initialised, not trained.
    """
    own: list[tuple[str, Any]] = [
        ("valid_acc_batch", ValidationAccuracy()),
        ("valid_acc", PassthroughScoring("valid_acc", lower_is_better=False)),
    ]
    if patience is not None:
        own.append(("early_stopping", EarlyStopping(patience=patience, load_best=True)))
    settings: dict[str, Any] = {
        "iterator_train": train_loader,
        "iterator_train__generator": generator,
        "iterator_valid__collate_fn": keep_batch,
        "iterator_valid__batch_size": _INFERENCE_BATCH_SIZE,
        **nested,
    }
    net = LossNet(
        network,
        criterion,
        optimizer=optimizer,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        device=str(device),
        verbose=verbose,
        callbacks=own + copy.deepcopy(list(callbacks)),
        train_split=None if valid_dataset is None else predefined_split(valid_dataset),
        **settings,
    )
    net.initialize()
    return net


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

    Parameters
    ----------
    net : LossNet
        A trained net.
    dataset : BatchDataset
        The rows, in order.

    Yields
    ------
    tuple of Tensor on the CPU
        Of each batch: logits (n_rows, n_classes), features (n_rows, feature_dim)
        and what else the head returns.
    """
    # A DataLoader draws a seed from torch's global generator at each iteration.
    with torch.random.fork_rng(devices=[]):
        yield from net.forward_iter(dataset, training=False)


def infer(net: LossNet, dataset: BatchDataset, *, output: int) -> Tensor:
    """One output of the network for every row, in evaluation mode.

    Parameters
    ----------
    net : LossNet
        A trained net.
    dataset : BatchDataset
        The rows.
    output : int
        0 for logits, 1 for features, 2 for what else the head returns.

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


def set_class_means(
    net: LossNet, dataset: BatchDataset, classes: NDArray[np.int64] | None = None
) -> None:
    """Set the head's means to the weighted class means of a data set's features.

    Parameters
    ----------
    net : LossNet
        Net whose head is a :class:`sklgm.nn.GaussianMixtureHead`.
    dataset : BatchDataset
        Training rows.
    classes : ndarray of int or None, default=None
        Indices of the classes to set, each with a row of positive weight; the others
        stay as they are. None: all.

    Notes
    -----
    A class whose weight is below that of one average row has hardly a mean: the
    rest of the row is filled with the mean of all rows.
    """
    head = net.module_.head
    sums = torch.zeros(head.n_classes, head.feature_dim, dtype=torch.float64)
    masses = torch.zeros(head.n_classes, dtype=torch.float64)
    start = 0
    for _, features, *_ in batches_of(net, dataset):
        rows = slice(start, start + len(features))
        y_encoded = torch.from_numpy(dataset.y_encoded[rows])
        weight = torch.from_numpy(dataset.sample_weight[rows])
        sums.index_add_(0, y_encoded, weight[:, None] * features.double())
        masses.index_add_(0, y_encoded, weight)
        start += len(features)
    chosen = torch.arange(head.n_classes) if classes is None else torch.tensor(classes)
    overall = sums.sum(dim=0) / masses.sum()
    of_one_row = (masses / masses.sum() * len(dataset)).clamp(max=1.0)[chosen, None]
    means = sums[chosen] / masses[chosen, None]
    head.set_gaussians(
        of_one_row * means + (1.0 - of_one_row) * overall, classes=chosen
    )


def set_trimmed_gaussians(
    net: LossNet, dataset: BatchDataset, *, trim: Trim, variance: float
) -> NDArray[np.bool_]:
    """Estimate the head's Gaussians from the rows of each class that fit it best.

    Parameters
    ----------
    net : LossNet
        Net whose head is a :class:`sklgm.nn.GaussianMixtureHead`.
    dataset : BatchDataset
        Training rows. Classes without a row keep their Gaussian.
    trim : float in (0, 0.5) or "auto"
        Share of each class that is left out.
    variance : float > 0
        Variance of classes too small to have one.

    Returns
    -------
    ndarray of shape (n_samples,)
        Whether the row entered the estimate.
    """
    head = net.module_.head
    classes, y_encoded = np.unique(dataset.y_encoded, return_inverse=True)
    estimate: GaussianEstimate = estimate_gaussians(
        infer(net, dataset, output=1),
        torch.from_numpy(y_encoded),
        len(classes),
        covariance_type=head.covariance_type,
        variance=variance,
        trim=trim,
        sample_weight=torch.from_numpy(dataset.sample_weight),
    )
    head.set_gaussians(
        estimate.means, estimate.log_variances, classes=torch.from_numpy(classes)
    )
    is_kept: NDArray[np.bool_] = estimate.is_kept.numpy()
    return is_kept
