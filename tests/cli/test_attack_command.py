import csv
import json

import numpy as np
import pytest
from PIL import Image

from sklgm import SoftmaxClassifier
from sklgm.datasets import make_stripe_images
from sklgm.poisoning import craft
from sklgm.red_teaming import RedTeamResult

SPARING = ["--n-targets", 2, "--budget", 3]


@pytest.fixture
def stripes(tmp_path):
    """An .npz file of 8-bit images of three classes."""
    X, y = make_stripe_images(180, 3, (1, 8, 8), noise=0.2, random_state=0)
    X = np.rint(np.clip(X, 0, 1) * 255).astype(np.uint8)
    names = np.array(["a", "b", "c"])
    np.savez(tmp_path / "stripes.npz", X=X, y=names[y])
    return tmp_path / "stripes.npz"


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    """A module with an estimator, a class, a function and a torch module."""
    (tmp_path / "my_pipelines.py").write_text(
        "import torch\n"
        "from sklearn.naive_bayes import GaussianNB\n"
        "from sklgm import SoftmaxClassifier\n"
        "made = SoftmaxClassifier(max_epochs=2, lr=0.01, random_state=0)\n"
        "def make():\n    return GaussianNB()\n"
        "module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))\n"
    )
    monkeypatch.chdir(tmp_path)


def test_attack_writes_poisons_that_are_those_injected(invoke, stripes, tmp_path):
    out = tmp_path / "out"
    outcome = invoke(
        "attack", stripes, "--estimator", "forest", "--surrogate", "softmax",
        "--linf", 16, *SPARING, "--out", out,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "targets misled to the label of the poisons" in outcome.output
    assert "crafted on the given surrogate" in outcome.output
    summary = json.loads((out / "red_team.json").read_text())
    assert summary["success_rate"]["n"] == 2
    assert summary["settings"]["max_perturbation"] == pytest.approx(16 / 255)
    original = np.load(stripes)["X"]
    with (out / "manifest.csv").open(newline="") as file:
        manifest = list(csv.DictReader(file))
    assert len(manifest) == 6
    for line in manifest:
        image = np.asarray(Image.open(out / line["file"])).astype(int)
        assert image.shape == (8, 8)
        change = np.abs(image - original[int(line["replaced_row"]), 0])
        assert 0 < change.max() <= 16
        assert float(line["linf"]) == pytest.approx(change.max() / 255, abs=1e-6)


def test_an_attack_that_is_interrupted_while_it_writes_writes_nothing(
    invoke, stripes, tmp_path, monkeypatch
):
    def interrupted(result, folder, **more):
        (folder / "red_team.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(RedTeamResult, "save", interrupted)
    out = tmp_path / "out"
    outcome = invoke("attack", stripes, "--estimator", "forest", "--surrogate",
                     "softmax", *SPARING, "--out", out)  # fmt: skip
    assert outcome.exit_code == 130
    assert outcome.stderr.splitlines()[-1] == "Interrupted: nothing was written."
    assert not out.exists()


@pytest.mark.parametrize(
    ("estimator", "extra", "said"),
    [
        ("my_pipelines:made", [], "on the network itself"),
        ("my_pipelines:make", ["--flat"], "Black box"),
        ("my_pipelines:module", [], "on the network itself"),
    ],
)
def test_estimators_are_imported(
    invoke, stripes, my_module, tmp_path, estimator, extra, said
):
    outcome = invoke(
        "attack", stripes, "--estimator", estimator, *SPARING, *extra,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert said in outcome.output.replace("\n", " ")


def test_an_estimator_that_takes_no_images_is_told_of_the_option(
    invoke, stripes, my_module, tmp_path
):
    out = ["--out", tmp_path / "out"]
    outcome = invoke("attack", stripes, "--estimator", "my_pipelines:make", *out)
    assert outcome.exit_code == 1
    assert "Images are passed as rows of pixels with --flat." in outcome.stderr


def test_attack_prints_json_alone(invoke, stripes, my_module, tmp_path):
    outcome = invoke(
        "attack", stripes, "--estimator", "my_pipelines:made", *SPARING,
        "--out", tmp_path / "out", "--json", "--quiet",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stderr == ""
    printed = json.loads(outcome.stdout)
    own = json.loads((tmp_path / "out" / "red_team.json").read_text())
    assert printed["success_rate"] == own["success_rate"]
    assert printed["files"]["targets.csv"] == str(tmp_path / "out" / "targets.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--estimator", "tree"], "--estimator must be one of softmax, lgm, logistic"),
        (
            ["--estimator", "no_module:x"],
            "--estimator 'no_module:x' cannot be imported",
        ),
        (["--surrogate", "json:nothing"], "--surrogate 'json:nothing' cannot be impo"),
        (["--n-targets", 0], "--n-targets must be an int >= 1"),
        (["--n-jobs", 0], "--n-jobs must be an int but 0, or None, got 0"),
        (["--budget", 0], "--budget must be an int >= 1 or a share"),
        (["--budget", "inf"], "--budget must be an int >= 1 or a share"),
        (["--linf", 0.5], "--linf 0.00196078 is below one level, 0.00392157"),
        (["--attack", "frog"], "--attack must be one of"),
        (["--device", "quantum"], "--device 'quantum' is not a torch device"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_bad_arguments_end_with_one_line_that_names_the_option(
    invoke, stripes, tmp_path, arguments, message
):
    outcome = invoke("attack", stripes, *arguments, "--out", tmp_path / "out")
    assert outcome.exit_code == 1
    assert f"Error: {message}" in outcome.output
    assert "Traceback" not in outcome.output


def test_a_bound_counts_in_levels_of_the_images(invoke, tmp_path):
    X, y = make_stripe_images(120, 3, (1, 8, 8), noise=0.2, random_state=0)
    X = np.rint(np.clip(X, 0, 1) * 255).astype(np.float32)
    np.savez(tmp_path / "floats.npz", X=X, y=y)
    outcome = invoke("attack", tmp_path / "floats.npz", "--estimator", "forest",
                     "--linf", 8, *SPARING, "--out", tmp_path / "out")  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        changes = [float(line["linf"]) for line in csv.DictReader(file)]
    assert max(changes) == 8


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=90), rng.integers(0, 2, 90)])
    y = np.where(X[:, 0] > 0, "yes", "no")
    lines = [f"{a:.3f},{b:.0f},day {i % 7},{z}" for i, ((a, b), z) in
             enumerate(zip(X, y, strict=True))]  # fmt: skip
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["size,is_new,note,label", *lines]))
    return path


