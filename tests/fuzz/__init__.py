"""Robustness as counts: ``python -m tests.fuzz --help``.

Each command is seeded, bounded in time, and keeps what it counted in
``docs/results/robustness.json``, from which a page of the documentation is written.
"""
