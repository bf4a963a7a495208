"""What a fitted model says of the rows it was fitted to, and of their labels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklgm.classifiers import LGMClassifier
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._victims import HEAD
from sklgm.gaussian import estimate_gaussians
from sklgm.metrics import auroc, tpr_at_fpr
from sklgm.outliers import LGMOutlierDetector


def head_on_features(
    clf: Classifier, features: NDArray[np.floating[Any]], y: NDArray[Any]
) -> Classifier:
    """Take the head of a network, to judge features without passing rows again.

    Parameters
    ----------
    clf : fitted classifier
        The network; not changed.
    features : ndarray of shape (n_samples, feature_dim)
        Its features of some rows.
    y : ndarray of shape (n_samples,)
        Their labels, of every class.

    Returns
    -------
    SoftmaxClassifier or LGMClassifier
        Fitted, with ``backbone="identity"`` and the weights of the network's head.
    """
    settings: dict[str, Any] = {
        **HEAD,
        "max_epochs": 0,
        "callbacks": None,
        "warm_start": False,
    }
    if isinstance(clf, LGMClassifier):
        settings["trim"] = 0.0  # the Gaussians are those of the network
    head: Classifier = clone(clf).set_params(**settings).fit(features, y)
    head.net_.module_.head.load_state_dict(clf.net_.module_.head.state_dict())
    # No epoch: publishes the means and variances that were loaded.
    return head.set_params(warm_start=True).fit(features, y)


def claimed_distances(
    head: LGMClassifier, features: NDArray[np.floating[Any]], y: NDArray[Any]
) -> NDArray[np.float64]:
    """Squared Mahalanobis distances from the means of the claimed classes.

    Parameters
    ----------
    head : LGMClassifier
        Fitted to features.
    features : ndarray of shape (n_samples, feature_dim)
        Features.
    y : ndarray of shape (n_samples,)
        Claimed labels.

    Returns
    -------
    ndarray of shape (n_samples,)
        D_z(f).
    """
    gaussians = head.net_.module_.head
    with torch.no_grad():
        distances = gaussians(torch.from_numpy(np.array(features)))[1]
    claimed = np.searchsorted(head.classes_, y)
    own: NDArray[np.float64] = distances.double().numpy()[np.arange(len(y)), claimed]
    return own


def claimed_surprisals(
    head: Classifier, features: NDArray[np.floating[Any]], y: NDArray[Any]
) -> NDArray[np.float64]:
    """Say how improbable the claimed classes are.

    Parameters
    ----------
    head : classifier
        Fitted to features.
    features : ndarray of shape (n_samples, feature_dim)
        Features.
    y : ndarray of shape (n_samples,)
        Claimed labels.

    Returns
    -------
    ndarray of shape (n_samples,)
        -log p(z | f) >= 0, in nats.
    """
    detector = claim_scorer(head, "posterior").fit(features, y)
    surprisals: NDArray[np.float64] = -detector.score_samples(features, y)
    return surprisals


def rows_kept_by_trim(
    head: LGMClassifier, features: NDArray[np.floating[Any]], y: NDArray[Any]
) -> NDArray[np.bool_]:
    """Rows that enter the Gaussians that are estimated with ``trim``.

    Parameters
    ----------
    head : LGMClassifier
        Fitted; a head on features, or a whole network. ``trim`` may be ``"auto"``.
    features : ndarray of shape (n_samples, feature_dim)
        Features that its Gaussians were estimated from.
    y : ndarray of shape (n_samples,)
        Claimed labels.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        Whether a row entered.
    """
    estimate = estimate_gaussians(
        torch.from_numpy(np.array(features)),
        torch.from_numpy(np.searchsorted(head.classes_, y)),
        len(head.classes_),
        covariance_type=head.covariance_type,
        variance=head.variance,
        trim=head.trim,
    )
    is_kept: NDArray[np.bool_] = estimate.is_kept.numpy()
    return is_kept


def claim_scorer(model: Any, score_kind: str) -> LGMOutlierDetector:
    """Make a detector of which only the scores are used.

    Parameters
    ----------
    model : fitted classifier or Pipeline
        Kept as it is.
    score_kind : {"likelihood", "posterior", "combined"}
        See :class:`sklgm.LGMOutlierDetector`.

    Returns
    -------
    LGMOutlierDetector
        Unfitted; its threshold, of which no use is made, asks for few rows.
    """
    return LGMOutlierDetector(
        FrozenEstimator(model), score_kind=score_kind, false_alarm_rate=0.5
    )


def claim_detection(
    model: Any,
    score_kind: str,
    X: NDArray[np.floating[Any]],
    y: NDArray[Any],
    is_poison: NDArray[np.bool_],
) -> tuple[float, float]:
    """Tell poisons from the other rows of a training set by the labels they claim.

    Parameters
    ----------
    model : fitted classifier or Pipeline
        Trained on these rows.
    score_kind : {"likelihood", "posterior", "combined"}
        See :class:`sklgm.LGMOutlierDetector`.
    X : ndarray of shape (n_train, ...)
        The rows, or their features where the model takes those.
    y : ndarray of shape (n_train,)
        Claimed labels.
    is_poison : ndarray of bool of shape (n_train,)
        Which of them are poisons.

    Returns
    -------
    auroc, tpr_at_1pct_fpr : float
        In [0, 1].
    """
    detector = claim_scorer(model, score_kind).fit(X, y)
    outlier_score = -detector.score_samples(X, y)
    return auroc(outlier_score, is_poison), tpr_at_fpr(outlier_score, is_poison)
