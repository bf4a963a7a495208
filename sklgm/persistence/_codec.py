"""Objects as JSON and arrays, and back, with nothing executed in between."""

import dataclasses
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sklgm._sklearn_private import tree_class
from sklgm.persistence._classes import (
    UnstorableError,
    class_by_name,
    class_name,
    is_named_tuple,
)

_PLAIN = (type(None), bool, str, int)
# Such as "<f8", "|b1", "<U12" and "<M8[ns]".
_PLAIN_TYPE = re.compile(r"[<>|][biufcSUVOMm]\d{0,9}(\[\d{0,9}[a-zA-Z]{1,2}\])?")
_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
# Nested parameters of skorch, each of which may be an object of the user's own.
_NESTED = "_skorch_params"
_Value = TypeVar("_Value")


class Encoder:
    """Turn objects into what JSON holds, and arrays.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays by the name that the JSON calls them.
    given : dict of str to str
        Type by name, of parameters that are not stored and must be given again.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.given: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no number is given twice

    def encode(self, value: Any, where: str) -> Any:
        """Encode a value.

        Parameters
        ----------
        value : object
            Plain values, arrays, tensors, estimators of scikit-learn and sklgm, and
            containers and records of these.
        where : str
            What it is, for the error.

        Returns
        -------
        object
            Of types that JSON knows.

        Raises
        ------
        UnstorableError
            If the format has no word for it.
        """
        if type(value) in _PLAIN:
            return value
        if type(value) is float:
            is_plain = math.isfinite(value)
            return value if is_plain else {"type": "float", "value": repr(value)}
        if type(value) is list:
            return [self.encode(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if type(value) in (tuple, set, frozenset):
            items = [self.encode(v, f"{where}[{i}]") for i, v in enumerate(value)]
            return {"type": type(value).__name__, "items": items}
        if isinstance(value, dict):
            return {"type": "dict", "items": self._pairs(value, where)}
        if id(value) in self._numbers:
            return {"type": "ref", "id": self._numbers[id(value)]}
        known = self._encode_numbers(value, where)
        return self._encode_object(value, where) if known is None else known

    def _encode_numbers(self, value: Any, where: str) -> Any:
        """Arrays, scalars, types and generators; None for anything else."""
        if isinstance(value, np.ndarray):
            return self._encode_array(value, where)
        if isinstance(value, np.generic):
            scalar = np.asarray(value)
            if scalar.dtype.hasobject:
                raise _unstorable(value, where)
            return {
                "type": "scalar",
                "dtype": scalar.dtype.str,
                "bytes": scalar.tobytes().hex(),
            }
        if isinstance(value, np.dtype) and not value.hasobject and value.names is None:
            return {"type": "dtype", "name": value.str}
        if isinstance(value, np.random.RandomState):
            state = {"state": self.encode(value.get_state(), where)}
            return {"type": "random_state", "id": self._number(value), **state}
        if isinstance(value, np.random.Generator):
            state = {"state": self.encode(value.bit_generator.state, where)}
            return {"type": "generator", "id": self._number(value), **state}
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"type": "scalar_type", "name": value.__name__}
        # A value can be one of torch's only where torch was imported.
        torch = sys.modules.get("torch")
        if torch is None:
            return None
        if isinstance(value, torch.Tensor) and value.layout == torch.strided:
            number, is_bfloat16 = self._number(value), value.dtype == torch.bfloat16
            array = value.detach().cpu().contiguous()
            array = array.view(torch.int16) if is_bfloat16 else array
            return {
                "type": "tensor",
                "id": number,
                "is_bfloat16": is_bfloat16,
                "array": self.encode(array.numpy(), where),
            }
        if isinstance(value, torch.dtype):
            return {"type": "torch_dtype", "name": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"type": "torch_device", "name": str(value)}
        if isinstance(value, torch.Size):
            return {"type": "tuple", "items": list(value)}
        name = getattr(value, "__name__", "")
        if isinstance(value, type) and value is getattr(torch.optim, name, None):
            return {"type": "optimizer", "name": name}
        return None

    def _encode_array(self, value: NDArray[Any], where: str) -> Any:
        number = self._number(value)
        if value.dtype == object:
            items = [self.encode(v, where) for v in value.ravel().tolist()]
            shape = list(value.shape)
            return {"type": "objects", "id": number, "shape": shape, "items": items}
        if value.dtype.hasobject or value.dtype.names is not None:
            raise _unstorable(value, where)
        is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        name = str(len(self.arrays))
        self.arrays[name] = np.ascontiguousarray(value.T if is_fortran else value)
        return {
            "type": "array",
            "id": number,
            "name": name,
            "dtype": value.dtype.str,
            "shape": list(value.shape),
            "is_fortran": is_fortran,
        }

    def _encode_object(self, value: Any, where: str) -> Any:
        cls = type(value)
        if cls is tree_class():
            return self._encode_tree(value, where)
        name = class_name(cls)
        if name is None:
            raise _unstorable(value, where)
        if is_named_tuple(cls):
            state = dict(zip(cls._fields, value, strict=True))
            pairs = self._pairs(state, where, separator=".")
            return {"type": "named_tuple", "class": name, "items": pairs}
        number = self._number(value)
        if dataclasses.is_dataclass(cls):
            state = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            pairs = self._pairs(state, where, separator=".")
            return {"type": "record", "class": name, "id": number, "items": pairs}
        state = _state(value)
        params: set[str] = set()
        if isinstance(value, BaseEstimator):
            params = set(value.get_params(deep=False))
            if state.get("memory") is not None and "memory" in params:
                raise UnstorableError(
                    f"{where}.memory is a cache of pickles, which is not stored: set "
                    "memory=None first"
                )
        items = []
        for key, part in state.items():
            if key == _NESTED:
                pairs = [[k, self._parameter(v, k)] for k, v in part.items()]
                items.append([key, {"type": "dict", "items": pairs}])
            elif key in params:
                items.append([key, self._parameter(part, key)])
            else:
                items.append([key, self.encode(part, f"{where}.{key}")])
        return {"type": "object", "class": name, "id": number, "items": items}

    def _parameter(self, value: Any, name: str) -> Any:
        """Encode a parameter; one of the user's own objects is named only."""
        n_arrays, n_numbers = len(self.arrays), len(self._numbers)
        try:
            return self.encode(value, name)
        except UnstorableError:
            # Of what was begun.
            self.arrays = dict(list(self.arrays.items())[:n_arrays])
            self._numbers = dict(list(self._numbers.items())[:n_numbers])
            self.given[name] = _description(value)
            return {"type": "given", "name": name}

    def _encode_tree(self, tree: Any, where: str) -> Any:
        _, arguments, state = tree.__reduce__()
        nodes = {name: state["nodes"][name] for name in state["nodes"].dtype.names}
        parts = {**state, "nodes": nodes}
        return {
            "type": "tree",
            "id": self._number(tree),
            "arguments": self.encode(list(arguments), where),
            "state": self.encode(parts, where),
        }

    def _pairs(
        self, values: Mapping[Any, Any], where: str, separator: str = ""
    ) -> list[Any]:
        return [
            [
                self.encode(key, where),
                self.encode(
                    value,
                    f"{where}{separator}{key}" if separator else f"{where}[{key!r}]",
                ),
            ]
            for key, value in values.items()
        ]

    def _number(self, value: Any) -> int:
        number = len(self._alive)
        self._numbers[id(value)] = number
        self._alive.append(value)
        return number


