"""skorch under ``python -OO``, which takes docstrings away that skorch needs."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


class _DocstringLoader(SourceFileLoader):
    """Compile a module with its docstrings, and keep no bytecode of it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path, _optimize=1)
        return code


class _SkorchFinder:
    """Find skorch, for the loader above."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.split(".")[0] != "skorch":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _DocstringLoader(spec.loader.name, spec.loader.path)
        return spec


# To be removed with the first skorch that can be imported by python -OO.
if sys.flags.optimize > 1 and "skorch" not in sys.modules:
    sys.meta_path.insert(0, _SkorchFinder)
    try:
        importlib.import_module("skorch")
    finally:
        sys.meta_path.remove(_SkorchFinder)
