"""Heads, estimates and scores beside what others take for the same.

Run by ``python tests/benchmarks/run.py``.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import nn
from torch.nn import functional as F

from sklgm import RobustGaussianClassifier
from sklgm._net import LGMCriterion
from sklgm.gaussian import COVARIANCE_TYPES, estimate_gaussians
from sklgm.nn import GaussianMixtureHead
from tests.benchmarks.sides import process_time, ratios_in_turns

pytestmark = pytest.mark.benchmark

MIB = 2**20


@pytest.mark.parametrize(
    ("covariance_type", "asked"),
    [("identity", 1.4), ("tied_diag", 1.5), ("diag", 2.6)],
)
def test_a_head_of_many_classes_costs_little_more_than_a_linear_one(
    covariance_type, asked, measured
):
    n_samples, n_classes, dim = 256, 1000, 512
    torch.manual_seed(0)
    features = torch.randn(n_samples, dim, requires_grad=True)
    y = torch.randint(n_classes, (n_samples,))
    linear = nn.Linear(dim, n_classes)
    head = GaussianMixtureHead(dim, n_classes, covariance_type=covariance_type)
    criterion = LGMCriterion(0.3, 0.01)

    def of_linear():
        linear.zero_grad()
        features.grad = None
        F.cross_entropy(linear(features), y).backward()

    def of_head():
        head.zero_grad()
        features.grad = None
        criterion.of_training(features, y, head, None).loss.backward()

    ratios = ratios_in_turns(of_linear, of_head, 30)
    what = f"head of 1,000 classes / linear layer, {covariance_type}"
    measured(what, ratios, asked)


TRAIN_MANY = """
import json, resource
import torch
from sklgm._net import LGMCriterion
from sklgm.nn import GaussianMixtureHead
head = GaussianMixtureHead(512, 100_000, covariance_type={covariance_type!r})
optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
features = torch.randn(128, 512, requires_grad=True)
y = torch.randint(100_000, (128,))
loss = LGMCriterion(0.3, 0.01).of_training(features, y, head, None).loss
loss.backward()
optimizer.step()
assert torch.isfinite(head.means).all()
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_step_of_100000_classes_fits_in_memory(covariance_type, measured):
    script = TRAIN_MANY.format(covariance_type=covariance_type)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    what = f"memory of a step of 100,000 classes, {covariance_type}"
    measured(what, [json.loads(ended.stdout) / 2**30], 8.0, "GiB")


@pytest.mark.parametrize("trim", [0.1, "auto"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_estimates_of_38000_rows(covariance_type, trim, measured):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (38_000,), generator=generator)
    features = torch.randn(38_000, 64, generator=generator)
    features += 2.0 * torch.randn(10, 64, generator=generator)[y]

    def estimate():
        estimate_gaussians(
            features,
            y,
            10,
            covariance_type=covariance_type,
            variance="within",
            trim=trim,
        )

    estimate()
    what = f"estimate of 38,000 x 64 features, {covariance_type}, trim={trim!r}"
    # The first version took 0.56 s.
    measured(what, [process_time(estimate) for _ in range(5)], 0.187, "s")


@pytest.fixture(scope="module")
def scored():
    rng = np.random.RandomState(0)
    y = rng.randint(10, size=1_000_000)
    features = rng.standard_normal((1_000_000, 64)).astype(np.float32)
    features += (2.0 * rng.normal(size=(10, 64)).astype(np.float32))[y]
    few = slice(0, 20_000)
    gaussians = RobustGaussianClassifier(location="mean", covariance_type="diag")
    mixture = GaussianMixture(10, covariance_type="diag", max_iter=1, random_state=0)
    mixture.set_params(init_params="random_from_data").fit(features[few])
    return features, y, gaussians.fit(features[few], y[few]), mixture


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("score", "asked"),
    [("mixture", 0.5), ("claimed likelihood", 0.33), ("claimed posterior", 0.6)],
)
def test_scores_of_a_million_rows(score, asked, scored, measured):
    features, y, gaussians, mixture = scored

    def of_gaussians():
        if score == "mixture":
            gaussians.score_samples(features)
        elif score == "claimed likelihood":
            gaussians.claimed_log_density(features, y)
        else:
            gaussians.claimed_log_proba(features, y)

    ratios = ratios_in_turns(lambda: mixture.score_samples(features), of_gaussians, 3)
    measured(f"{score} of 1,000,000 x 64 / GaussianMixture", ratios, asked)


SCORE = """
import json, sys, threading
import numpy as np
from sklgm import RobustGaussianClassifier

def rss_anon():
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

rng = np.random.RandomState(0)
y = rng.randint(10, size=1_000_000)
X = np.empty((1_000_000, 64), dtype=np.float32)
for start in range(0, len(X), 10_000):
    X[start : start + 10_000] = rng.normal(size=(10_000, 64))
clf = RobustGaussianClassifier(location="mean", covariance_type="diag")
clf.fit(X[:20_000], y[:20_000])
score = {score}
score(X[:20_000], y[:20_000])
peak = before = rss_anon()
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, rss_anon())
watcher = threading.Thread(target=watch)
watcher.start()
score(X, y)
done.set()
watcher.join()
print(json.dumps(peak - before))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("mixture", "lambda X, y: clf.score_samples(X)"),
        ("claimed likelihood", "clf.claimed_log_density"),
        ("claimed posterior", "clf.claimed_log_proba"),
    ],
)
def test_scores_of_a_million_rows_need_little_memory(name, score, measured):
    ended = subprocess.run(
        [sys.executable, "-c", SCORE.format(score=score)],
        capture_output=True,
        text=True,
        check=True,
    )
    what = f"extra memory of the {name} of 1,000,000 rows"
    measured(what, [json.loads(ended.stdout) / MIB], 100.0, "MiB")