class Decoder:
    """Make objects again from what :class:`Encoder` made of them.

    Parameters
    ----------
    arrays : mapping of str to bytearray
        Bytes by the name that the JSON calls them.
    given : mapping of str to object
        Values of parameters that are not stored.
    device : str, torch.device or None
        Where networks are put.
    """

    def __init__(
        self, arrays: Mapping[str, bytearray], given: Mapping[str, Any], device: Any
    ) -> None:
        self._arrays = arrays
        self._given = given
        self._device = device
        self._objects: dict[int, Any] = {}

    def decode(self, node: Any) -> Any:
        """Decode a value.

        Parameters
        ----------
        node : object
            As :meth:`Encoder.encode` gave it.

        Returns
        -------
        object
            The value.

        Raises
        ------
        Exception
            Of any kind, if it is not what an encoder wrote.
        """
        if type(node) in _PLAIN or type(node) is float:
            return node
        if type(node) is list:
            return [self.decode(item) for item in node]
        decode = _DECODERS[node["type"]]
        return decode(self, node)

    def _kept(self, node: Any, value: _Value) -> _Value:
        self._objects[node["id"]] = value
        return value

    def _items(self, node: Any) -> list[tuple[Any, Any]]:
        return [(self.decode(key), self.decode(part)) for key, part in node["items"]]

    def _array(self, node: Any) -> NDArray[Any]:
        dtype, shape = _dtype(node["dtype"]), tuple(node["shape"])
        if dtype.hasobject:
            raise ValueError(f"an array has the type {dtype}")
        values = np.frombuffer(self._arrays[node["name"]], dtype)
        if dtype.kind == "U" and values.size > 0:
            _check_characters(values)
        if node["is_fortran"]:
            return self._kept(node, values.reshape(shape[::-1]).T)
        return self._kept(node, values.reshape(shape))

    def _objects_array(self, node: Any) -> NDArray[Any]:
        items, shape = node["items"], tuple(node["shape"])
        if math.prod(shape) != len(items):
            raise ValueError("an array has another number of values than its shape")
        values = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            values[i] = self.decode(item)
        return self._kept(node, values.reshape(shape))

    def _scalar(self, node: Any) -> Any:
        dtype = _dtype(node["dtype"])
        if dtype.hasobject:
            raise ValueError(f"a scalar has the type {dtype}")
        return np.frombuffer(bytes.fromhex(node["bytes"]), dtype)[0]

    def _scalar_type(self, node: Any) -> Any:
        found = getattr(np, node["name"])
        if not (isinstance(found, type) and issubclass(found, np.generic)):
            raise ValueError(f"{node['name']!r} is not a type of numbers")
        return found

    def _random_state(self, node: Any) -> Any:
        made = self._kept(node, np.random.RandomState())
        made.set_state(self.decode(node["state"]))
        return made

    def _generator(self, node: Any) -> Any:
        state = self.decode(node["state"])
        if state["bit_generator"] not in _BIT_GENERATORS:
            raise ValueError(f"{state['bit_generator']!r} is not a source of bits")
        bits = getattr(np.random, state["bit_generator"])()
        bits.state = state
        return self._kept(node, np.random.Generator(bits))

    def _tensor(self, node: Any) -> Any:
        import torch

        tensor = torch.from_numpy(self.decode(node["array"]))
        if node["is_bfloat16"]:
            tensor = tensor.view(torch.bfloat16)
        return self._kept(node, tensor)

    def _torch_dtype(self, node: Any) -> Any:
        import torch

        found = getattr(torch, node["name"])
        if not isinstance(found, torch.dtype):
            raise ValueError(f"{node['name']!r} is not a type of tensors")
        return found

    def _torch_device(self, node: Any) -> Any:
        import torch

        return torch.device(node["name"])

    def _optimizer(self, node: Any) -> Any:
        import torch

        found = getattr(torch.optim, node["name"])
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise ValueError(f"{node['name']!r} is not an optimiser")
        return found

    def _named_tuple(self, node: Any) -> Any:
        cls: Any = class_by_name(node["class"])
        values = dict(self._items(node))
        if tuple(values) != cls._fields:
            raise ValueError(f"{cls.__name__} has other fields")
        return cls(**values)

    def _record(self, node: Any) -> Any:
        cls: Any = class_by_name(node["class"])
        names = [field.name for field in dataclasses.fields(cls)]
        if [key for key, _ in node["items"]] != names:
            raise ValueError(f"{cls.__name__} has other fields")
        made = self._kept(node, object.__new__(cls))
        for name, part in node["items"]:
            object.__setattr__(made, name, self.decode(part))
        return made

    def _object(self, node: Any) -> Any:
        cls = class_by_name(node["class"])
        made: Any = self._kept(node, object.__new__(cls))
        state = dict(self._items(node))
        if not all(type(key) is str for key in state):
            raise ValueError(f"{cls.__name__} has attributes without a name")
        if issubclass(cls, BaseEstimator) and state.get("memory") is not None:
            raise ValueError(f"{cls.__name__} has a cache of pickles, memory")
        # Of the class: a frozen estimator passes on what it has not to the one inside.
        if hasattr(cls, "_restore_state"):
            made._restore_state(state, self._device)
            return made
        if "_tree" in state:
            state["_tree"] = _search_tree(state)
        vars(made).update(state)
        return made

    def _decision_tree(self, node: Any) -> Any:
        n_features, n_classes, n_outputs = self.decode(node["arguments"])
        state = self.decode(node["state"])
        make = tree_class()
        tree = self._kept(node, make(n_features, n_classes, n_outputs))
        dtype = make(1, np.ones(1, dtype=np.intp), 1).__getstate__()["nodes"].dtype
        nodes = np.zeros(len(state["nodes"]["left_child"]), dtype)
        for name in dtype.names:
            nodes[name] = state["nodes"][name]
        _check_nodes(nodes, n_features, state["node_count"])
        tree.__setstate__({**state, "nodes": nodes})
        return tree


