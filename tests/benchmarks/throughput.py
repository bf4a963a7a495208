"""Rows per second of training, crafting and scoring, beside what the machine can do.

``python -m tests.benchmarks.throughput --device cuda --out throughput.json`` takes some
minutes on a GPU; ``--size small`` runs everywhere, and says nothing of the GPU. Images
are random: no data are needed. Shares are of ceilings measured in the same process:
operations of a large matrix product of the same type, and bytes of a copy
from page-locked memory to the device (on the CPU: within memory).
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch.utils.flop_counter import FlopCounterMode

from sklgm import LGMClassifier, LGMOutlierDetector
from sklgm._net import BatchDataset, SlicedBatches, shared_tensor
from sklgm._running import describe_environment
from sklgm.poisoning import craft

FORMAT = 1
# Gradients of a layer's input and of its weights cost a product each.
_FLOPS_OF_TRAINING = 3


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    n_rows: int
    side: int
    backbone: str
    batch_size: int
    n_epochs: int
    n_poisons: int
    n_iterations: int
    n_product: int
    n_copied: int
    n_repeats: int


SIZES = {
    "small": Size(192, 32, "cnn", 64, 3, 4, 3, 128, 1 << 16, 2),
    "full": Size(50_000, 32, "resnet18", 512, 4, 512, 50, 8192, 1 << 28, 10),
}


def measure(device, size):
    """Measure everything on one device.

    Parameters
    ----------
    device : torch.device
        CPU or CUDA.
    size : Size
        How much.

    Returns
    -------
    dict
        ``"machine"``, ``"settings"``, ``"ceilings"`` and one entry a job; rates are per
        second.
    """
    ceilings = {
        "flops_float32": _product_flops(device, size, torch.float32),
        "flops_bfloat16": _product_flops(device, size, torch.bfloat16),
        "copied_bytes": _copied_bytes(device, size),
    }
    rng = np.random.default_rng(0)
    shape = (size.n_rows, 3, size.side, size.side)
    X = rng.random(shape, dtype=np.float32)
    y = np.arange(size.n_rows) % 10
    training, clf = _training(X, y, device, size, ceilings)
    return {
        "format": FORMAT,
        "machine": {
            **describe_environment(),
            "device": _device_name(device),
            "n_threads": torch.get_num_threads(),
        },
        "settings": asdict(size),
        "ceilings": ceilings,
        "training": training,
        "crafting": _crafting(clf, X, y, size),
        "scoring": _scoring(clf, X, y, device, ceilings),
    }


def _training(X, y, device, size, ceilings):
    """Epochs by precision, and a classifier that was fitted."""
    measured = []
    for autocast in (False, True):
        clf = LGMClassifier(
            size.backbone,
            max_epochs=size.n_epochs,
            softmax_warmup=0.0,
            batch_size=size.batch_size,
            autocast=autocast,
            device=device,
            random_state=0,
        ).fit(X, y)
        # The first epoch chooses algorithms and fills caches.
        seconds = median(clf.history_[1:, "dur"])
        n_flops = _FLOPS_OF_TRAINING * _forward_flops(clf, X[:1])
        rate = len(X) / seconds
        ceiling = ceilings["flops_bfloat16" if autocast else "flops_float32"]
        measured.append(
            {
                "autocast": autocast,
                "rows": rate,
                "flops_per_row": n_flops,
                "share_of_product": rate * n_flops / ceiling,
                "placement": _placement(clf, X, y),
            }
        )
    return measured, clf


def _crafting(clf, X, y, size):
    base, target = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    n_poisons = min(size.n_poisons, len(base))
    seconds = _seconds(
        lambda: craft(
            clf,
            X[base[:n_poisons]],
            X[target[:1]],
            base_label=0,
            max_iter=size.n_iterations,
            tol=0.0,
        ),
        n_repeats=2,
    )
    return {"poison_iterations": n_poisons * size.n_iterations / seconds}


def _scoring(clf, X, y, device, ceilings):
    detector = LGMOutlierDetector(
        FrozenEstimator(clf), calibration="marginal", score_kind="likelihood"
    ).fit(X, y)
    rate = len(X) / _seconds(lambda: detector.score_samples(X, y), n_repeats=3)
    return {
        "rows": rate,
        "share_of_copy": rate * X[0].nbytes / ceilings["copied_bytes"],
    }


def _product_flops(device, size, dtype):
    n = size.n_product
    # Random values: products of ones draw less power, and are faster.
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    # Products of float32 as convolutions of it are computed.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        seconds = _seconds(lambda: (a @ b, _wait(device)), n_repeats=size.n_repeats)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2.0 * n**3 / seconds


def _copied_bytes(device, size):
    is_cuda = device.type == "cuda"
    source = torch.ones(size.n_copied, dtype=torch.uint8, pin_memory=is_cuda)
    target = torch.empty_like(source, device=device, pin_memory=False)
    seconds = _seconds(
        lambda: (target.copy_(source, non_blocking=True), _wait(device)),
        n_repeats=size.n_repeats,
    )
    return source.nbytes / seconds


def _forward_flops(clf, X):
    network = clf.net_.module_.eval()
    place = next(network.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.features(torch.from_numpy(X).float().to(place))
    return counter.get_total_flops()


def _placement(clf, X, y):
    """Where the training loader of a classifier has its rows."""
    settings = clf.net_.get_params_for("iterator_train")
    dataset = BatchDataset(X, y, None, torch.float32)
    return SlicedBatches(
        dataset, shared_tensor(X), batch_size=1, device=settings["device"]
    ).placement


def _seconds(call, n_repeats):
    """Median of repeats, after one that does not count."""
    call()
    durations = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return median(durations)


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "cpu"


def main(arguments=None):
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    is_cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if is_cuda else "cpu")
    parser.add_argument(
        "--size", choices=sorted(SIZES), default="full" if is_cuda else "small"
    )
    parser.add_argument("--out", type=Path, default=Path("throughput.json"))
    chosen = parser.parse_args(arguments)
    measured = measure(torch.device(chosen.device), SIZES[chosen.size])
    chosen.out.write_text(json.dumps(measured, indent=2) + "\n")
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
