"""Seeded tiny data for all tests."""

import os

# One thread: two-thread convolutions of tiny batches are slower, and summation
# order then depends on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
