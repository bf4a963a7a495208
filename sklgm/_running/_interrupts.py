"""Whether Ctrl-C ends training early, or ends what training is a part of."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import NoReturn

_ARE_RAISED = ContextVar("interrupts_are_raised", default=False)


class _Noted:
    """Handler that raises, and remembers that it did."""

    def __init__(self) -> None:
        self.is_pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        self.is_pressed = True
        raise KeyboardInterrupt


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let Ctrl-C stop whatever is done inside, and not only the training it hits.

    A network that is trained by itself keeps the model so far. As a part of something
    larger, such as a fold of an audit, a half-trained model would pass for a whole one.

    Compiled code that asks for an attribute clears the exception: then it is raised
    again where the block ends, since who pressed Ctrl-C wants nothing of what follows.

    Yields
    ------
    None
        For the length of a ``with`` block.
    """
    token = _ARE_RAISED.set(True)
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    is_outermost = is_main and before is signal.default_int_handler
    handler = _Noted() if is_outermost else before
    if is_outermost:
        signal.signal(signal.SIGINT, handler)
    try:
        yield
        if is_main and isinstance(handler, _Noted) and handler.is_pressed:
            raise KeyboardInterrupt
    finally:
        _ARE_RAISED.reset(token)
        if is_outermost:
            signal.signal(signal.SIGINT, before)


def interrupts_are_raised() -> bool:
    """Whether this is inside :func:`interrupts_raised`.

    Returns
    -------
    bool
        In this thread.
    """
    return _ARE_RAISED.get()
