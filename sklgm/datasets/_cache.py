"""Where downloaded data lies, and what to say when it is not there."""

import os
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from sklgm._running import user_cache


def get_data_home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which downloaded data sets are kept.

    The folder is named, not created: the first download creates it.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder to use. With None, the environment variable ``SKLGM_DATA``
        is used where it is set and not empty, and otherwise ``sklgm`` in the
        user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``).

    Returns
    -------
    pathlib.Path
        The folder, with ``~`` expanded.

    Examples
    --------
    >>> from sklgm.datasets import get_data_home
    >>> get_data_home("data").name
    'data'
    """
    if data_home is None:
        data_home = os.environ.get("SKLGM_DATA") or None
    if data_home is not None:
        return Path(data_home).expanduser()
    return user_cache()


def ensure_files(
    data_set: str,
    home: Path,
    subfolder: str,
    file_names: Sequence[str],
    *,
    download: Callable[[], object] | None,
) -> Path:
    """Make sure that the files of a data set are there.

    Parameters
    ----------
    data_set : str
        Name of the data set, for messages.
    home : pathlib.Path
        The data home.
    subfolder : str
        Folder of the data set below the data home.
    file_names : sequence of str
        Files that the folder must hold.
    download : callable or None
        Called without arguments when a file is missing. None: never download.

    Returns
    -------
    pathlib.Path
        The folder that holds every file.

    Raises
    ------
    FileNotFoundError
        If a file is missing and `download` is None, or left it missing.
    OSError
        If `download` failed.
    """
    folder = home / subfolder
    missing = _missing_files(folder, file_names)
    if not missing:
        return folder

    advice = (
        f"Place the files there (uncompressed, under these names), or name the folder "
        f"that holds {subfolder!r} by data_home or the environment variable SKLGM_DATA."
    )
    report = f"{data_set} is not complete: {folder} lacks {', '.join(missing)}."
    if download is None:
        raise FileNotFoundError(
            f"{report} It was not downloaded because download_if_missing=False. "
            f"{advice}"
        )
    try:
        download()
    # torchvision raises RuntimeError for a wrong checksum, and so does its import
    # where its build does not match that of torch.
    except (OSError, RuntimeError, ImportError, HTTPException) as error:
        cause = " ".join(str(error).split())
        raise OSError(f"{report} The download failed ({cause}). {advice}") from error
    missing = _missing_files(folder, file_names)
    if missing:
        raise FileNotFoundError(
            f"{data_set} is not complete after the download: {folder} lacks "
            f"{', '.join(missing)}. {advice}"
        )
    return folder


def _missing_files(folder: Path, file_names: Sequence[str]) -> list[str]:
    return [name for name in file_names if not (folder / name).is_file()]
