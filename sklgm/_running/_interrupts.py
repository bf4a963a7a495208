"""Whether Ctrl-C ends training early, or ends what training is a part of."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, NoReturn

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

    Compiled code may clear the exception. It is then raised again where the block ends:
    whoever pressed Ctrl-C wants nothing of what follows.

    Yields
    ------
    None
        For the length of a ``with`` block.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if isinstance(before, _Noted) and not _ARE_RAISED.get():
        before = signal.default_int_handler  # a second Ctrl-C hit the end of a block
    is_outermost = is_main and before is signal.default_int_handler
    handler = _Noted() if is_outermost else before
    token = _ARE_RAISED.set(True)
    try:
        if is_outermost:
            signal.signal(signal.SIGINT, handler)
        yield
        if is_main and _is_pressed(handler):
            raise KeyboardInterrupt
    except Exception as error:  # such as the ImportError that an import made of it
        if is_main and _is_pressed(handler):
            raise KeyboardInterrupt from error
        raise
    finally:
        try:
            if is_outermost:
                signal.signal(signal.SIGINT, before)
        finally:
            _ARE_RAISED.reset(token)


def _is_pressed(handler: Any) -> bool:
    """Whether Ctrl-C was pressed since the outermost block began."""
    return isinstance(handler, _Noted) and handler.is_pressed


def interrupts_are_raised() -> bool:
    """Whether this is inside :func:`interrupts_raised`.

    Returns
    -------
    bool
        In this thread.
    """
    return _ARE_RAISED.get()
