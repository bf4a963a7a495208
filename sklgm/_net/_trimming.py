"""Rows that are left out of training, by what training computed anyway."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from sklgm._net._batches import Batch, BatchDataset
from sklgm._net._class_gaussians import claimed_distances, set_trimmed_gaussians
from sklgm.gaussian import Trim, kept_rows

# Epochs between estimates, and the rows that they are made of: a share of each class,
# and so many of it at least.
_EPOCHS_PER_ESTIMATE = 3
_ESTIMATE_SHARE, _ESTIMATE_ROWS = 0.1, 128
# Rows whose median is a point of the trend of the distances of an epoch, at least, and
# points at most.
_TREND_ROWS, _TREND_POINTS = 256, 32


class TrimmedGaussians(Callback):
    """Leave the rows out of an epoch that fit worst.

    Every third epoch begins with a robust estimate of the class Gaussians, from a tenth
    of the rows. The first epoch leaves out the rows that are farthest from these, which
    takes a pass over all of them; each of the others what fitted worst in the epoch
    before: the distances of all rows to the means of their classes are computed in
    training anyway, also of rows whose weight in the loss is 0. Where classes are so
    small that the estimate is made of all rows, it also chooses.

    Parameters
    ----------
    trim : float in (0, 0.5) or "auto"
        Share of each class that is left out.

    Notes
    -----
    Distances of the first batches of an epoch are those of another network than of the
    last: they are divided by their median at the time.
    """

    def __init__(self, trim: Trim) -> None:
        self.trim = trim

    def initialize(self) -> "TrimmedGaussians":
        """Forget what was seen."""
        self.seen_: list[tuple[Tensor, Tensor]] = []
        return self

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: BatchDataset, **kwargs: Any
    ) -> None:
        """Choose the rows of this epoch."""
        is_first = not self.seen_
        is_kept: NDArray[np.bool_] | None = None
        if (len(net.history) - 1) % _EPOCHS_PER_ESTIMATE == 0 or is_first:
            rows = dataset_train.sample(_ESTIMATE_SHARE, _ESTIMATE_ROWS)
            is_in_estimate = set_trimmed_gaussians(net, rows, trim=self.trim)
            if len(rows) == len(dataset_train):
                is_kept = is_in_estimate
        if is_kept is None and is_first:
            is_kept = _kept(
                claimed_distances(net, dataset_train),
                np.arange(len(dataset_train)),
                dataset_train,
                self.trim,
            )
        elif is_kept is None:
            is_kept = self._kept_by_distances(net, dataset_train)
        dataset_train.keep(is_kept)
        self._forget()

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Batch,
        training: bool,
        claimed_distances: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the distances of the batch."""
        if training:
            assert claimed_distances is not None
            self.seen_.append((batch[0]["rows"], claimed_distances))

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Keep nothing in the fitted net."""
        self._forget()

    def _forget(self) -> None:
        self.seen_ = []

    def _kept_by_distances(
        self, net: NeuralNet, dataset: BatchDataset
    ) -> NDArray[np.bool_]:
        """Choose rows by the distances that were seen; others stay as they are."""
        rows = torch.cat([rows for rows, _ in self.seen_])
        distances = torch.cat([distances for _, distances in self.seen_]).double()
        # Processes share batches row by row.
        places = torch.cat(
            [
                step * len(dataset) + torch.arange(len(rows))
                for step, (rows, _) in enumerate(self.seen_)
            ]
        )
        order = net.gathered(places).argsort(stable=True)
        rows = net.gathered(rows)[order].cpu()
        distances = net.gathered(distances)[order.to(distances.device)]
        kept = _kept(distances / trend(distances), rows.numpy(), dataset, self.trim)
        is_kept: NDArray[np.bool_] = dataset.is_kept.numpy().copy()
        is_kept[rows] = kept
        return is_kept


def _kept(
    distances: Tensor, rows: NDArray[np.int64], dataset: BatchDataset, trim: Trim
) -> NDArray[np.bool_]:
    """Choose among some rows of a data set, by their distances (n_rows,)."""
    classes, y_encoded = np.unique(dataset.y_encoded[rows], return_inverse=True)
    kept: NDArray[np.bool_] = (
        kept_rows(
            distances,
            torch.from_numpy(y_encoded),
            len(classes),
            trim=trim,
            sample_weight=torch.from_numpy(dataset.sample_weight[rows]),
        )
        .cpu()
        .numpy()
    )
    return kept


def trend(distances: Tensor) -> Tensor:
    """Median distance at the time of each row.

    Parameters
    ----------
    distances : Tensor of shape (n_samples,)
        Distances >= 0 in the order in which they were computed.

    Returns
    -------
    Tensor of shape (n_samples,)
        Medians of about equal numbers of rows, joined by straight lines; positive.
    """
    n_samples = len(distances)
    n_points = max(1, min(_TREND_POINTS, n_samples // _TREND_ROWS))
    length = n_samples // n_points
    medians = distances[: n_points * length].reshape(n_points, length).median(dim=1)
    middles = (np.arange(n_points) + 0.5) * length
    values = np.interp(np.arange(n_samples), middles, medians.values.cpu().numpy())
    return torch.from_numpy(np.maximum(values, torch.finfo(distances.dtype).tiny)).to(
        distances
    )
