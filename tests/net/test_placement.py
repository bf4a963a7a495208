"""Where batches are cut: the decision, and that the batches are the same."""

import threading

import numpy as np
import pytest
import torch

from sklgm import SoftmaxClassifier
from sklgm._net import BatchDataset, SlicedBatches, shared_tensor
from sklgm._net._placement import choose_placement, gathered, prefetched

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"
)


@pytest.fixture
def free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))


def dataset_of(rows, dtype=np.uint8):
    X = np.random.RandomState(0).randint(256, size=(100, 3, 4, 4)).astype(dtype)
    y = np.arange(100) % 5
    return BatchDataset(X, y, np.linspace(0.5, 1.5, 100), torch.float32, rows)


def epochs_of(dataset, placement, device="cpu"):
    batches = SlicedBatches(
        dataset,
        shared_tensor(dataset.X),
        batch_size=16,
        generator=torch.Generator().manual_seed(0),
    )
    batches._placement, batches.device = placement, torch.device(device)
    return [
        (X["X"].cpu(), X["sample_weight"].cpu(), y.cpu())
        for _ in range(2)
        for X, y in batches
    ]


def assert_same_batches(found, expected):
    assert len(found) == len(expected) > 2
    for own, others in zip(found, expected, strict=True):
        for part, other in zip(own, others, strict=True):
            assert part.dtype == other.dtype
            assert torch.equal(part, other)


@pytest.mark.usefixtures("free_memory")
@pytest.mark.parametrize(
    ("n_bytes", "is_read_again", "expected"),
    [
        (500, True, "resident"),
        (501, True, "prefetched"),
        (10, False, "prefetched"),
    ],
    ids=["half_of_the_free", "more", "one_pass"],
)
def test_rows_stay_on_a_gpu_that_has_room(n_bytes, is_read_again, expected):
    placement = choose_placement(n_bytes, CUDA, is_read_again=is_read_again)
    assert placement == expected


@pytest.mark.usefixtures("free_memory")
def test_memory_that_torch_keeps_unused_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    assert choose_placement(1500, CUDA, is_read_again=True) == "resident"
    assert choose_placement(1501, CUDA, is_read_again=True) == "prefetched"


def test_rows_are_placed_when_they_are_read(monkeypatch):
    """By then the rows that are trained on have taken their memory."""
    free = [1000]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 4000))
    batches = [
        SlicedBatches(dataset, shared_tensor(dataset.X)[:1], batch_size=4, device=CUDA)
        for dataset in (dataset_of(np.arange(10)), dataset_of(np.arange(10)))
    ]
    assert batches[0].placement == "resident"
    free[0] = 100
    assert [each.placement for each in batches] == ["resident", "prefetched"]


def test_rows_for_which_there_is_no_room_after_all_are_prefetched(monkeypatch):
    def full(dataset, instances, device):
        raise torch.cuda.OutOfMemoryError

    expected = epochs_of(dataset_of(None), "host")
    monkeypatch.setattr(BatchDataset, "resident", full)
    monkeypatch.setattr(
        "sklgm._net._loaders.gathered",
        lambda instances, rows, dtype, **_: gathered(instances, rows, instances.dtype),
    )
    assert_same_batches(epochs_of(dataset_of(None), "resident"), expected)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_elsewhere_the_network_fetches_its_batches(device):
    assert choose_placement(1, torch.device(device), is_read_again=True) == "host"


@pytest.mark.parametrize("rows", [None, np.arange(99, 10, -2)], ids=["all", "some"])
def test_resident_rows_make_the_same_batches(rows):
    dataset = dataset_of(rows)
    found = epochs_of(dataset, "resident")
    assert_same_batches(found, epochs_of(dataset_of(rows), "host"))
    (copied,) = dataset._resident.values()
    assert copied.dtype == torch.uint8
    assert len(copied) == len(dataset)


def test_prefetched_rows_make_the_same_batches(monkeypatch):
    def unpinned(instances, rows, dtype, *, is_pinned):
        assert is_pinned
        assert threading.current_thread() is not threading.main_thread()
        return gathered(instances, rows, instances.dtype)

    expected = epochs_of(dataset_of(None), "host")
    monkeypatch.setattr("sklgm._net._loaders.gathered", unpinned)
    assert_same_batches(epochs_of(dataset_of(None), "prefetched"), expected)


def test_one_item_is_made_ahead_and_in_order():
    made = []
    items = prefetched(lambda number: made.append(number) or number, range(5), CPU)
    assert next(items) == 0
    assert max(made) <= 1
    assert list(items) == [1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]
    assert list(prefetched(abs, [], CPU)) == []


def test_an_error_of_an_item_takes_its_place():
    def make(number):
        if number == 1:
            raise OSError("row 1 is damaged")
        return number

    items = prefetched(make, range(3), CPU)
    assert next(items) == 0
    with pytest.raises(OSError, match="row 1 is damaged"):
        next(items)


def test_the_thread_ends_with_the_iteration():
    items = prefetched(abs, range(5), CPU)
    next(items)
    items.close()
    assert not any("sklgm-prefetch" in t.name for t in threading.enumerate())


@pytest.mark.parametrize("asks", [True, False])
def test_a_backbone_is_compiled_if_that_is_asked_for(asks, monkeypatch, blobs):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda m: compiled.append(m))
    clf = SoftmaxClassifier(max_epochs=1, compile=asks, random_state=0).fit(*blobs)
    assert compiled == ([clf.net_.module_.backbone] if asks else [])


@pytest.mark.slow
def test_a_compiled_backbone_learns_the_same(blobs):
    X, y = blobs
    compiled, plain = (
        SoftmaxClassifier(max_epochs=2, compile=asks, random_state=0).fit(X, y)
        for asks in (True, False)
    )
    np.testing.assert_allclose(
        compiled.predict_proba(X), plain.predict_proba(X), atol=1e-4
    )


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("placement", ["resident", "prefetched"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_on_the_gpu_are_those_of_the_host(placement, dtype):
    found = epochs_of(dataset_of(None, dtype), placement, "cuda")
    assert_same_batches(found, epochs_of(dataset_of(None, dtype), "host"))


@pytest.mark.gpu
@needs_cuda
def test_training_does_not_depend_on_where_rows_are(monkeypatch, blobs):
    X, y = blobs

    def proba():
        clf = SoftmaxClassifier(max_epochs=3, device="cuda", random_state=0)
        return clf.fit(X, y).predict_proba(X)

    resident = proba()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    np.testing.assert_allclose(proba(), resident, atol=1e-5)
