"""Random changes of training images, a batch at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Augmentation = Callable[[Tensor], Tensor]

AUGMENTATIONS = ("flip", "crop+flip")

# Pixels that "crop+flip" shifts an image by at most, and the side they are meant for.
_SHIFT, _SIDE = 2, 32


def make_augmentation(
    augment: str | Augmentation | None, input_shape: tuple[int, ...]
) -> Augmentation | None:
    """Make a function of batches from what a user asked for.

    Parameters
    ----------
    augment : {"flip", "crop+flip"}, callable or None
        ``"flip"``: mirror every second image, at random, left to right;
        ``"crop+flip"``: also shift each image by up to 2 pixels at a side of 32,
        filled by reflection. A callable gets the batch (n, c, h, w); a transform of
        ``torchvision.transforms`` each image (c, h, w) by itself.
    input_shape : tuple of int
        Shape of one instance.

    Returns
    -------
    callable or None
        From a batch of images to one of the same shape; draws from torch's generators.

    Raises
    ------
    ValueError
        If instances are not images.
    """
    if augment is None:
        return None
    if len(input_shape) != 3:
        raise ValueError(
            f"augment={augment!r} needs images of shape (n_channels, height, width), "
            f"got instances of shape {input_shape}; set input_shape to fold flat rows "
            "into images, or augment=None"
        )
    if augment == "flip":
        return random_flip
    if augment == "crop+flip":
        return _shifted_and_flipped
    assert callable(augment)
    return _Checked(augment)


class _Checked:
    """A user's augmentation, whose result must look like the batch; can be pickled."""

    def __init__(self, own: Augmentation) -> None:
        self.own = own

    def __call__(self, X: Tensor) -> Tensor:
        if type(self.own).__module__.startswith("torchvision.transforms"):
            # It draws once a call.
            changed = torch.stack([self.own(image) for image in X])
        else:
            changed = self.own(X)
        if not isinstance(changed, Tensor) or changed.shape != X.shape:
            shape = getattr(changed, "shape", type(changed).__name__)
            raise ValueError(
                f"augment={self.own!r} must return a tensor of the shape of its batch, "
                f"{tuple(X.shape)}, got {shape}"
            )
        return changed.to(X)


def _shifted_and_flipped(X: Tensor) -> Tensor:
    return random_flip(random_shift(X, round(_SHIFT * max(X.shape[2:]) / _SIDE)))


def random_flip(X: Tensor) -> Tensor:
    """Mirror images left to right, each with probability one half.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_channels, height, width)
        Images; not modified.

    Returns
    -------
    Tensor of the shape of X
        The images, mirrored or not.
    """
    # Drawn on the CPU, the same for any device, which is not waited for.
    is_flipped = (torch.rand(len(X)) < 0.5).to(X.device, non_blocking=True)
    return torch.where(is_flipped[:, None, None, None], X.flip(3), X)


def random_shift(X: Tensor, n_pixels: int) -> Tensor:
    """Shift each image by whole pixels, filled by reflection.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_channels, height, width)
        Images; not modified.
    n_pixels : int >= 0
        Largest shift in each direction; taken as 1 if it is 0.

    Returns
    -------
    Tensor of the shape of X
        The images, each shifted by its own draw of both directions.
    """
    n_samples, _, height, width = X.shape
    n_pixels = max(1, n_pixels)
    padded = F.pad(X, (n_pixels,) * 4, mode="reflect")
    offsets = torch.randint(0, 2 * n_pixels + 1, (2, n_samples, 1))
    offsets = offsets.to(X.device, non_blocking=True)
    rows = offsets[0] + torch.arange(height, device=X.device)  # (n_samples, height)
    columns = offsets[1] + torch.arange(width, device=X.device)  # (n_samples, width)
    images = torch.arange(n_samples, device=X.device)[:, None, None]
    # Channels come last where an index stands on either side of them.
    shifted = padded[images, :, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)
