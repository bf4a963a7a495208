"""Where a run takes place: versions, machine, and the user's folders."""

import functools
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_PACKAGES = (
    "sklgm",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "skorch",
    "adversarial-robustness-toolbox",
    "cleanlab",
)


@functools.cache  # looking through all that is installed takes time
def installed_version(package: str) -> str | None:
    """Version of an installed distribution.

    Parameters
    ----------
    package : str
        Name of the distribution.

    Returns
    -------
    str or None
        Its version, None if it is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_environment() -> dict[str, Any]:
    """Describe where a run takes place: Python, machine and package versions.

    Returns
    -------
    dict
        ``"python"``, ``"platform"``, ``"cpu_count"``, and ``"packages"``, a dict from
        distribution name to version, None where it is not installed. No package is
        imported to learn its version.

    Examples
    --------
    >>> from sklgm._running import describe_environment
    >>> sorted(describe_environment())
    ['cpu_count', 'packages', 'platform', 'python']
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
    }


def user_cache() -> Path:
    """Return the folder of this package in the user's cache, which may not exist yet.

    Returns
    -------
    pathlib.Path
        ``sklgm`` in ``XDG_CACHE_HOME``, else in ``~/.cache``.
    """
    # The XDG specification says that a relative XDG_CACHE_HOME is to be ignored.
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache_home.is_absolute():
        cache_home = Path("~/.cache").expanduser()
    return cache_home / "sklgm"
