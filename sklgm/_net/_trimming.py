"""Rows that are left out of training, by what training computed anyway."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from sklgm._net._batches import Batch, BatchDataset
from sklgm._net._class_gaussians import set_trimmed_gaussians
from sklgm.gaussian import (
    Trim,
    claimed_squared_mahalanobis,
    estimate_gaussians,
    kept_rows,
)

# Share of the rows that the first Gaussians are estimated from where all features are
# at hand, and rows per class at least.
_FIRST_SHARE, _FIRST_ROWS = 0.1, 64
# Rows whose distances are computed at once.
_CHUNK = 1024
# Rows whose median is a point of the trend of the distances of an epoch, at least, and
# points at most.
_TREND_ROWS, _TREND_POINTS = 256, 32


class LastFeatures(Callback):
    """Keep the features that the last epoch of a training computes.

    Parameters
    ----------
    n_epochs : int >= 1
        Epochs of the training.

    Attributes
    ----------
    features_ : Tensor of shape (n_samples, feature_dim) or None
        Features of the training rows, in their order, each by the network of its step;
        None before the last epoch.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.features_: Tensor | None = None

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Batch,
        training: bool,
        y_pred: tuple[Tensor, ...] | None = None,
        dataset_train: BatchDataset | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the features of a batch."""
        if not training or len(net.history) < self.n_epochs:
            return
        assert y_pred is not None
        features = y_pred[1].detach()
        if self.features_ is None:
            n_samples = self.n_samples
            self.features_ = features.new_full(
                (n_samples, features.shape[1]), torch.nan
            )
        self.features_.index_copy_(0, batch[0]["rows"].to(features.device), features)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Take the features of other processes, too."""
        if self.features_ is None:
            return
        rows = torch.nonzero(~torch.isnan(self.features_[:, 0])).flatten()
        features = net.gathered(self.features_[rows])
        self.features_.index_copy_(0, net.gathered(rows), features)

    def on_train_begin(
        self, net: NeuralNet, X: BatchDataset | None = None, **kwargs: Any
    ) -> None:
        """Note how many rows there are."""
        assert X is not None
        self.n_samples = len(X)


class TrimmedGaussians(Callback):
    """Leave the rows out of an epoch that fitted worst in the epoch before.

    Rows that are left out have weight 0 in the loss of an epoch, and their distances to
    the means of their classes are computed with it all the same: these decide the next
    epoch, without a pass over the rows. The first epoch takes features of the training
    before, or else a pass.

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
        self.features_: Tensor | None = None
        self.seen_: list[tuple[Tensor, Tensor]] = []
        return self

    def start_from(self, features: Tensor) -> None:
        """Take features (n_samples, feature_dim) for the first epoch."""
        self.features_ = features

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: BatchDataset, **kwargs: Any
    ) -> None:
        """Choose the rows of this epoch."""
        is_kept: NDArray[np.bool_]
        if self.seen_:
            is_kept = self._kept_by_distances(net, dataset_train)
        elif self.features_ is not None:
            is_kept = _kept_by_features(self.features_, dataset_train, self.trim, net)
        else:
            is_kept = set_trimmed_gaussians(net, dataset_train, trim=self.trim)
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
        self.features_, self.seen_ = None, []

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


def _kept_by_features(
    features: Tensor, dataset: BatchDataset, trim: Trim, net: NeuralNet
) -> NDArray[np.bool_]:
    """Choose rows by Gaussians that are estimated from a tenth of them."""
    rows = np.flatnonzero(~torch.isnan(features[:, 0]).cpu().numpy())
    sample = np.intersect1d(dataset.positions(_FIRST_SHARE, _FIRST_ROWS), rows)
    classes, y_encoded = np.unique(dataset.y_encoded, return_inverse=True)
    head = net.module_.head
    estimate = estimate_gaussians(
        features[torch.from_numpy(sample).to(features.device)],
        torch.from_numpy(y_encoded[sample]),
        len(classes),
        covariance_type=head.covariance_type,
        variance="within",
        trim=trim,
        sample_weight=torch.from_numpy(dataset.sample_weight[sample]),
    )
    labels = torch.from_numpy(y_encoded).to(features.device)
    distances = torch.cat(
        [
            claimed_squared_mahalanobis(
                part.to(estimate.means),
                own,
                estimate.means,
                estimate.log_variances,
                head.covariance_type,
            )
            for part, own in zip(
                torch.split(features, _CHUNK), torch.split(labels, _CHUNK), strict=True
            )
        ]
    )
    is_kept = np.ones(len(dataset), dtype=bool)
    is_kept[rows] = _kept(distances[rows], rows, dataset, trim)
    return is_kept


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
