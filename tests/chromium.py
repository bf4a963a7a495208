"""Chromium, driven by playwright, for tests and timings of pages."""

import contextlib
import importlib
import os
import shutil

import pytest

_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def skip_or_fail(reason):
    """Skip, or fail on a machine that must have a browser."""
    if os.environ.get("SKLGM_REQUIRE_BROWSER") == "1":
        pytest.fail(f"SKLGM_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@contextlib.contextmanager
def running_chromium():
    """The system's Chromium, without a window."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        skip_or_fail("there is no Chromium")
    try:
        playwright = importlib.import_module("playwright.sync_api")
    except ImportError:
        skip_or_fail('playwright is missing: pip install "sklgm[browser]"')
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=executable, chromium_sandbox=False, args=_FLAGS
        )
        yield browser
        browser.close()
