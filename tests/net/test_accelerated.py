"""One training shared by processes: that of one process, up to rounding."""

import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._net import BatchDataset, LossNet, train_loader
from sklgm._net._accelerated import check_accelerator

accelerate = pytest.importorskip("accelerate")

classifiers = pytest.mark.parametrize("classifier", [SoftmaxClassifier, LGMClassifier])


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=4, return_X_y=True)
    return (X / 16.0).astype(np.float32), y


@pytest.fixture(scope="module")
def alone():
    return accelerate.Accelerator(cpu=True)


def of_processes(n_processes, kind="MULTI_CPU", n_steps=1, precision="no"):
    return SimpleNamespace(
        distributed_type=SimpleNamespace(value=kind),
        gradient_accumulation_steps=n_steps,
        mixed_precision=precision,
        num_processes=n_processes,
    )


@classifiers
def test_one_process_trains_the_same_network(classifier, alone, digits):
    X, y = digits
    settings = {"max_epochs": 2, "feature_dim": 8, "random_state": 0}
    shared = classifier(accelerator=alone, **settings).fit(X, y)
    expected = classifier(**settings).fit(X, y)
    np.testing.assert_allclose(
        shared.predict_proba(X), expected.predict_proba(X), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        shared.history_[:, "train_loss"], expected.history_[:, "train_loss"], rtol=1e-5
    )


def test_the_trained_net_keeps_nothing_of_the_processes(alone, digits):
    X, y = digits
    clf = SoftmaxClassifier(max_epochs=1, accelerator=alone, random_state=0).fit(X, y)
    assert isinstance(clf.net_, LossNet)
    assert clf.net_.accelerator is None
    assert type(clf.net_.optimizer_) is torch.optim.Adam
    clf.set_params(accelerator=None)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_a_clone_has_an_accelerator_too(alone):
    assert clone(SoftmaxClassifier(accelerator=alone)).accelerator.num_processes == 1


@classifiers
def test_what_an_accelerator_cannot_do_is_said(classifier, alone, digits):
    X, y = digits
    with pytest.raises(ValueError, match="accelerator has the device of each process"):
        classifier(accelerator=alone, device="cpu").fit(X, y)
    with pytest.raises(AttributeError, match="partial_fit") as error:
        classifier(accelerator=alone).partial_fit(X, y, classes=np.unique(y))
    assert "accelerator trains by fit alone" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="The 'accelerator' parameter"):
        classifier(accelerator="gpu").fit(X, y)


@pytest.mark.parametrize(
    ("accelerator", "batch_size", "said"),
    [
        (of_processes(2, "FSDP"), 128, "distributed_type of NO, MULTI_CPU, MULTI_GPU"),
        (of_processes(2, n_steps=4), 128, "gradient_accumulation_steps=1, got 4"),
        (of_processes(2, precision="fp16"), 128, "mixed_precision of no, bf16, got fp"),
        (of_processes(8), 15, "at least 2 for each of the 8 processes .* got 15 and"),
        (of_processes(64), -1, "at least 2 for each of the 64 processes"),
    ],
    ids=["divided", "accumulated", "scaled", "small_batch", "few_rows"],
)
def test_processes_that_cannot_share_a_batch_are_refused(accelerator, batch_size, said):
    with pytest.raises(ValueError, match=said):
        check_accelerator(accelerator, batch_size, n_rows=100)


@pytest.mark.parametrize("n_samples", [64, 65, 67, 70])
@pytest.mark.parametrize(
    "settings", [{}, {"pin_memory": False}], ids=["slices", "loader"]
)
def test_processes_share_the_batches_of_one(n_samples, settings):
    X = np.arange(n_samples, dtype=np.float32)[:, None]
    dataset = BatchDataset(X, np.zeros(n_samples, dtype=np.int64), None, torch.float32)

    def batches(n_processes, process_index):
        loader = train_loader(
            dataset,
            batch_size=16,
            generator=torch.Generator().manual_seed(0),
            n_processes=n_processes,
            process_index=process_index,
            **settings,
        )
        return [set(X["X"].flatten().tolist()) for X, _ in loader]

    shares = list(zip(batches(2, 0), batches(2, 1), strict=True))
    assert all(not a & b and abs(len(a) - len(b)) <= 1 for a, b in shares)
    assert min(len(own) for pair in shares for own in pair) >= 2
    assert sum(len(own) for pair in shares for own in pair) == n_samples
    for (a, b), whole in zip(shares[:-1], batches(1, 0), strict=False):
        assert a | b == whole


SCRIPT = """
import json, sys
import numpy as np
from accelerate import Accelerator
from sklearn.datasets import load_digits
from sklgm import LGMClassifier, SoftmaxClassifier

accelerator = Accelerator(cpu=True) if sys.argv[2] == "shared" else None
X, y = load_digits(n_class=4, return_X_y=True)
X = (X / 16.0).astype("float32")
said = {}
for name, classifier, settings in (
    ("softmax", SoftmaxClassifier, {}),
    ("lgm", LGMClassifier, {}),
    ("lgm_trim", LGMClassifier, {"trim": 0.1}),
):
    clf = classifier(
        feature_dim=8, max_epochs=4, batch_size=50, early_stopping=True,
        accelerator=accelerator, random_state=0, **settings,
    ).fit(X, y)
    said[name] = {
        "train_loss": clf.history_[:, "train_loss"],
        "valid_loss": clf.history_[:, "valid_loss"],
        "weights": [p.tolist() for p in clf.net_.module_.parameters()],
        "proba": clf.predict_proba(X).tolist(),
    }
n = 1 if accelerator is None else accelerator.num_processes
said["n_processes"] = n
index = 0 if accelerator is None else accelerator.process_index
with open(f"{sys.argv[1]}/{sys.argv[2]}-{index}.json", "w") as file:
    json.dump(said, file)
"""


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for command in (
        [*launch, "--nproc-per-node", "2", script, tmp_path, "shared"],
        [sys.executable, script, tmp_path, "alone"],
    ):
        subprocess.run(
            [str(part) for part in command],
            check=True,
            timeout=300,
            env=environment,
            capture_output=True,
        )
    first, second, alone = (
        json.loads((tmp_path / f"{name}.json").read_text())
        for name in ("shared-0", "shared-1", "alone-0")
    )
    assert first.pop("n_processes") == second.pop("n_processes") == 2
    assert alone.pop("n_processes") == 1
    for name, expected in alone.items():
        for own in (first[name], second[name]):
            assert_close(own["train_loss"], expected["train_loss"], rtol=1e-4)
            assert_close(own["valid_loss"], expected["valid_loss"], rtol=1e-4)
            for weights, expected_weights in zip(
                own["weights"], expected["weights"], strict=True
            ):
                assert_close(weights, expected_weights, rtol=1e-3, atol=1e-4)
        for weights, others in zip(
            first[name]["weights"], second[name]["weights"], strict=True
        ):
            np.testing.assert_array_equal(weights, others)


def assert_close(found, expected, **tolerances):
    np.testing.assert_allclose(found, expected, **tolerances)