_DECODERS: dict[str, Any] = {
    "array": Decoder._array,
    "dict": lambda decoder, node: dict(decoder._items(node)),
    "dtype": lambda decoder, node: _dtype(node["name"]),
    "float": lambda decoder, node: float(node["value"]),
    "frozenset": lambda decoder, node: frozenset(decoder.decode(node["items"])),
    "generator": Decoder._generator,
    "given": lambda decoder, node: decoder._given[node["name"]],
    "named_tuple": Decoder._named_tuple,
    "object": Decoder._object,
    "objects": Decoder._objects_array,
    "optimizer": Decoder._optimizer,
    "random_state": Decoder._random_state,
    "record": Decoder._record,
    "ref": lambda decoder, node: decoder._objects[node["id"]],
    "scalar": Decoder._scalar,
    "scalar_type": Decoder._scalar_type,
    "set": lambda decoder, node: set(decoder.decode(node["items"])),
    "tensor": Decoder._tensor,
    "torch_device": Decoder._torch_device,
    "torch_dtype": Decoder._torch_dtype,
    "tree": Decoder._decision_tree,
    "tuple": lambda decoder, node: tuple(decoder.decode(node["items"])),
}


def _dtype(name: Any) -> np.dtype[Any]:
    """Type as an encoder writes it; numpy would parse others as Python."""
    if type(name) is not str or _PLAIN_TYPE.fullmatch(name) is None:
        raise ValueError("an array has a type that is none")
    return np.dtype(name)


