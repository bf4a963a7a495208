"""Memory of an audit of few and of many rows that are read a batch at a time.

``python tests/benchmarks/memory_of_audits.py --out FILE`` audits rows of features in a
memory-mapped file, images that are made when they are asked for, an array of images
that is a memory-mapped file (as are those of the folds, from 1 GiB on), and embeddings
in Parquet, as one file and as a frame of Dask of a folder, each with a tenth of the
rows and with all of them, in a process of its own. Linux.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

N_CLASSES, N_FEATURES, N_PLACES, SIZE = 10, 32, 384, 32


class Features(Dataset):
    """Rows of a memory-mapped file."""

    def __init__(self, path):
        self.path = path
        self.rows = np.load(path, mmap_mode="r")

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return np.array(self.rows[row])

    def __getitems__(self, rows):
        return list(self.rows[rows])


class Images(Dataset):
    """Images of classes, each with a noise of its own, made when asked for."""

    def __init__(self, labels):
        rng = np.random.default_rng(0)
        self.labels = labels
        self.of_classes = rng.random((N_CLASSES, 3, SIZE, SIZE), dtype=np.float32)
        self.noise = rng.random(3 * SIZE * SIZE + 100_003, dtype=np.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        start = row * 7919 % 100_003
        noise = self.noise[start : start + 3 * SIZE * SIZE].reshape(3, SIZE, SIZE)
        return 0.3 * self.of_classes[self.labels[row]] + 0.7 * noise


def made_labels(n_rows):
    """Right labels, and claims of which a twentieth is wrong."""
    rng = np.random.default_rng(1)
    y = rng.integers(N_CLASSES, size=n_rows)
    is_wrong = rng.random(n_rows) < 0.05
    return y, (y + is_wrong * rng.integers(1, N_CLASSES, size=n_rows)) % N_CLASSES


def write_features(path, y):
    rows = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=(len(y), N_FEATURES)
    )
    for first in range(0, len(y), 10_000):
        rng = np.random.default_rng([2, first])
        part = y[first : first + 10_000]
        rows[first : first + 10_000] = rng.normal(size=(len(part), N_FEATURES))
        rows[first : first + 10_000, :N_CLASSES] += 4.0 * np.eye(N_CLASSES)[part]
    rows.flush()


def write_embeddings(folder, y, claimed):
    """Write a folder of Parquet files of 10,000 embeddings, and one file of all."""
    import polars as pl

    (folder / "parts").mkdir()
    for first in range(0, len(y), 10_000):
        rng = np.random.default_rng([3, first])
        part = slice(first, first + 10_000)
        rows = rng.normal(size=(len(y[part]), N_PLACES)).astype(np.float32)
        rows[:, :N_CLASSES] += 4.0 * np.eye(N_CLASSES, dtype=np.float32)[y[part]]
        lists = pl.Series(rows, dtype=pl.Array(pl.Float32, N_PLACES))
        table = pl.DataFrame({"embedding": lists, "label": claimed[part]})
        table.write_parquet(folder / "parts" / f"{first:09d}.parquet")
    whole = pl.scan_parquet(folder / "parts" / "*.parquet")
    whole.sink_parquet(folder / "all.parquet", row_group_size=10_000)


def read_embeddings(kind, folder):
    """Rows and labels of embeddings, as an audit takes them."""
    if kind == "parquet":
        from sklgm.datasets import load_rows

        rows = load_rows(folder / "all.parquet")
        return rows.X, rows.y
    import dask.dataframe as dd

    return dd.read_parquet(folder / "parts"), "label"


def as_file(path, images):
    """Array of images in a memory-mapped file."""
    shape = (len(images), 3, SIZE, SIZE)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for row in range(len(images)):
        array[row] = images[row]
    array.flush()
    return np.load(path, mmap_mode="r")


def anonymous_mib():
    """Memory of this process that is no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


def measured(kind, n_rows, folder):
    """Audit in this process: seconds, and MiB more than before, at the peak."""
    from sklgm import LGMClassifier, audit

    y, claimed = made_labels(n_rows)
    is_parquet = kind in ("parquet", "dask")
    if is_parquet:
        write_embeddings(Path(folder), y, claimed)
        with tempfile.TemporaryDirectory() as few:  # so that libraries are loaded
            write_embeddings(Path(few), y[:300], claimed[:300])
            read_embeddings(kind, Path(few))
    elif kind == "features":
        path = Path(folder) / f"{n_rows}.npy"
        write_features(path, y)
        rows = Features(path)
    else:
        rows = Images(y)
    if kind == "mapped images":
        rows = as_file(Path(folder) / f"{n_rows}.npy", rows)
    classifier = LGMClassifier(
        "mlp", feature_dim=16, max_epochs=1, batch_size=512, lr=0.003, random_state=0
    )
    few = Images(y[:300])
    audit(few, claimed[:300], estimator=classifier, cv=2, random_state=0)
    peak = before = anonymous_mib()
    is_over = threading.Event()

    def watch():
        nonlocal peak
        while not is_over.wait(0.02):
            peak = max(peak, anonymous_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    labels = claimed
    if is_parquet:
        rows, labels = read_embeddings(kind, Path(folder))
    result = audit(rows, labels, estimator=classifier, cv=2, random_state=0)
    seconds = time.perf_counter() - start
    is_over.set()
    watcher.join()
    is_wrong, flags = claimed != y, result.is_suspect
    n_values = N_PLACES if is_parquet else 3 * SIZE * SIZE
    bytes_of_rows = 4 * (N_FEATURES if kind == "features" else n_values)
    return {
        "kind": kind,
        "n_rows": n_rows,
        "rows_mib": round(n_rows * bytes_of_rows / 2**20, 1),
        "more_mib": round(peak - before, 1),
        "more_bytes_per_row": round((peak - before) * 2**20 / n_rows, 1),
        "seconds": round(seconds, 1),
        "found": round(float(flags[is_wrong].mean()), 4),
        "n_flagged": int(flags.sum()),
        "n_right_among_flagged": int((flags & ~is_wrong).sum()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--mapped", type=int, default=200_000)
    parser.add_argument("--parquet", type=int, default=1_000_000)
    parser.add_argument("--dask", type=int, default=1_000_000)
    parser.add_argument("--side", nargs=2, metavar=("KIND", "ROWS"), help="one, once")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.side:
        kind, n_rows = options.side
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(kind, int(n_rows), folder)))
        return
    from sklgm._running import describe_environment

    rows = []
    kinds = {
        "features": options.features,
        "images": options.images,
        "mapped images": options.mapped,
        "parquet": options.parquet,
        "dask": options.dask,
    }
    for kind, most in kinds.items():
        for n_rows in (most // 10, most):
            done = subprocess.run(
                [sys.executable, __file__, "--side", kind, str(n_rows)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    record = {
        "command": "python tests/benchmarks/memory_of_audits.py "
        f"--features {options.features} --images {options.images} "
        f"--mapped {options.mapped} --parquet {options.parquet} "
        f"--dask {options.dask}",
        "n_classes": N_CLASSES,
        "n_threads": 1,
        "environment": describe_environment(),
        "rows": rows,
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
