"""What decides the features of a row, as a hash: weights, structure and code."""

import functools
import hashlib
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Bytes of a fingerprint.
N_BYTES = 16
# Packages whose code is taken for known by name.
_KNOWN = ("torch", "torchvision", "timm", "numpy", "PIL", "builtins")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice)


def fingerprint(*things: Any) -> str:
    """Hash modules, transforms and functions, so that they are known again.

    Parameters
    ----------
    *things : object
        Modules by their structure, weights and buffers, and the code of what is not a
        class of torch; functions by their code, what they close over, and the modules
        and functions that they call by a global name; other objects by their class and
        attributes.

    Returns
    -------
    str
        The same in every process.

    Raises
    ------
    ValueError
        If something has no content that can be told, such as an open file.
    """
    hashed = _Hash()
    for thing in things:
        hashed.add(thing)
    return hashed.digest.hexdigest()


def row_fingerprint(row: NDArray[Any]) -> bytes:
    """Hash the values of a row.

    Parameters
    ----------
    row : ndarray
        Numbers.

    Returns
    -------
    bytes
        Of length 16.
    """
    digest = hashlib.blake2b(digest_size=N_BYTES)
    digest.update(f"{row.dtype.str} {row.shape} ".encode())
    digest.update(np.ascontiguousarray(row).data)
    return digest.digest()


def name_fingerprint(name: Any) -> bytes:
    """Hash what tells a file or a text from others.

    Parameters
    ----------
    name : object
        Its ``repr`` is hashed.

    Returns
    -------
    bytes
        Of length 16.
    """
    return hashlib.blake2b(repr(name).encode(), digest_size=N_BYTES).digest()


class _Hash:
    """A hash of objects; what was added before is known by its number."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=N_BYTES)
        self._seen: dict[int, Any] = {}  # kept, so that no id is used twice

    def add(self, thing: Any) -> None:
        """Add an object and all that it is made of."""
        if isinstance(thing, _PLAIN):
            return self._say(type(thing).__name__, repr(thing))
        if id(thing) in self._seen:
            return self._say("again", str(list(self._seen).index(id(thing))))
        self._seen[id(thing)] = thing
        if isinstance(thing, nn.Module):
            return self._add_module(thing)
        if isinstance(thing, Tensor):
            return self._add_tensor(thing)
        if isinstance(thing, np.ndarray):
            self._say("array", str(thing.dtype), str(thing.shape))
            return self.add(
                thing.tolist() if thing.dtype == object else thing.tobytes()
            )
        if isinstance(thing, types.MethodType):
            self._say("method")
            self._add_code(thing.__func__)
            return self.add(thing.__self__)
        if isinstance(thing, types.FunctionType):
            return self._add_code(thing)
        if isinstance(thing, functools.partial):
            return self.add(("partial", thing.func, thing.args, thing.keywords))
        if isinstance(thing, Enum | torch.dtype | torch.device | np.dtype):
            return self._say(str(thing))
        if isinstance(thing, type):
            return self._add_class(thing)
        if isinstance(thing, types.BuiltinFunctionType | types.ModuleType | np.ufunc):
            return self._say("known", getattr(thing, "__qualname__", thing.__name__))
        if isinstance(thing, Mapping):
            return self.add([type(thing).__name__, *thing.items()])
        if isinstance(thing, set | frozenset):
            return self.add(["set", *sorted(thing, key=repr)])
        if isinstance(thing, list | tuple):
            self._say(type(thing).__name__, str(len(thing)))
            for item in thing:
                self.add(item)
            return None
        return self._add_object(thing)

    def _say(self, *words: str) -> None:
        self.digest.update("\0".join((*words, "\n")).encode())

    def _add_module(self, module: nn.Module) -> None:
        for name, part in module.named_modules():
            self._say("module", name, part.extra_repr())
            self._add_class(type(part))
            for attribute, value in sorted(vars(part).items()):
                is_own = not attribute.startswith("_") and attribute != "training"
                values = value if isinstance(value, tuple) else (value,)
                if is_own and all(isinstance(each, _PLAIN) for each in values):
                    self._say(attribute, repr(value))
        # Buffers that are not persistent count, too; a state dict lacks them.
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self._say(name)
            self._add_tensor(tensor)

    def _add_tensor(self, tensor: Tensor) -> None:
        self._say("tensor", str(tensor.dtype), str(tuple(tensor.shape)))
        values = tensor.detach().cpu().contiguous().reshape(-1)
        self.digest.update(values.view(torch.uint8).numpy().data)

    def _add_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if base.__module__.split(".")[0] in _KNOWN:
                self._say(base.__module__, base.__qualname__)
            elif id(base) not in self._seen:
                self._seen[id(base)] = base
                self._say(base.__qualname__)
                for name, value in sorted(vars(base).items()):
                    if isinstance(value, types.FunctionType):
                        self._say(name)
                        self._add_code(value)

    def _add_code(self, function: Any) -> None:
        if function.__module__.split(".")[0] in _KNOWN:
            return self._say(function.__module__, function.__qualname__)
        self._add_bytecode(function.__code__)
        cells = [_content(cell) for cell in function.__closure__ or ()]
        self.add((function.__defaults__, function.__kwdefaults__, cells))
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, nn.Module | types.FunctionType):
                self.add(value)
        return None

    def _add_bytecode(self, code: types.CodeType) -> None:
        self._say(code.co_code.hex(), *code.co_names, *code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._add_bytecode(constant)
            elif isinstance(constant, frozenset):  # in another order in each process
                self._say(repr(sorted(constant, key=repr)))
            else:
                self._say(repr(constant))

    def _add_object(self, thing: Any) -> None:
        attributes = getattr(thing, "__dict__", None)
        if attributes is None:
            raise ValueError(
                f"cache cannot tell one {type(thing).__qualname__} from another, so "
                "that features might be those of another extractor or transform; make "
                "them of modules and functions, or set cache=None"
            )
        self._add_class(type(thing))
        self.add(attributes)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not assigned yet
        return None


def _names(code: types.CodeType) -> list[str]:
    """Global names that a function and those inside it may use."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return names
