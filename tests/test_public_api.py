"""The public names of sklgm."""

import importlib
import inspect
import pkgutil
from importlib.metadata import version
from importlib.resources import files

import pytest

import sklgm

PUBLIC_MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(sklgm.__path__, "sklgm.")
    if not any(part.startswith("_") for part in module.name.split("."))
)


def public_names(module):
    return {name for name in vars(module) if not name.startswith("_")}


def test_all_is_sorted_without_repetition():
    assert sklgm.__all__ == sorted(set(sklgm.__all__))


@pytest.mark.parametrize("name", sklgm.__all__)
def test_every_public_name_is_a_documented_object_of_sklgm(name):
    thing = getattr(sklgm, name)
    assert inspect.getdoc(thing)
    assert thing.__module__.startswith("sklgm.")


def test_no_other_name_leaks_from_the_top_level():
    submodules = {module.name for module in pkgutil.iter_modules(sklgm.__path__)}
    leaked = public_names(sklgm) - set(sklgm.__all__) - submodules - {"version"}
    assert leaked == set()


def test_version_is_that_of_the_distribution():
    assert sklgm.__version__ == version("sklgm")


def test_the_type_marker_is_shipped():
    assert files("sklgm").joinpath("py.typed").is_file()


def test_estimators_are_the_same_objects_at_both_doors():
    from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
    from sklgm.outliers import LGMOutlierDetector

    assert sklgm.LGMClassifier is LGMClassifier
    assert sklgm.SoftmaxClassifier is SoftmaxClassifier
    assert sklgm.LGMOutlierDetector is LGMOutlierDetector


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_every_public_module_says_what_it_is(name):
    module = importlib.import_module(name)
    assert module.__doc__
    if hasattr(module, "__all__"):
        assert set(module.__all__) <= public_names(module)
        assert len(set(module.__all__)) == len(module.__all__)
