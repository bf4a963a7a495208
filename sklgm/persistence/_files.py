"""Files that are written whole or not at all, and read only if they are plain ones."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path


def write_atomically(
    path: str | os.PathLike[str], content: bytes | Callable[[Path], object]
) -> None:
    """Write a file whole or not at all; one that was there before is replaced.

    Parameters
    ----------
    path : path-like
        Where.
    content : bytes or callable
        What; or a function that writes it to the path that it is given.

    Raises
    ------
    OSError
        If it cannot be written, such as on a full disk. What was there stays then.
    """
    path = Path(path)
    # In the same folder: a rename is atomic only within one file system.
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.partial")
    try:
        if callable(content):
            content(partial)
        else:
            partial.write_bytes(content)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Read a file that is neither a device, a pipe nor larger than expected.

    Parameters
    ----------
    path : path-like
        Where it lies; a link is followed.
    max_bytes : int
        Most that is read.

    Returns
    -------
    bytes
        All of it.

    Raises
    ------
    OSError
        If there is none, or it cannot be read.
    ValueError
        If it is not a regular file, or larger than ``max_bytes``.
    """
    # Without waiting: to open a pipe nobody writes to would never return.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{os.fspath(path)} is not a regular file")
        if status.st_size > max_bytes:
            raise ValueError(
                f"{os.fspath(path)} holds {status.st_size} bytes, more than "
                f"max_bytes={max_bytes}"
            )
        content = file.read(status.st_size + 1)
    if len(content) != status.st_size:
        raise ValueError(f"{os.fspath(path)} changed while it was read")
    return content
