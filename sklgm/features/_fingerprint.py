"""What decides the features of a row, as a hash: weights, structure and code."""

import datetime
import decimal
import dis
import functools
import hashlib
import logging
import re
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Bytes of a fingerprint.
N_BYTES = 16
# Packages whose code is known by name, wherever they lie.
_KNOWN = ("sklgm", "torch", "torchvision", "timm", "numpy", "PIL", "builtins")
_BY_REPR = (
    Enum,
    torch.dtype,
    torch.device,
    np.dtype,
    np.generic,
    re.Pattern,
    PurePath,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    bytearray,
)
# They decide nothing.
_NOTHING = (logging.Logger, type(threading.Lock()), type(threading.RLock()))
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
_ADDRESS = re.compile("0x[0-9a-f]+")
# What Python keeps of every class, and torch of every module.
_OF_ALL_CLASSES = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_CONTAINERS = {"_parameters", "_buffers", "_modules", "training"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice)


def fingerprint(*things: Any) -> str:
    """Hash modules, transforms and functions, so that they are known again.

    Parameters
    ----------
    *things : object
        Modules by their structure, weights, buffers and attributes but their hooks, and
        the code of their classes; functions by their code, what they close over, and
        what they take by a global name; other objects by their class and attributes.
        Installed packages are known by name: their code is not looked into.

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
        # Number of each, and itself: kept, so that no id is used twice.
        self._seen: dict[int, tuple[int, Any]] = {}

    def add(self, thing: Any) -> None:
        """Add an object and all that it is made of."""
        if isinstance(thing, _PLAIN):
            return self._say(type(thing).__name__, repr(thing))
        if isinstance(thing, type):
            return self._add_class(thing)
        if isinstance(thing, nn.Module):  # of torch.compile what was compiled
            thing = getattr(thing, "_orig_mod", thing)
        if self._is_known(thing):
            return None
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
            self.add(thing.__func__)
            return self.add(thing.__self__)
        if isinstance(thing, staticmethod | classmethod):
            return self.add((type(thing).__name__, thing.__func__))
        if isinstance(thing, property):
            return self.add(("property", thing.fget))
        if isinstance(thing, functools.cached_property):
            return self.add(("property", thing.func))
        if isinstance(thing, types.FunctionType):
            return self._add_code(thing)
        if isinstance(thing, functools.partial):
            return self.add(("partial", thing.func, thing.args, thing.keywords))
        if isinstance(thing, _BY_REPR):
            return self._say(type(thing).__qualname__, repr(thing))
        if isinstance(thing, types.BuiltinFunctionType | types.ModuleType | np.ufunc):
            self._say("known", getattr(thing, "__qualname__", thing.__name__))
            owner = getattr(thing, "__self__", None)
            return None if isinstance(owner, types.ModuleType) else self.add(owner)
        if isinstance(thing, _NOTHING):
            return self._say("none")
        if isinstance(thing, Mapping | list | tuple):
            self.add(getattr(thing, "__dict__", None))  # of a class of the user's
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

    def _is_known(self, thing: Any) -> bool:
        """Say the number of what was added before; else give it one."""
        if id(thing) in self._seen:
            self._say("again", str(self._seen[id(thing)][0]))
            return True
        self._seen[id(thing)] = len(self._seen), thing
        return False

    def _say(self, *words: str) -> None:
        self.digest.update("\0".join((*words, "\n")).encode())

    def _add_module(self, module: nn.Module) -> None:
        for name, part in module.named_modules():
            self._say("module", name)
            self._add_class(type(part))
            if isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule):
                # Compiled from code that their attributes are of.
                self._say(_ADDRESS.sub("", part.extra_repr()))
                self._say(str(getattr(part, "code", "")))
                self._add_attributes(part, is_all=False)
            else:
                self._add_attributes(part, is_all=True)
        # Buffers that are not persistent count, too; a state dict lacks them.
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self._say(name)
            self._add_tensor(tensor)

    def _add_attributes(self, part: nn.Module, *, is_all: bool) -> None:
        """Add what a module has beside its parameters, buffers and modules."""
        for attribute, value in sorted(vars(part).items()):
            # Hooks look on, as a rule: one that counts must not make another network.
            if attribute in _CONTAINERS or attribute.endswith("_hooks"):
                continue
            if is_all:
                self._say(attribute)
                self.add(value)
                continue
            values = value if isinstance(value, tuple) else (value,)
            if all(isinstance(each, _PLAIN) for each in values):
                self._say(attribute, repr(value))

    def _add_tensor(self, tensor: Tensor) -> None:
        self._say("tensor", str(tensor.dtype), str(tuple(tensor.shape)))
        values = tensor.detach().cpu().contiguous().reshape(-1)
        self.digest.update(values.view(torch.uint8).numpy().data)

    def _add_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if _is_installed(base.__module__):
                self._say(base.__module__, base.__qualname__)
            elif not self._is_known(base):
                self._say(base.__qualname__)
                for name, value in sorted(vars(base).items()):
                    is_own = not name.startswith("__") and name != "_abc_impl"
                    is_code = isinstance(value, types.FunctionType)
                    if isinstance(value, _OF_ALL_CLASSES) or not (is_own or is_code):
                        continue
                    self._say(name)
                    self.add(value)

    def _add_code(self, function: Any) -> None:
        if _is_installed(str(function.__module__)):
            return self._say(function.__module__, function.__qualname__)
        self._add_bytecode(function.__code__)
        cells = [_content(cell) for cell in function.__closure__ or ()]
        self.add((function.__defaults__, function.__kwdefaults__, cells))
        names = _names(function.__code__, is_global=False)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            is_module = isinstance(value, types.ModuleType)
            if is_module and not _is_installed(value.__name__):
                # Of a module of the user's what is named.
                for part in names:
                    self.add(vars(value).get(part))
            elif value is not None:
                self._say(name)
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
        self._add_class(type(thing))
        attributes = _slots(thing)
        if hasattr(thing, "__dict__"):
            attributes |= vars(thing)
        if attributes or hasattr(thing, "__dict__"):
            return self.add(attributes)
        try:
            made_of = thing.__reduce_ex__(2)
        except TypeError as error:
            raise ValueError(
                f"cache cannot tell one {type(thing).__qualname__} from another, so "
                "that features might be those of another extractor or transform; make "
                "them of modules and functions, or set cache=None"
            ) from error
        if isinstance(made_of, str):
            return self._say(made_of)
        return self.add([list(p) if isinstance(p, Iterator) else p for p in made_of])


@functools.lru_cache(maxsize=1024)
def _is_installed(module: str) -> bool:
    """Whether a module is of an installed package, or of Python."""
    top = module.split(".")[0]
    if top in _KNOWN or top in sys.stdlib_module_names:
        return True
    package = sys.modules.get(top)
    file = getattr(package, "__file__", None)
    paths = [file] if file else list(getattr(package, "__path__", ()))
    return any({"site-packages", "dist-packages"} & {*Path(p).parts} for p in paths)


def _slots(thing: Any) -> dict[str, Any]:
    """Attributes that an object has no dict for."""
    names: list[str] = []
    for base in type(thing).__mro__:
        slots = vars(base).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def captured(function: types.FunctionType) -> list[Any]:
    """List what a function closes over, or takes by a global name.

    Parameters
    ----------
    function : function
        One of Python.

    Returns
    -------
    list
        Values as they are now; names without one are left out.
    """
    cells = [_content(cell) for cell in function.__closure__ or ()]
    names = _names(function.__code__)
    known = function.__globals__
    return cells + [known[name] for name in names if name in known]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not assigned yet
        return None


def _names(code: types.CodeType, *, is_global: bool = True) -> list[str]:
    """Global names that a function and those inside it may use, or all names."""
    names = list(code.co_names)
    if is_global:
        used = {i.argval for i in dis.get_instructions(code) if i.opname in _LOADS}
        names = [name for name in names if name in used]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant, is_global=is_global)
    return names
