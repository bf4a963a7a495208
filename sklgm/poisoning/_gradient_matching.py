"""Gradient matching, the attack of Witches' Brew."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._search import Smooth
from sklgm.poisoning._surrogate import TrainableSurrogate

_SHIFT = 2  # pixels


def gradient_matching_objective(
    poison_gradients: Tensor, target_gradients: Tensor
) -> Tensor:
    """One minus the cosine of the angle between two training gradients.

    Parameters
    ----------
    poison_gradients : Tensor of shape (n_groups, n_parameters)
        Gradient of the training loss of each group's poisons under the label they
        claim, by the parameters of the network.
    target_gradients : Tensor of shape (n_groups, n_parameters)
        Gradient of the loss of the target under the label that the attacker wants.

    Returns
    -------
    Tensor of shape (n_groups,)
        In [0, 2]; 1 where a gradient is 0, which points nowhere.

    Notes
    -----
    The alignment loss of Witches' Brew [1]_: where it is small, a training step on the
    poisons is a step towards the wrong label of the target.

    References
    ----------
    .. [1] J. Geiping, L. Fowl, W. R. Huang, W. Czaja, G. Taylor, M. Moeller and
       T. Goldstein, "Witches' Brew: Industrial Scale Data Poisoning via Gradient
       Matching", ICLR 2021.
    """
    product = (poison_gradients * target_gradients).sum(dim=1)
    # The smallest normal number keeps 0/0, and its gradient, finite.
    tiny = torch.finfo(product.dtype).tiny
    squared = poison_gradients.square().sum(dim=1).clamp_min(tiny)
    norms = squared.sqrt() * torch.linalg.vector_norm(target_gradients, dim=1)
    cosine: Tensor = product / norms.clamp_min(tiny)
    return 1.0 - cosine


@dataclass(frozen=True)
class GradientMatching(Attack):
    """Gradient matching: training on the poisons moves the network as a wrong label.

    Needs a surrogate with parameters and a training loss (sklgm classifiers and torch
    networks have them), and the label that poisons claim.

    Parameters
    ----------
    parameters : {"all", "head"}, default="all"
        Whose gradient is matched: that of the whole network, or of the head alone,
        where the victim freezes the backbone.
    augment : bool, default=False
        Whether the gradient of poisons is that of four views of each image, for victims
        who augment: as it is, mirrored, and both of these shifted by two pixels.

    See Also
    --------
    gradient_matching_objective : The objective, and its source.
    craft : Crafts poisons by an attack.

    Notes
    -----
    Unlike the paper the views of an augmentation are always the same, and the search
    is that of all attacks here, which never goes up, and not signed Adam. For restarts
    see :func:`craft`.

    Examples
    --------
    >>> from sklgm.poisoning import GradientMatching
    >>> GradientMatching("head")
    GradientMatching(parameters='head', augment=False)
    """

    name: ClassVar[str] = "gradient_matching"
    is_joint: ClassVar[bool] = True
    takes_several_targets: ClassVar[bool] = True
    needs_base_label: ClassVar[bool] = True

    parameters: str = "all"
    augment: bool = False

    def __post_init__(self) -> None:
        if self.parameters not in ("all", "head"):
            raise ValueError(
                f"parameters must be 'all' or 'head', got {self.parameters!r}"
            )

    def objective(self, problem: Problem) -> Smooth:
        """Give the objective of each group; see :class:`Attack`.

        Parameters
        ----------
        problem : Problem
            Groups, their targets, and the class that poisons claim.

        Returns
        -------
        callable
            The smooth term of the search.

        Raises
        ------
        TypeError
            If the surrogate has no training loss.
        """
        surrogate, base_class = problem.surrogate, problem.base_class
        if not isinstance(surrogate, TrainableSurrogate):
            raise TypeError(
                "attack='gradient_matching' needs a surrogate with "
                f"parameter_gradients; {type(surrogate).__name__} has none"
            )
        assert base_class is not None
        target_gradients = surrogate.parameter_gradients(
            problem.X_target, base_class, parameters=self.parameters
        ).detach()

        def smooth(X: Tensor, groups: Tensor) -> Tensor:
            views = _views(X) if self.augment else [X]
            gradients = torch.stack(
                [
                    surrogate.parameter_gradients(
                        view, base_class[groups], parameters=self.parameters
                    )
                    for view in views
                ]
            ).mean(dim=0)
            return gradient_matching_objective(gradients, target_gradients[groups])

        return smooth


def _views(X: Tensor) -> list[Tensor]:
    """List views of images (n_groups, n_poisons, n_channels, height, width)."""
    if X.ndim != 5:
        raise ValueError(
            "augment=True needs images of shape (n_samples, n_channels, height, "
            f"width), got instances of shape {tuple(X.shape[2:])}"
        )
    # Reflected at the border, as by the augmentation of training.
    padded = functional.pad(X.flatten(0, 1), (_SHIFT,) * 4, mode="reflect")
    padded = padded.reshape(*X.shape[:2], *padded.shape[1:])
    height, width = X.shape[-2:]
    first = padded[..., :height, :width]
    last = padded[..., -height:, -width:]
    return [X, X.flip(-1), first, last.flip(-1)]
