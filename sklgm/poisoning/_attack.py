"""What an attack is: an objective of groups of poisons; all else is shared."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sklgm.poisoning._search import Smooth
from sklgm.poisoning._surrogate import Surrogate


def features_of_groups(surrogate: Surrogate, X: Tensor) -> Tensor:
    """Give the features of groups of instances, in one pass.

    Parameters
    ----------
    surrogate : Surrogate
        Whose features.
    X : Tensor of shape (n_groups, n_together, ...)
        Instances.

    Returns
    -------
    Tensor of shape (n_groups, n_together, feature_dim)
        Features, differentiable in ``X``.
    """
    features = surrogate.features(X.flatten(0, 1))
    return features.reshape(*X.shape[:2], features.shape[1])


@dataclass(frozen=True, eq=False)
class Problem:
    """Groups of bases, and the targets that the poisons of each group are for.

    Parameters
    ----------
    surrogate : Surrogate
        The model whose features are attacked.
    X_base : Tensor of shape (n_groups, n_poisons, ...)
        The bases, from which poisons start.
    X_target : Tensor of shape (n_groups, n_targets, ...)
        The targets of each group.
    base_features : Tensor of shape (n_groups, n_poisons, feature_dim)
        f(b), computed once.
    target_features : Tensor of shape (n_groups, n_targets, feature_dim)
        f(t), computed once.
    base_class : Tensor of int of shape (n_groups,) or None
        Index of the class that the poisons of each group claim.
    """

    surrogate: Surrogate
    X_base: Tensor
    X_target: Tensor
    base_features: Tensor
    target_features: Tensor
    base_class: Tensor | None

    def features(self, X: Tensor) -> Tensor:
        """Give the features of groups of instances, differentiable in `X`.

        Parameters
        ----------
        X : Tensor of shape (n_groups, n_poisons, ...)
            Instances.

        Returns
        -------
        Tensor of shape (n_groups, n_poisons, feature_dim)
            Their features, from one pass of all instances.
        """
        return features_of_groups(self.surrogate, X)


class Attack(ABC):
    """An attack on the features of a model; a new one writes `objective` alone.

    The search, the bounds on the poisons, batches, ensembles and diagnostics are those
    of :func:`craft`, which is the only caller.

    Attributes
    ----------
    name : str
        Its name in ``attack=`` and in records.
    is_joint : bool
        Whether the poisons of a group have one objective together. If not, each
        poison is a group of its own.
    takes_several_targets : bool
        Whether a group may have more than one target.
    needs_base_label : bool
        Whether the class that poisons claim enters the objective.
    """

    name: ClassVar[str]
    is_joint: ClassVar[bool] = False
    takes_several_targets: ClassVar[bool] = False
    needs_base_label: ClassVar[bool] = False

    @abstractmethod
    def objective(self, problem: Problem) -> Smooth:
        """Give the smooth term of the search.

        Parameters
        ----------
        problem : Problem
            Groups and targets. What does not depend on the poisons is computed here,
            once.

        Returns
        -------
        callable
            ``g(X, groups)`` for the poisons (len(groups), n_poisons, ...) of the
            groups with these indices: a value >= 0 for each, differentiable in ``X``,
            a function of its own group alone.
        """
