"""Ratios measured side by side, kept as JSON where a file is named."""

import json
import os
from pathlib import Path
from statistics import median

import pytest
import torch

from tests.benchmarks.sides import noisy_digits


@pytest.fixture(autouse=True)
def _threads():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="module")
def rows():
    """Noisy digits of 28 x 28 pixels: a task whose gradients do not vanish at once."""
    return noisy_digits(12_800)


@pytest.fixture
def measured():
    """Print values, add them to the file of ``SKLGM_BENCHMARKS``, and judge them."""

    def judge(what, values, asked, unit="ratio"):
        row = {
            "what": what,
            "median": round(median(values), 4),
            "low": round(min(values), 4),
            "high": round(max(values), 4),
            "n": len(values),
            "asked": asked,
            "unit": unit,
            "threads": torch.get_num_threads(),
        }
        print(
            f"\n{what}: {row['median']:.3f} ({row['low']:.3f} to {row['high']:.3f}), "
            f"asked {asked} [{unit}]"
        )
        if "SKLGM_BENCHMARKS" in os.environ:
            with Path(os.environ["SKLGM_BENCHMARKS"]).open("a") as lines:
                lines.write(json.dumps(row) + "\n")
        assert row["median"] <= asked

    return judge
