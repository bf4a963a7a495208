"""Whether Ctrl-C ends training early, or ends what training is a part of."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ARE_RAISED = ContextVar("interrupts_are_raised", default=False)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let Ctrl-C stop whatever is done inside, and not only the training it hits.

    A network that is trained by itself keeps the model so far. As a part of something
    larger, such as a fold of an audit, a half-trained model would pass for a whole one.

    Yields
    ------
    None
        For the length of a ``with`` block.
    """
    token = _ARE_RAISED.set(True)
    try:
        yield
    finally:
        _ARE_RAISED.reset(token)


def interrupts_are_raised() -> bool:
    """Whether this is inside :func:`interrupts_raised`.

    Returns
    -------
    bool
        In this thread.
    """
    return _ARE_RAISED.get()
