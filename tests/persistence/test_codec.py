"""Values as JSON and arrays, and back; what no encoder wrote is refused."""

import json
from collections import namedtuple

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from sklgm.persistence._classes import UnstorableError
from sklgm.persistence._codec import Decoder, Encoder


def decoded(encoded, arrays):
    stored = {name: bytearray(values.tobytes()) for name, values in arrays.items()}
    return Decoder(stored, {}, None).decode(json.loads(json.dumps(encoded)))


def back(value):
    encoder = Encoder()
    encoded = encoder.encode(value, "value")
    return decoded(encoded, encoder.arrays)


@pytest.mark.parametrize(
    "value",
    [
        np.dtype("<f4"),
        np.dtype("datetime64[ns]"),
        np.float32,
        np.int64,
        np.float64(0.1),
        torch.float64,
        torch.device("cpu"),
        torch.optim.SGD,
        (1, None, "a"),
        {"a": [1, 2.5], 3: frozenset({4})},
    ],
)
def test_values_come_back(value):
    found = back(value)
    assert type(found) is type(value)
    assert found == value


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_has_no_word_for_come_back(value):
    assert repr(back(value)) == repr(value)


def test_the_size_of_a_tensor_comes_back_as_a_tuple():
    assert back(torch.ones(2, 3).shape) == (2, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64])
def test_tensors_come_back_with_their_type(dtype):
    value = torch.tensor([[1.5, -2.0], [0.0, 3.0]]).to(dtype)
    found = back(value)
    assert found.dtype == dtype
    assert torch.equal(found, value)


def test_arrays_of_objects_come_back():
    value = np.array([["a", None], [1, 2.5]], dtype=object)
    found = back(value)
    assert found.dtype == object
    assert found.tolist() == value.tolist()


def test_generators_go_on_where_they_were():
    generator, state = np.random.default_rng(0), np.random.RandomState(0)
    generator.random(3), state.rand(3)
    found = back([generator, state])
    assert found[0].random() == generator.random()
    assert found[1].rand() == state.rand()


def test_neighbours_are_found_without_a_tree_too():
    rows = np.random.default_rng(0).normal(size=(30, 2))
    for algorithm in ("brute", "kd_tree"):
        search = NearestNeighbors(n_neighbors=2, algorithm=algorithm).fit(rows)
        np.testing.assert_array_equal(
            back(search).kneighbors(rows[:5])[1], search.kneighbors(rows[:5])[1]
        )


Unknown = namedtuple("Unknown", "a")


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.array([(None,)], dtype=[("a", object)])[0],
        Unknown(1),
        lambda: None,
        open,
    ],
)
def test_values_without_a_word_are_named(value):
    with pytest.raises(UnstorableError, match="value"):
        Encoder().encode(value, "value")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"type": "objects", "id": 0, "shape": [3], "items": [1, 2]},
            "another number of values than its shape",
        ),
        (
            {"type": "scalar", "dtype": "|O", "bytes": "00"},
            "a scalar has the type object",
        ),
        ({"type": "scalar_type", "name": "load"}, "'load' is not a type of numbers"),
        ({"type": "torch_dtype", "name": "load"}, "'load' is not a type of tensors"),
        ({"type": "optimizer", "name": "lr_scheduler"}, "is not an optimiser"),
        (
            {
                "type": "generator",
                "id": 0,
                "state": {"type": "dict", "items": [["bit_generator", "seed"]]},
            },
            "'seed' is not a source of bits",
        ),
        (
            {
                "type": "array",
                "id": 0,
                "name": "0",
                "dtype": "O",
                "shape": [1],
                "is_fortran": False,
            },
            "is none",
        ),
    ],
)
def test_what_no_encoder_wrote_is_refused(node, message):
    with pytest.raises(ValueError, match=message):
        decoded(node, {"0": np.zeros(1)})
