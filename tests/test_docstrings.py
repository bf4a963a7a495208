"""Docstrings: numpydoc's rules, defaults that equal the code, examples that run."""

import doctest
import importlib
import inspect
import math
import pkgutil
import re

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import validate
from sklearn.base import OutlierMixin

import sklgm

PACKAGES = [
    "sklgm",
    "sklgm.auditing",
    "sklgm.classifiers",
    "sklgm.datasets",
    "sklgm.gaussian",
    "sklgm.losses",
    "sklgm.metrics",
    "sklgm.nn",
    "sklgm.outliers",
    "sklgm.plotting",
    "sklgm.poisoning",
    "sklgm.report",
    "sklgm.results",
]

IGNORED = {
    "ES01": "a summary that says all needs no extended summary",
    "EX01": "examples stand on what users call directly",
    "PR01": "test_every_parameter_is_documented_with_its_default is stricter",
    "PR08": 'a description may begin with a value, such as 1 or ``"auto"``',
    "RT02": "several values, and scikit-learn's ``self : object``, are named",
    "RT03": "a type that says all, such as ``matplotlib.axes.Axes``, needs no more",
    "SA01": "See Also only where there is something to see",
    "SS05": "it takes a plural noun for a verb; ruff's D401 knows better",
}


def public_objects():
    """Classes, functions and public methods of every public package, once."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", vars(module)):
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            is_here = hasattr(module, "__all__") or thing.__module__ == package
            if name.startswith("_") or not is_here:
                continue
            path = f"{thing.__module__}.{thing.__qualname__}"
            found[path] = thing
            for method_name, method in vars(thing).items():
                if inspect.isclass(thing) and not method_name.startswith("_"):
                    method = inspect.unwrap(getattr(method, "__func__", method))
                    if inspect.isfunction(method):
                        found[f"{path}.{method_name}"] = method
    return dict(sorted(found.items()))


OBJECTS = public_objects()
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(sklgm.__path__, "sklgm.")
    if not module.name.endswith("__main__")
)  # fmt: skip


def parsed(thing):
    return ClassDoc(thing) if inspect.isclass(thing) else FunctionDoc(thing)


def documented_default(type_text):
    """Text after ``default=``, or None."""
    match = re.search(r"default=(.+)$", type_text.replace("\\\n", " ").strip())
    return match[1].strip() if match else None


def evaluated(text):
    """Value of a documented default; what is not an expression stands for itself."""
    try:
        return eval(text, {"__builtins__": {}}, {"inf": math.inf})
    except (NameError, SyntaxError):
        return text


def test_no_rule_is_ignored_in_vain():
    found = {code for path in OBJECTS for code, _ in validate(path)["errors"]}
    assert set(IGNORED) <= found


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_follows_numpydoc(path):
    problems = [
        f"{code}: {message}"
        for code, message in validate(path)["errors"]
        if code not in IGNORED
    ]
    assert problems == []


@pytest.mark.parametrize("path", OBJECTS)
def test_every_parameter_is_documented_with_its_default(path):
    thing = OBJECTS[path]
    if getattr(thing, "_is_protocol", False):
        assert parsed(thing)["Parameters"] == []  # nothing constructs one
        return
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(thing).parameters.items()
        if name not in ("self", "cls")
    }
    documented = {}
    # A named tuple documents its fields as attributes.
    fields = parsed(thing)["Attributes"] if hasattr(thing, "_fields") else []
    for entry in parsed(thing)["Parameters"] or fields:
        for name in entry.name.split(","):
            documented[name.strip().lstrip("*")] = entry.type
    assert list(documented) == list(parameters)
    for name, parameter in parameters.items():
        text = documented_default(documented[name])
        is_made = repr(parameter.default) == "<factory>"  # of a dataclass
        is_required_y = name == "y" and "None" not in documented[name]
        if parameter.default is inspect.Parameter.empty or is_made or is_required_y:
            assert text is None, name
        else:
            assert text is not None, f"{name} has no documented default"
            assert evaluated(text) == parameter.default, name


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_the_estimators_have_examples():
    for estimator in (sklgm.LGMClassifier, sklgm.LGMOutlierDetector):
        assert ">>>" in inspect.getdoc(estimator)


DETECTORS = [
    thing
    for thing in (getattr(sklgm, name) for name in sklgm.__all__)
    if inspect.isclass(thing) and issubclass(thing, OutlierMixin)
]
# What detectors do not share, though the names are equal.
OWN = {"estimator", "random_state"}
CHI2_TYPE = ', "chi2"'
CHI2_TEXT = re.compile(r'``"chi2"``:.*?\. ')


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_what_detectors_share_reads_the_same(section):
    # Said in each class, where help() and editors look for it, and equal in all.
    texts = {}
    for detector in DETECTORS:
        for name, kind, description in ClassDoc(detector)[section]:
            text = CHI2_TEXT.sub("", " ".join(description))
            texts.setdefault(name, set()).add((kind.replace(CHI2_TYPE, ""), text))
    assert len(DETECTORS) >= 6
    assert [
        name for name, said in texts.items() if len(said) > 1 and name not in OWN
    ] == []
