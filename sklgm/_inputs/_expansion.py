"""Bounds of what a small file may expand to in memory."""

import zipfile
from typing import NamedTuple

#: Most pixels of one image: 8192 x 8192.
MOST_PIXELS = 2**26
#: Most bytes of one image file.
MOST_FILE_BYTES = 2**28


class Bound(NamedTuple):
    """What may be taken in any case, in bytes, and as many times what is stored."""

    free: int
    times: int


#: Images, which are then scaled to four times that. Photographs take about 10 to 20
#: times what is stored, drawings of flat colours up to 400.
IMAGES = Bound(2**27, 400)
#: What is decoded one after the other, to be made smaller: time, and not memory.
DECODED = Bound(2**29, 1100)
#: Arrays and tables: counts of words, most of them 0, take up to 750 times.
ARRAYS = Bound(2**30, 750)
# Of compressed bytes at a time: some methods expand them a hundred thousand times.
_CHUNK = 4096


def check_expansion(
    n_bytes: int, n_stored: int, bound: Bound, what: str, to: str
) -> None:
    """Refuse what takes far more memory than it takes on the disk.

    Parameters
    ----------
    n_bytes : int
        Bytes that it takes in memory.
    n_stored : int
        Bytes that it takes on the disk.
    bound : Bound
        What it may take.
    what : str
        What it is, for the error.
    to : str
        What to do about it, for the error.

    Raises
    ------
    ValueError
        If it takes more, both in bytes and in times of what is stored.
    """
    if n_bytes > max(bound.free, bound.times * n_stored):
        raise ValueError(
            f"{what} would take {n_bytes / 2**20:,.0f} MiB of memory, "
            f"{n_bytes / max(n_stored, 1):,.0f} times what is stored: {to}"
        )


def check_pixels(width: int, height: int) -> None:
    """Refuse an image before it is decoded.

    Parameters
    ----------
    width, height : int
        As the file says.

    Raises
    ------
    ValueError
        If there are more than 2**26 pixels.
    """
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"it has {width} x {height} pixels, more than the {MOST_PIXELS} that are "
            "read; make it smaller"
        )


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read an entry of an archive, up to what an image may take.

    Parameters
    ----------
    archive : zipfile.ZipFile
        The archive.
    name : str
        Name of the entry.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ValueError
        If it is larger, whatever its header says.
    """
    check_file_bytes(archive.getinfo(name).file_size)
    content = bytearray()
    with archive.open(name) as file:
        while part := file.read(_CHUNK):
            content += part
    return bytes(content)


def check_file_bytes(n_bytes: int) -> None:
    """Refuse an image file before it is read.

    Parameters
    ----------
    n_bytes : int
        Its size.

    Raises
    ------
    ValueError
        If it has more than 2**28 bytes.
    """
    if n_bytes > MOST_FILE_BYTES:
        raise ValueError(
            f"it holds {n_bytes} bytes, more than the {MOST_FILE_BYTES} that are read"
        )
