"""Optional dependencies, imported where they are used."""

import importlib
import importlib.metadata
import re
from types import ModuleType

#: Of an extra's requirement: the package, and the extra that asks for it.
_REQUIREMENT = re.compile(r"""([\w.-]+).*;.*\bextra\s*==\s*["']([\w-]+)["']""")
#: What only those who change sklgm itself need.
_FOR_DEVELOPERS = ("test", "docs", "dev", "browser")


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an optional extra.

    Parameters
    ----------
    module : str
        Name of the module.
    extra : str
        The extra of sklgm that brings it.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If it is missing; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is needed here and is not installed: "
            f'pip install "sklgm[{extra}]"'
        ) from error


def installed_extras() -> dict[str, list[str]]:
    """Say which optional extras are installed.

    Returns
    -------
    dict of str to list of str
        By extra, the packages that are missing; empty where all are installed.
        Versions are not compared. Extras for developers are left out.

    Examples
    --------
    >>> from sklgm._running import installed_extras
    >>> installed_extras()["cli"]
    []
    """
    try:
        requirements = importlib.metadata.requires("sklgm") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    extras: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match[2] in _FOR_DEVELOPERS or match[1] == "sklgm":
            continue
        missing = extras.setdefault(match[2], [])
        try:
            importlib.metadata.distribution(match[1])
        except importlib.metadata.PackageNotFoundError:
            missing.append(match[1])
    return extras
