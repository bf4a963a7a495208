"""``sklgm doctor`` and the completion of shells."""

import json
import os
import subprocess
import sys

import numpy
import pytest
import torch

from sklgm._net import computes_bfloat16
from sklgm._running import installed_extras
from sklgm.datasets._mnist import FILES, SUBFOLDER


def test_versions_devices_threads_data_and_extras_are_shown(
    invoke, monkeypatch, tmp_path
):
    monkeypatch.setenv("SKLGM_DATA", str(tmp_path))
    outcome = invoke("doctor")
    assert outcome.exit_code == 0
    shown = dict(line.split(maxsplit=1) for line in outcome.output.splitlines())
    assert shown["numpy"] == numpy.__version__
    assert shown["devices"].startswith("cpu")
    has_bfloat16 = computes_bfloat16(torch.device("cpu"))
    assert shown["bfloat16"].startswith("cpu" if has_bfloat16 else "on no device")
    assert shown["threads"].startswith(f"{torch.get_num_threads()} of ")
    assert shown["data"] == f"folder     {tmp_path} (SKLGM_DATA)"
    assert shown["MNIST"] == (
        "lacks train-images-idx3-ubyte, train-labels-idx1-ubyte and 2 more files; "
        "downloaded when it is first used"
    )
    assert "cli       installed" in outcome.output


def test_data_that_are_there_are_found(invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("SKLGM_DATA", str(tmp_path))
    (tmp_path / SUBFOLDER).mkdir(parents=True)
    for name in FILES:
        (tmp_path / SUBFOLDER / name).touch()
    found = json.loads(invoke("doctor", "--json").output)
    assert found["data"]["missing_files"]["MNIST"] == []
    assert len(found["data"]["missing_files"]["CIFAR-10"]) == 7
    assert found["problems"] == []


def test_what_cannot_be_imported_is_a_problem(invoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    outcome = invoke("doctor")
    assert outcome.exit_code == 1
    assert "Problem: torchvision cannot be imported" in outcome.output
    assert f"matches torch {torch.__version__}" in outcome.output


def test_missing_packages_of_an_extra_are_named(monkeypatch):
    requirements = [
        "numpy>=1.26",
        'typer>=0.12; extra == "cli"',
        "surely-not-installed>=2; python_version > '3' and extra == 'bench'",
        'sklgm[cli]; extra == "test"',
        'pytest; extra == "test"',
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: requirements)
    assert installed_extras() == {"cli": [], "bench": ["surely-not-installed"]}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("sklgm rep", ["reproduce"]),
        ("sklgm reproduce di", ["digits"]),
        ("sklgm reproduce digits --protocol w", ["white-box"]),
        ("sklgm reproduce digits --attack a", ["adaptive_likelihood"]),
        ("sklgm reproduce digits --qu", ["--quiet"]),
    ],
)
def test_shells_complete_commands_options_and_values(words, offered):
    environment = {"_SKLGM_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split()) - 1)
    code = "import sys; sys.argv[0] = 'sklgm'; from sklgm.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert set(offered) <= set(run.stdout.split()), run.stderr
