"""Detectors of poisons of other packages, as their users get them: ART, cleanlab."""

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklgm._running import import_extra

_EXTRA = "bench"
_DEFENCES = "art.defences.detector.poison"
_ESTIMATORS = "art.estimators.classification"
#: Folds of the probabilities for cleanlab, the number that its ``CleanLearning`` takes.
_N_FOLDS = 5


class ExternalPeer(ABC, BaseEstimator):
    """Base of detectors of other packages, which judge the rows of their fit only.

    Parameters
    ----------
    estimator : classifier
        Linear, with ``predict_proba``; cloned and fitted to the features of all rows.
    random_state : int, default=0
        Seed of the folds, and of what the package draws from numpy's global state.
    """

    def __init__(self, estimator: Any, *, random_state: int = 0) -> None:
        self.estimator = estimator
        self.random_state = random_state

    def fit_predict(
        self, X: NDArray[np.floating[Any]], y: NDArray[Any]
    ) -> NDArray[np.int64]:
        """Fit, and flag the same rows by the labels they claim.

        Parameters
        ----------
        X : ndarray of shape (n_samples, feature_dim)
            Features.
        y : ndarray of shape (n_samples,)
            Claimed labels, of every class.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 for outliers, 1 for the rest.
        """
        self.y_encoded_ = np.unique(y, return_inverse=True)[1]
        with _contained(self.random_state):
            self.is_flagged_ = self._flag(X, self.y_encoded_)
        return np.where(self.is_flagged_, -1, 1)

    def score_samples(
        self, X: NDArray[np.floating[Any]], labels: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Say how normal the package finds each row; higher is more normal.

        Parameters
        ----------
        X : ndarray of shape (n_samples, feature_dim)
            Those of the fit.
        labels : ndarray of shape (n_samples,)
            Those of the fit.

        Returns
        -------
        ndarray of shape (n_samples,)
            What the package ranks by; where it does not rank, -1 for what it flags and
            0 for the rest.
        """
        with _contained(self.random_state):
            return self._rank()

    @abstractmethod
    def _flag(
        self, X: NDArray[np.floating[Any]], y_encoded: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Flag rows, by the package's defaults."""

    @abstractmethod
    def _rank(self) -> NDArray[np.float64]:
        """Score the rows that were flagged, or not."""


class ArtActivationClustering(ExternalPeer):
    """ART's ``ActivationDefence``: the smaller of two clusters of each class.

    ART reads the last entry of ``layer_names``, which in an ``nn.Sequential`` is the
    last module: the **logits**, one per class, where Chen et al. (2018) read the last
    hidden layer (ART's log warns of their small number). It ranks nothing, so that
    its flags are scored, and it draws from numpy's global state.

    References
    ----------
    B. Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation
    Clustering", arXiv 1811.03728, 2018.
    """

    def _flag(
        self, X: NDArray[np.floating[Any]], y_encoded: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        classifier = _art_classifier(clone(self.estimator), X, y_encoded)
        defence = import_extra(_DEFENCES, _EXTRA).ActivationDefence
        _, is_clean = defence(classifier, X, y_encoded).detect_poison()
        is_flagged: NDArray[np.bool_] = np.asarray(is_clean) == 0
        return is_flagged

    def _rank(self) -> NDArray[np.float64]:
        return -self.is_flagged_.astype(np.float64)


class ArtSpectralSignatures(ExternalPeer):
    """ART's ``SpectralSignatureDefense``: the top singular direction of each class.

    It reads the **logits**, as :class:`ArtActivationClustering` does, where Tran et
    al. (2018) read the representation before them. By default it expects a third of
    the rows to be poisons and flags half as many again of each class. Scores are those
    of its report, which holds the flagged rows: those of all rows are asked for by a
    second call that flags all.

    References
    ----------
    B. Tran, J. Li, A. Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018.
    """

    def _flag(
        self, X: NDArray[np.floating[Any]], y_encoded: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        classifier = _art_classifier(clone(self.estimator), X, y_encoded)
        defence = import_extra(_DEFENCES, _EXTRA).SpectralSignatureDefense
        self.defence_ = defence(classifier, X, y_encoded)
        _, is_clean = self.defence_.detect_poison()
        is_flagged: NDArray[np.bool_] = np.asarray(is_clean) == 0
        return is_flagged

    def _rank(self) -> NDArray[np.float64]:
        report, _ = self.defence_.detect_poison(expected_pp_poison=1.0)
        scores: NDArray[np.float64] = np.zeros(len(self.is_flagged_))
        for row, outlier_score in report.items():
            scores[row] = -outlier_score
        return scores


class CleanlabConfidentLearning(ExternalPeer):
    """cleanlab's ``find_label_issues``, and its label quality scores to rank by.

    It judges cross-validated probabilities, here of five stratified folds: features
    are read as they are, and no row is judged by a model that was fitted to it.

    References
    ----------
    C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", Journal of Artificial Intelligence Research 70, 2021.
    """

    def _flag(
        self, X: NDArray[np.floating[Any]], y_encoded: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        folds = StratifiedKFold(_N_FOLDS, shuffle=True, random_state=self.random_state)
        self.proba_ = cross_val_predict(
            self.estimator, X, y_encoded, cv=folds, method="predict_proba"
        )
        # One process: the result is the same, and this one may be a worker itself.
        find = import_extra("cleanlab.filter", _EXTRA).find_label_issues
        return np.asarray(find(y_encoded, self.proba_, n_jobs=1), dtype=bool)

    def _rank(self) -> NDArray[np.float64]:
        rank = import_extra("cleanlab.rank", _EXTRA).get_label_quality_scores
        return np.asarray(rank(self.y_encoded_, self.proba_), dtype=np.float64)


#: By their names in records.
EXTERNAL_PEERS: dict[str, type[ExternalPeer]] = {
    "art_activation_clustering": ArtActivationClustering,
    "art_spectral_signatures": ArtSpectralSignatures,
    "cleanlab_confident_learning": CleanlabConfidentLearning,
}


def check_external_peers() -> None:
    """Raise where the packages are missing, before any work is done.

    Raises
    ------
    ImportError
        If one is not installed; the message names the extra.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in (_DEFENCES, _ESTIMATORS, "cleanlab.filter", "cleanlab.rank"):
            import_extra(module, _EXTRA)


def _art_classifier(
    model: Any, X: NDArray[np.floating[Any]], y_encoded: NDArray[np.int64]
) -> Any:
    """ART's view of a linear classifier, whose penultimate layer are the features."""
    model.fit(X, y_encoded)
    coef, intercept = model.coef_, model.intercept_
    if len(coef) == 1:  # of two classes scikit-learn keeps the second alone
        coef = np.concatenate([np.zeros_like(coef), coef])
        intercept = np.concatenate([np.zeros_like(intercept), intercept])
    linear = torch.nn.Linear(X.shape[1], len(coef), device="cpu")
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(coef))
        linear.bias.copy_(torch.from_numpy(intercept))
    return import_extra(_ESTIMATORS, _EXTRA).PyTorchClassifier(
        model=torch.nn.Sequential(torch.nn.Identity(), linear),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=(X.shape[1],),
        nb_classes=len(coef),
        device_type="cpu",
    )


@contextmanager
def _contained(seed: int) -> Iterator[None]:
    """Keep warnings, log and draws from global states to the packages."""
    log = logging.getLogger("art")
    level, state = log.level, np.random.get_state()  # noqa: NPY002
    log.setLevel(logging.ERROR)
    np.random.seed(seed)  # noqa: NPY002 (ART's clusters take no other seed)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        log.setLevel(level)
