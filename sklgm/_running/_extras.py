"""Optional dependencies, imported where they are used."""

import importlib
from types import ModuleType


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
