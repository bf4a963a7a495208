import csv
import json

import numpy as np
import pytest
from PIL import Image

from sklgm.datasets import make_stripe_images
from sklgm.experiments import stages_folder


@pytest.fixture
def labelled_csv(tmp_path):
    """Two clouds of points; the first three rows claim the other one."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 3)) + 6 * y[:, None]
    claimed = np.where(np.arange(200) < 3, 1 - y, y)
    lines = ["a,b,c,label"]
    lines += [
        ",".join([*(f"{v:.4f}" for v in row), f"class {z}"])
        for row, z in zip(X, claimed, strict=True)
    ]
    path = tmp_path / "points.csv"
    path.write_text("\n".join(lines))
    return path


def test_audit_writes_lists_and_report(invoke, labelled_csv, tmp_path):
    out = tmp_path / "out"
    outcome = invoke("audit", labelled_csv, "--out", out, "--max-epochs", 5)
    assert outcome.exit_code == 0, outcome.output
    with (out / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    assert {int(line["row"]) for line in suspects} >= {0, 1, 2}
    assert suspects[0]["claimed_label"].startswith("class ")
    n_clean = len((out / "clean_index.csv").read_text().splitlines()) - 1
    assert n_clean + len(suspects) == 200
    summary = json.loads((out / "audit.json").read_text())
    assert summary["n_suspects"] == len(suspects)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "points" in page
    assert "Estimated share of wrong labels" in outcome.output
    assert not stages_folder(out).exists()


def test_audit_takes_trusted_rows(invoke, labelled_csv, tmp_path):
    lines = labelled_csv.read_text().splitlines()
    trusted = tmp_path / "trusted.csv"
    trusted.write_text("\n".join([lines[0], *lines[101:]]))
    labelled_csv.write_text("\n".join(lines[:101]))
    out = tmp_path / "out"
    outcome = invoke(
        "audit", labelled_csv, "--trusted", trusted, "--out", out, "--max-epochs",
        5, "--false-alarm-rate", 0.05, "--score-kind", "likelihood", "--cv", 3,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "Judged against 100 trusted rows" in outcome.output
    assert json.loads((out / "audit.json").read_text())["n_trusted"] == 100


@pytest.mark.slow
def test_audit_of_images_shows_them_by_file_name(invoke, tmp_path):
    X, y = make_stripe_images(60, 2, (1, 8, 8), noise=0.1, random_state=0)
    for index, (image, label) in enumerate(zip(X, y, strict=True)):
        claimed = 1 - label if index == 0 else label
        folder = tmp_path / "stripes" / f"class {claimed}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (255 * image[0].clip(0, 1)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    out = tmp_path / "out"
    outcome = invoke(
        "audit", tmp_path / "stripes", "--out", out, "--max-epochs", 60, "--cv", 3,
        "--false-alarm-rate", 0.05,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "/000.png" in (out / "suspects.csv").read_text()
    assert "data:image/png;base64," in (out / "report.html").read_text()


def test_audit_prints_labels_as_they_are(invoke, labelled_csv, tmp_path):
    text = labelled_csv.read_text().replace("class 0", "[/cat]")
    labelled_csv.write_text(text.replace("class 1", "[red]dog"))
    outcome = invoke("audit", labelled_csv, "--out", tmp_path / "o", "--max-epochs", 2)
    assert outcome.exit_code == 0, outcome.output
    assert "[/cat]" in outcome.output
    assert "[red]dog" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop-column", "d"], "no column 'd' of --drop-column"),
        (["--cv", "1"], "--cv must be at least 2 folds"),
        (["--label-column", "kind"], "no --label-column 'kind'"),
        (["--score-kind", "likelihood"], "--score-kind 'likelihood' needs trusted"),
        (["--trusted", "none.csv"], "none.csv does not exist"),
        (["--device", "gpu9"], "--device 'gpu9'"),
        (["--false-alarm-rate", "2"], "--false-alarm-rate must be a float in (0, 1)"),
        (["--backbone", "vgg"], "--backbone"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_audit_names_what_is_wrong(invoke, labelled_csv, tmp_path, arguments, message):
    outcome = invoke("audit", labelled_csv, "--out", tmp_path / "o", *arguments)
    assert outcome.exit_code == 1
    assert "Error: " in outcome.stderr
    assert message in outcome.stderr
    assert not (tmp_path / "o" / "suspects.csv").exists()


@pytest.fixture
def given_npz(tmp_path):
    """Labels and probabilities of 300 rows; the first three labels are wrong."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    proba = 0.02 + 0.03 * rng.random((300, 3))
    proba[np.arange(300), y] = 0.94
    claimed = np.where(np.arange(300) < 3, (y + 1) % 3, y)
    path = tmp_path / "given.npz"
    np.savez(path, y=claimed, pred_probs=proba)
    return path


def test_audit_judges_by_given_probabilities(invoke, given_npz, tmp_path):
    out = tmp_path / "out"
    outcome = invoke("audit", given_npz, "--out", out, "--contamination", 0.01)
    assert outcome.exit_code == 0, outcome.output
    with (out / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    assert {int(line["row"]) for line in suspects} == {0, 1, 2}
    assert min(float(line["p_wrong"]) for line in suspects) > 0.3
    summary = json.loads((out / "audit.json").read_text())
    assert summary["contamination"] == 0.01
    assert np.shape(summary["noise_matrix"]) == (3, 3)


def test_audit_takes_decisions_on_rows(invoke, given_npz, tmp_path):
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,decision\n0,relabel\n1,drop\n2,keep\n10,keep\n")
    with np.load(given_npz) as archive:
        np.save(tmp_path / "proba.npy", archive["pred_probs"])
        np.savez(tmp_path / "rows.npz", X=archive["pred_probs"], y=archive["y"])
    out = tmp_path / "out"
    outcome = invoke(
        "audit", tmp_path / "rows.npz", "--pred-probs", tmp_path / "proba.npy",
        "--decisions", decisions, "--out", out,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "Checked: 4 rows, 2 of them wrong" in " ".join(outcome.output.split())
    assert json.loads((out / "audit.json").read_text())["review"]["n_wrong"] == 2
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "4 rows checked, 2 of them wrong" in page


def test_audit_names_a_file_without_the_key(invoke, given_npz, labelled_csv):
    outcome = invoke("audit", labelled_csv, "--features", given_npz)
    assert outcome.exit_code == 1
    assert "must be a .npy file, or a .npz file with key features" in outcome.output
