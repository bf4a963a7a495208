"""Mutation testing: faults in the code that the tests must notice.

Faults are drawn from all that :mod:`tests.fuzz._mutations` finds. Of each, the tests
that run its line are run in a process of its own, forked from one that has imported the
packages below sklgm. A fault is killed if one of them fails, the package cannot be
imported, or they take many times longer.
"""

import ast
import compileall
import gc
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

from tests.fuzz._contexts import OPTIONS, ROOT, tests_of, traced_tests
from tests.fuzz._mutations import mutations_of

#: What is mutated: the Gaussians with the certificate, its users, the losses, the
#: metrics and the detection engine.
FILES = (
    *("gaussian/_certificate.py", "gaussian/_class_rows.py"),
    *("gaussian/_distances.py", "gaussian/_robust.py"),
    *("losses/_fused.py", "losses/_terms.py"),
    *("metrics/_certified.py", "metrics/_detection.py", "metrics/_levels.py"),
    *("metrics/_rates.py", "classifiers/_partitioned.py"),
    *("classifiers/_robust_gaussian.py", "outliers/_base.py"),
    *("outliers/_calibration.py", "outliers/_checked.py", "outliers/_clustering.py"),
    *("outliers/_conformal.py", "outliers/_decisions.py", "outliers/_deep_knn.py"),
    *("outliers/_distance_law.py", "outliers/_evidence.py"),
    *("outliers/_feature_detector.py", "outliers/_folds.py"),
    *("outliers/_lgm_detector.py", "outliers/_likely_reading.py"),
    *("outliers/_log_posteriors.py", "outliers/_mahalanobis.py", "outliers/_people.py"),
    *("outliers/_right_claims.py", "outliers/_self_confidence.py"),
    *("outliers/_spectral.py", "outliers/_standardisation.py"),
    *("outliers/_trained.py", "outliers/_transitions.py", "outliers/_trusted.py"),
)
#: Tests that are asked.
TESTS = (
    *("tests/gaussian", "tests/metrics", "tests/outliers", "tests/test_losses.py"),
    *("tests/properties", "tests/classifiers/test_robust_gaussian.py"),
    *("tests/classifiers/test_partitioned.py", "tests/test_filtering.py"),
)
#: Why survivors are left: name of the fault to a sentence.
_REASONS = Path(__file__).parent / "survivors.json"
_KEPT = ROOT / ".fuzz" / "contexts.json"
_MOST_SECONDS = 12.0  # of the tests that one fault is asked
_EVERY = 40  # faults the tests are run without a fault
_PATIENCE = 10.0  # times what these take, before a fault counts as a hang


def run(n, seed, minutes, only=None):
    """Draw and run `n` faults; see the module.

    Parameters
    ----------
    only : list of str or None
        Names of faults to run again, such as survivors, by all tests of their module:
        some may be new.
    """
    files = [f"sklgm/{file}" for file in FILES]
    traced = traced_tests(list(TESTS), files, _KEPT)
    sources = {file: (ROOT / file).read_text() for file in files}
    every = [(file, m) for file in files for m in mutations_of(sources[file])]
    drawn = random.Random(seed).sample(every, min(n, len(every)))
    if only:
        drawn = [(f, m) for f, m in every if _name(f, m, sources[f]) in only]
    _import_what_is_below()
    known = json.loads(_REASONS.read_text()) if _REASONS.exists() else {}
    end = time.monotonic() + 60.0 * minutes
    counts = {"killed": 0, "killed by time": 0, "survived": 0}
    survivors = []
    for number, (file, mutation) in enumerate(drawn):
        if time.monotonic() > end:
            break
        name = _name(file, mutation, sources[file])
        tests = _asked(traced, file, mutation, sources[file])
        if only:
            tests = [*tests, *filter(None, [_own_tests(file)])]
        if number % _EVERY == 0:  # what fails anyway would pass for noticing
            fate = _fate(file, sources[file], tests, traced["seconds"])
            if fate != "survived":
                raise RuntimeError(f"without a fault {name} is {fate}: {tests}")
        fate = _fate(file, mutation.applied(sources[file]), tests, traced["seconds"])
        counts[fate] += 1
        if fate == "survived":
            survivors.append({"fault": name, "reason": known.get(name, "")})
        print(f"{sum(counts.values())} {fate} {name} ({len(tests)} tests)", flush=True)
    n_run = sum(counts.values())
    return {
        "n_possible": len(every),
        "n_asked": n,
        "n": n_run,
        "counts": counts,
        "survivors": survivors,
    }


