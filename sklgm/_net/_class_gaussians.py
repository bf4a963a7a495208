"""The head's Gaussians, set from the features of a data set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklgm._net._batches import BatchDataset
from sklgm._net._loss_net import LossNet, batches_of, infer
from sklgm.gaussian import GaussianEstimate, Trim, estimate_gaussians


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
    net: LossNet, dataset: BatchDataset, *, trim: Trim
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
        variance="within",
        trim=trim,
        sample_weight=torch.from_numpy(dataset.sample_weight),
    )
    head.set_gaussians(
        estimate.means, estimate.log_variances, classes=torch.from_numpy(classes)
    )
    is_kept: NDArray[np.bool_] = estimate.is_kept.numpy()
    return is_kept


@torch.no_grad()
def claimed_distances(net: LossNet, dataset: BatchDataset) -> Tensor:
    """Squared Mahalanobis distances of rows to the mean of the class they claim.

    Parameters
    ----------
    net : LossNet
        Net whose head is a :class:`sklgm.nn.GaussianMixtureHead`.
    dataset : BatchDataset
        The rows.

    Returns
    -------
    Tensor on the CPU of shape (n_samples,)
        Distances >= 0, float64; features are not kept.
    """
    distances = torch.empty(len(dataset), dtype=torch.float64)
    start = 0
    for _, features, *_ in batches_of(net, dataset):
        rows = slice(start, start + len(features))
        y_encoded = torch.from_numpy(dataset.y_encoded[rows])
        distances[rows] = net.module_.head.claimed_squared_mahalanobis(
            features.to(net.device), y_encoded.to(net.device)
        )
        start += len(features)
    return distances
