"""What a GPU changes: where tensors live, and nothing else.

Run on a machine with a CUDA device: ``pytest -m gpu``.
"""

import pickle

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

from sklgm import LGMClassifier, LGMOutlierDetector, SoftmaxClassifier
from sklgm.datasets import load_digits_images
from sklgm.experiments import RunSettings, get_protocol, run
from sklgm.poisoning import craft

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module", autouse=True)
def exact_convolutions():
    """Convolutions as the CPU computes them: of whole floats, in one order."""
    with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        yield


@pytest.fixture(scope="module")
def digits():
    return load_digits_images()


@pytest.fixture(scope="module", params=[SoftmaxClassifier, LGMClassifier])
def fitted(request, digits):
    """A classifier trained on the GPU; do not fit it again."""
    clf = request.param(max_epochs=5, lr=0.003, device="cuda", random_state=0)
    return clf.fit(digits.X_train, digits.y_train)


def on_cpu(clf):
    copied = pickle.loads(pickle.dumps(clf))
    copied.net_.set_params(device="cpu")
    copied.net_.module_.to("cpu")
    return copied


def test_training_on_the_gpu_learns(fitted, digits):
    assert next(fitted.net_.module_.parameters()).is_cuda
    assert fitted.score(digits.X_test, digits.y_test) > 0.9


def test_same_seed_gives_the_same_model(digits):
    first, second = (
        LGMClassifier(max_epochs=2, device="cuda", random_state=0)
        .fit(digits.X_train, digits.y_train)
        .predict_proba(digits.X_test)
        for _ in range(2)
    )
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    "attack",
    [
        "feature_collision",
        "convex_polytope",
        "bullseye_polytope",
        "gradient_matching",
        "adaptive_likelihood",
        "adaptive_posterior",
    ],
)
def test_poisons_of_the_gpu_are_those_of_the_cpu(digits, attack):
    clf = LGMClassifier(max_epochs=5, device="cuda", random_state=0)
    clf.fit(digits.X_train, digits.y_train)
    bases = digits.X_train[digits.y_train == 9][:8]
    targets = digits.X_test[digits.y_test == 4][:2]
    results = [
        craft(
            clf,
            bases,
            targets,
            attack=attack,
            poison_group=np.repeat([0, 1], 4),
            base_label=9,
            max_iter=30,
            device=device,
        )
        for device in ("cuda", "cpu")
    ]
    on_gpu, on_host = results
    np.testing.assert_allclose(
        on_gpu.objective_initial, on_host.objective_initial, rtol=1e-3
    )
    # Searches are chaotic: rounding alone leads them elsewhere.
    for result in results:
        assert (result.objective_final < 0.9 * result.objective_initial).all()


def test_a_detector_on_the_gpu_scores_as_on_the_cpu(digits):
    model = LGMClassifier(max_epochs=5, device="cuda", random_state=0)
    model.fit(digits.X_train, digits.y_train)
    labels = (digits.y_test + 1) % 10
    scores = [
        LGMOutlierDetector(FrozenEstimator(clf), false_alarm_rate=0.05)
        .fit(digits.X_train, digits.y_train)
        .score_samples(digits.X_test, labels)
        for clf in (model, on_cpu(model))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-2)


@pytest.mark.parametrize("protocol", ["white-box", "transfer", "end-to-end"])
def test_experiments_run_on_the_gpu(protocol):
    settings = RunSettings(device="cuda", max_epochs=4)
    asked = {
        "attacks": ("feature_collision", "adaptive_likelihood"),
        "n_targets": 2,
        "n_pairs": 4,
        "refit_epochs": 2,
    }
    cls = get_protocol(protocol).settings
    own = cls(**{name: v for name, v in asked.items() if name in cls.model_fields})
    result, _ = run(settings, {protocol: own}, n_jobs=1)
    assert result.environment["device"].startswith("cuda")
    assert set(result.table["protocol"]) == {protocol}
