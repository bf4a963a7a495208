"""Chromium, driven by playwright, and axe-core, for tests and timings of pages."""

import contextlib
import importlib
import os
import shutil
import subprocess
import tarfile

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


def fetch_axe(folder):
    """Script of axe-core, from npm."""
    if shutil.which("npm") is None:
        skip_or_fail("there is no npm to get axe-core with")
    packed = subprocess.run(
        ["npm", "pack", "--silent", "axe-core@4"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if packed.returncode != 0:
        skip_or_fail(f"npm cannot get axe-core: {packed.stderr[-300:]}")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def serious_violations(page, axe_source):
    """Serious and critical violations that axe-core finds, with a few elements each."""
    page.evaluate(axe_source)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 15
    return {
        violation["id"]: [node["html"][:150] for node in violation["nodes"]][:3]
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    }
