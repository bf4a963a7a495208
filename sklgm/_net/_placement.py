"""Where batches are cut: on a GPU that holds all rows, or on their way to it."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import torch
from torch import Tensor

Placement = Literal["host", "resident", "prefetched"]
# Share of a GPU's free memory that rows may take; network and activations need some.
_SHARE = 0.5

_Item = TypeVar("_Item")


def choose_placement(
    n_bytes: int, device: torch.device, *, is_read_again: bool
) -> Placement:
    """Choose where the batches of a data set are cut.

    Parameters
    ----------
    n_bytes : int
        Size of its instances, in the type they have.
    device : torch.device
        Where the network is.
    is_read_again : bool
        Whether there are several epochs.

    Returns
    -------
    {"host", "resident", "prefetched"}
        ``"host"``: the network is on the CPU, or on a device other than CUDA, which
        copies each batch when it is asked for it; ``"resident"``: all instances are
        copied to the GPU once, as they are read again and take at most half of its free
        memory; ``"prefetched"``: a thread gathers the next batch into pinned memory
        while the network computes.
    """
    if device.type != "cuda":
        return "host"
    if not is_read_again:
        return "prefetched"
    free, _ = torch.cuda.mem_get_info(device)
    # What torch keeps for itself, and does not use.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return "resident" if n_bytes <= _SHARE * free else "prefetched"


def gathered(
    instances: Tensor, rows: Tensor, dtype: torch.dtype, *, is_pinned: bool = False
) -> Tensor:
    """Gather rows, and cast them.

    Parameters
    ----------
    instances : Tensor of shape (n_instances, *input_shape)
        All of them.
    rows : Tensor of int64 of shape (n_rows,)
        Which, on the same device.
    dtype : torch.dtype
        Type of the result.
    is_pinned : bool, default=False
        Gather into page-locked memory, from which a GPU copies by itself.

    Returns
    -------
    Tensor of shape (n_rows, *input_shape)
        A copy.
    """
    if not is_pinned:
        return instances.index_select(0, rows).to(dtype)
    # Cast on the GPU: fewer bytes are sent.
    shape = (len(rows), *instances.shape[1:])
    out = torch.empty(shape, dtype=instances.dtype, pin_memory=True)
    return torch.index_select(instances, 0, rows, out=out)


def prefetched(
    make: Callable[[int], _Item], numbers: Iterable[int], device: torch.device
) -> Iterator[_Item]:
    """Make items in a thread, one ahead of the one that is used.

    Parameters
    ----------
    make : callable
        Makes the item of a number; draws nothing at random.
    numbers : iterable of int
        Their numbers, in order.
    device : torch.device
        Where they go; the thread works on the current stream of a GPU, where threads
        would have their own.

    Yields
    ------
    object
        The items in this order; an error of ``make`` is raised in place of its item.
    """
    is_cuda = device.type == "cuda"
    stream = torch.cuda.current_stream(device) if is_cuda else None

    def make_on_stream(number: int) -> _Item:
        with torch.cuda.stream(stream):  # None changes nothing
            return make(number)

    with ThreadPoolExecutor(1, thread_name_prefix="sklgm-prefetch") as thread:
        coming = None
        for number in numbers:
            previous, coming = coming, thread.submit(make_on_stream, number)
            if previous is not None:
                yield previous.result()
        if coming is not None:
            yield coming.result()
