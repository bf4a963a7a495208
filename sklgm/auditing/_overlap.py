"""Classes that a classifier cannot tell apart."""

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs import some_rows
from sklgm.outliers._right_claims import RightClaimModel

# Rows that are looked at, and classes of each: the probable ones.
_MOST_ROWS, _MOST_CLASSES = 20_000, 8


def class_overlap(
    model: RightClaimModel, log_proba: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the smaller of two classes that could as well be of the other.

    Parameters
    ----------
    model : RightClaimModel
        Calibrates the probabilities.
    log_proba : ndarray of shape (n_samples, n_classes)
        Log probabilities of rows that models were not trained on, natural log.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
        ``sum_i min(q_ij, q_ik) / min(sum_i q_ij, sum_i q_ik)``, in [0, 1], with q the
        probabilities of the classes; 1 on the diagonal. Symmetric.
    """
    q = model.class_proba(log_proba[some_rows(len(log_proba), _MOST_ROWS)])
    n_classes = q.shape[1]
    n_probable = min(n_classes, _MOST_CLASSES)
    probable = np.argsort(-q, axis=1, kind="stable")[:, :n_probable]
    values = np.take_along_axis(q, probable, axis=1)  # (n_rows, n_probable)
    shared = np.zeros((n_classes, n_classes))
    for a in range(n_probable):
        for b in range(a + 1, n_probable):  # the second is the less probable one
            np.add.at(shared, (probable[:, a], probable[:, b]), values[:, b])
    shared += shared.T
    totals = q.sum(axis=0)
    smaller = np.minimum.outer(totals, totals)
    overlap = np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)
    np.fill_diagonal(overlap, 1.0)
    capped: NDArray[np.float64] = np.minimum(overlap, 1.0)
    return capped