def _state(value: Any) -> dict[str, Any]:
    """Attributes that an object is made of again."""
    has_own = hasattr(type(value), "_stored_state")
    state: dict[str, Any] = value._stored_state() if has_own else dict(vars(value))
    if type(state.get("_tree")) in _search_trees().values():
        state["_tree"] = None  # made again from the rows, which are kept beside it
    return state


def _search_trees() -> dict[str, type[Any]]:
    from sklearn.neighbors import BallTree, KDTree  # here, since it imports much

    return {"kd_tree": KDTree, "ball_tree": BallTree}


def _search_tree(state: Mapping[str, Any]) -> Any:
    """Tree of the rows of a search for neighbours, as its ``fit`` makes it."""
    kinds = _search_trees()
    if state["_fit_method"] not in kinds:
        return None
    return kinds[state["_fit_method"]](
        state["_fit_X"],
        state["leaf_size"],
        metric=state["effective_metric_"],
        **state["effective_metric_params_"],
    )


def _check_nodes(nodes: NDArray[Any], n_features: int, node_count: int) -> None:
    """Refuse trees that would lead to memory which is not theirs."""
    own = np.arange(len(nodes))
    is_leaf = nodes["left_child"] == -1
    is_valid = node_count == len(nodes) > 0
    for side in ("left_child", "right_child"):
        child = nodes[side]
        inside = (child > own) & (child < len(nodes))
        is_valid &= bool(np.where(is_leaf, child == -1, inside).all())
    feature = nodes["feature"][~is_leaf]
    is_valid &= bool(((feature >= 0) & (feature < n_features)).all())
    if not is_valid:
        raise ValueError("a tree has branches that lead nowhere")


def _check_characters(values: NDArray[Any]) -> None:
    codes = values.view(values.dtype.byteorder.replace("=", "<") + "u4")
    if codes.max() > 0x10FFFF:
        raise ValueError("a text holds what is not a character")


def _description(value: Any) -> str:
    named = value if isinstance(value, type) or hasattr(value, "__qualname__") else None
    kind = type(value) if named is None else named
    return f"{kind.__module__}.{kind.__qualname__}"


def _unstorable(value: Any, where: str) -> UnstorableError:
    return UnstorableError(
        f"{where} is a {_description(value)}, which cannot be stored without pickle"
    )