def _name(file, mutation, source):
    return f"{file}:{mutation.line}: {mutation.shown(source)}"


def _asked(traced, file, mutation, source):
    """Tests of a fault: those about its file first, and the quickest of each."""
    found = tests_of(traced, file, mutation.line, mutation.stop_line)
    if not found:  # run on import, such as a default: of the function or the file
        first, last = _scope(source, mutation.line)
        found = tests_of(traced, file, first, last)
    seconds = traced["seconds"]
    chosen, total = [], 0.0
    # Those of the file, then those of its package: they are about it.
    whole = _own_tests(file)
    package = Path(file).parts[1].removesuffix(".py")

    def order(name):
        return not name.startswith(f"{whole}::"), package not in name, seconds[name]

    for name in sorted(found, key=order):
        total += seconds[name]
        if chosen and total > _MOST_SECONDS:
            break
        chosen.append(name)
    if whole is not None and not any(n.startswith(f"{whole}::") for n in seconds):
        chosen.append(whole)  # where it was not traced
    return chosen


def _own_tests(file):
    """Test file of a module, if there is one."""
    _, *folders, name = Path(file).parts
    found = Path("tests", *folders, f"test_{name.lstrip('_')}")
    return str(found) if (ROOT / found).exists() else None


def _scope(source, line):
    """Lines of the function or class around a line; all, where there is none."""
    best = (1, source.count("\n") + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if best[0] <= node.lineno <= line <= node.end_lineno <= best[1]:
                best = (node.lineno, node.end_lineno)
    return best


def _fate(file, source, tests, seconds):
    """Run the tests of one fault in a process of its own."""
    if not tests:
        return "survived"
    limit = 60 + int(_PATIENCE * sum(seconds.get(name, 3.0) for name in tests))
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        memory = 8 * 2**30 + _mapped_bytes()
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        code = 99
        try:
            code = _asked_here(file, source, tests)
        except BaseException:  # an import that fails is a fault that was noticed
            code = 1
        finally:
            os._exit(code)
    begun = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - begun > 1800.0:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    if os.WIFSIGNALED(status):
        return "killed by time"
    return "survived" if os.WEXITSTATUS(status) == 0 else "killed"


def _mapped_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _asked_here(file, source, tests):
    import pytest

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.dont_write_bytecode = True
    module = file.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, _Faulty(module, str(ROOT / file), source))
    # Compiled once for all faults, not rewritten for each.
    return int(pytest.main([*tests, "-x", *OPTIONS, "--assert=plain"]))


class _Faulty(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from a source that is given."""

    def __init__(self, module, path, source):
        self.module, self.path, self.source = module, path, source

    def find_spec(self, fullname, path, target=None):
        if fullname == self.module:
            return importlib.util.spec_from_loader(
                fullname, self, origin=self.path, is_package=False
            )
        return None

    def get_source(self, fullname):
        return self.source

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec")


def _import_what_is_below():
    """Import, once for all faults, what does not import sklgm."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("SCIPY_ARRAY_API", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (
            *("torch", "skorch", "skorch.callbacks", "scipy.stats", "scipy.optimize"),
            *("scipy.special", "sklearn.ensemble", "sklearn.linear_model", "pandas"),
            *("sklearn.model_selection", "sklearn.pipeline", "sklearn.neighbors"),
            *("sklearn.cluster", "sklearn.datasets", "sklearn.preprocessing"),
            *("sklearn.decomposition", "sklearn.frozen", "sklearn.utils.validation"),
            *("sklearn.utils.estimator_checks", "hypothesis", "polars", "joblib"),
            *("hypothesis.extra.numpy", "pytest", "safetensors.numpy"),
            *("numpy.testing", "torch.utils.data", "imblearn.pipeline"),
            # What torch imports with the first optimizer.
            *("torch._dynamo", "matplotlib.pyplot", "sklearn.calibration"),
        ):
            importlib.import_module(name)
    for folder in ("sklgm", "tests"):
        compileall.compile_dir(ROOT / folder, quiet=1)
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # or each process looks through all that is below, and copies it
    assert not any(name.split(".")[0] == "sklgm" for name in sys.modules)