def test_tables_are_attacked_in_their_columns_of_numbers(
    invoke, table, tmp_path, monkeypatch
):
    (tmp_path / "my_steps.py").write_text(
        "from sklearn.compose import make_column_transformer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "steps = make_column_transformer(\n"
        "    (StandardScaler(), ['size']), ('passthrough', ['is_new']))\n"
        "pipe = make_pipeline(steps, LogisticRegression())\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["attack", table, "--estimator", "my_steps:pipe", *SPARING, "--out",
               tmp_path / "out"]  # fmt: skip
    outcome = invoke(*command)
    assert outcome.exit_code == 1
    assert (
        "'note': poisons change numbers. Leave them out by --drop-c" in outcome.stderr
    )
    command += ["--drop-column", "note"]
    outcome = invoke(*command, "--linf", 8)
    assert outcome.exit_code == 1
    assert "--linf is for images" in outcome.stderr
    outcome = invoke(*command)
    assert outcome.exit_code == 0, outcome.output
    poisons = np.load(tmp_path / "out" / "poisons.npz")["X"]
    assert set(poisons[:, 1]) <= {0, 1}


def test_an_output_that_cannot_be_a_folder_is_told_before_the_work(
    invoke, stripes, tmp_path, monkeypatch
):
    monkeypatch.setattr("sklgm.red_teaming.red_team", None)
    (tmp_path / "file").write_text("mine")
    outcome = invoke("attack", stripes, "--out", tmp_path / "file")
    assert outcome.exit_code == 1
    assert "File exists" in outcome.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_poisons_of_a_folder_name_the_files_they_replace(invoke, tmp_path):
    X, y = make_stripe_images(60, 2, (1, 8, 8), noise=0.2, random_state=0)
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        folder = tmp_path / "photos" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(255 * np.clip(image[0], 0, 1)).astype(np.uint8)
        size = (8, 8) if i else (9, 9)
        Image.fromarray(pixels).resize(size).save(folder / f"{i:02d}.png")
    out = tmp_path / "out"
    for n_targets in (3, 1):
        outcome = invoke(
            "attack", tmp_path / "photos", "--estimator", "forest", "--n-targets",
            n_targets, "--budget", 2, "--out", out,
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.output
        assert "Warning: " in outcome.stderr
        assert "--image-size" in outcome.stderr
    with (out / "manifest.csv").open(newline="") as file:
        manifest = list(csv.DictReader(file))
    for line in manifest:
        assert (tmp_path / "photos" / line["replaced_name"]).is_file()
        assert line["replaced_name"].startswith(f"{line['claimed_label']}/")
    # Those of the attack before are gone.
    saved = sorted(str(p.relative_to(out)) for p in (out / "poisons").rglob("*.png"))
    assert saved == sorted(line["file"] for line in manifest)


def test_a_path_that_does_not_exist_is_one_line(invoke, tmp_path):
    outcome = invoke("attack", tmp_path / "nothing.npz")
    assert outcome.exit_code == 1
    assert "does not exist" in outcome.output


def test_rounded_poisons_still_collide_in_the_features(stripes):
    """8 bit is not a defence: what is saved is nearly as close as what was crafted."""
    data = np.load(stripes)
    X, y = data["X"].astype(np.float32) / 255, data["y"]
    clf = SoftmaxClassifier(max_epochs=5, lr=0.01, random_state=0).fit(X, y)
    base, target = X[y == "a"][:4], X[y == "b"][:1]
    crafted = craft(clf, base, target, similarity_weight=0.0)
    rounded = np.rint(crafted.X_poison * 255) / 255
    of_target = clf.transform(target)
    before = np.linalg.norm(clf.transform(base) - of_target, axis=1)
    after = np.linalg.norm(clf.transform(rounded) - of_target, axis=1)
    assert (after / before < crafted.collision_ratio + 0.05).all()


def test_an_attack_that_did_not_get_far_says_so(invoke, stripes, tmp_path):
    command = ["attack", stripes, *SPARING, "--linf", 1, "--out", tmp_path / "out"]
    outcome = invoke(*command, "--max-iter", 1)
    assert outcome.exit_code == 0, outcome.output
    said = " ".join(outcome.stdout.split())
    summary = json.loads((tmp_path / "out" / "red_team.json").read_text())
    assert summary["settings"]["max_iter"] == 1
    assert summary["objective_ratio"] > 0.5
    percent = round(100 * summary["objective_ratio"])
    assert f"is still {percent} % of what it was at the start" in said
    assert "Raise --max-iter" in said
    outcome = invoke(*command, "--max-iter", 0)
    assert outcome.exit_code == 1
    assert "--max-iter" in outcome.stderr
