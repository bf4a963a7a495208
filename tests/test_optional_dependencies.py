"""No optional dependency is loaded before it is needed."""

import json
import runpy
import subprocess
import sys
from importlib.resources import files

import pytest

OPTIONAL = {
    "dask",
    "distributed",
    "imblearn",
    "jinja2",
    "matplotlib",
    "optuna",
    "pandas",
    "polars",
    "rich",
    "torchvision",
    "typer",
}

MODULES = [
    "sklgm",
    "sklgm.datasets",
    "sklgm.features",
    "sklgm.filtering",
    "sklgm.gaussian",
    "sklgm.losses",
    "sklgm.metrics",
    "sklgm.nn",
    "sklgm.outliers",
    "sklgm.plotting",
    "sklgm.poisoning",
]


# scikit-learn itself loads pandas and rich where they are installed.
REQUIRED = "import torch, skorch, sklearn.model_selection, scipy.stats\n"


def loaded_in_turn(modules):
    """Optional packages loaded by each import, in a fresh interpreter."""
    code = (
        "import importlib, json, sys\n"
        f"{REQUIRED}"
        "before = set(sys.modules)\n"
        "loaded = {}\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded[name] = sorted({OPTIONAL!r} & set(sys.modules) - before)\n"
        "print(json.dumps(loaded))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def loaded():
    return loaded_in_turn([*MODULES, "sklgm.report"])


@pytest.mark.parametrize("name", MODULES)
def test_importing_loads_no_optional_dependency(name, loaded):
    assert loaded[name] == []


def test_results_and_reports_load_polars_alone(loaded):
    assert loaded["sklgm.report"] == ["polars"]


def test_results_without_polars_say_how_to_install_it(monkeypatch):
    path = files("sklgm.results").joinpath("_rows.py")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r'pip install "sklgm\[cli\]"'):
        runpy.run_path(str(path))


@pytest.mark.slow
def test_training_and_detecting_need_no_optional_dependency():
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Without:\n"
        "    find_distributions = PathFinder.find_distributions\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        if name.split('.')[0] not in {OPTIONAL!r}:\n"
        "            return PathFinder.find_spec(name, path, target)\n"
        "at = sys.meta_path.index(PathFinder)\n"
        "sys.meta_path[at] = Without\n"
        "import numpy as np\n"
        "from sklgm import LGMClassifier, LGMOutlierDetector\n"
        "X, y = np.random.RandomState(0).normal(size=(40, 1, 8, 8)), [0, 1] * 20\n"
        "LGMClassifier(max_epochs=1).fit(X, y).predict(X)\n"
        "LGMOutlierDetector(contamination=0.1).fit_predict(X, y)\n"
        "print('done')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "done"
