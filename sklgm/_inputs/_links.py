"""Where links of a data set may lead."""

import os
from pathlib import Path


def folders_to_read(path: Path) -> tuple[str, ...]:
    """List the folders that links of a data set may lead into.

    Parameters
    ----------
    path : pathlib.Path
        Folder of the data set.

    Returns
    -------
    tuple of str
        The folder itself, without links. For a snapshot in the cache of the Hugging
        Face Hub, or a folder in it, whose files are links, also the folder ``blobs``
        of the same repository.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        blobs = folder.parent.parent / "blobs"
        if folder.parent.name == "snapshots" and blobs.is_dir():
            return str(real), str(blobs)
    return (str(real),)


def leads_out(path: str | Path, roots: tuple[str, ...]) -> bool:
    """Whether what is to be read lies elsewhere, by a link.

    Parameters
    ----------
    path : str or pathlib.Path
        File or folder.
    roots : tuple of str
        Folders that are read, as :func:`folders_to_read` lists them.

    Returns
    -------
    bool
        True of what lies outside of all `roots`.
    """
    real = os.path.realpath(path)
    return not any(
        real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in roots
    )
