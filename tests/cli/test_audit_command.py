import csv
import json
import os

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


def test_audit_skips_and_lists_images_that_cannot_be_read(invoke, tmp_path):
    X, y = make_stripe_images(40, 2, (1, 8, 8), noise=0.1, random_state=0)
    pets = tmp_path / "pets"
    names = ["plain", os.fsdecode(b"caf\xe9")]
    for index, (image, label) in enumerate(zip(X, y, strict=True)):
        (pets / names[label]).mkdir(parents=True, exist_ok=True)
        pixels = (255 * image[0].clip(0, 1)).astype(np.uint8)
        photo = Image.fromarray(pixels)
        if index == 7:
            photo = photo.resize((10, 12))
        photo.save(pets / names[label] / f"{index:03d}.png")
    (pets / names[0] / "damaged.png").write_bytes(b"no image")
    out = tmp_path / "out"
    options = ["--max-epochs", 1, "--cv", 2]
    outcome = invoke("audit", pets, "--out", out, *options)
    assert outcome.exit_code == 0, outcome.output
    assert "Warning: 1 of 41 images" in outcome.stderr
    assert "Set --on-error 'stop'" in outcome.stderr
    assert "have 2 sizes, 8 to 12 pixels high" in outcome.stderr
    assert "Set --image-size to choose" in outcome.stderr
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "resized to 8 x 8" in page
    assert "caf\\udce9" in outcome.output
    with (out / "skipped.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["name"] == "plain/damaged.png"
    assert line["reason"].startswith("it is none of BMP, GIF, JPEG")
    outcome = invoke("audit", pets, "--out", out, *options, "--on-error", "stop")
    assert outcome.exit_code == 1
    assert "plain/damaged.png in" in outcome.stderr


def test_audit_takes_texts_with_labels(invoke, tmp_path):
    rng = np.random.default_rng(0)
    words = [["soup", "bread", "salt", "oven"], ["goal", "team", "coach", "score"]]
    lines = ["text;label"]
    for i in range(120):
        own = rng.choice(words[i % 2], 3).tolist()
        claimed = 1 - i % 2 if i < 4 else i % 2
        lines.append(f"{' '.join(own)}, no {i % 37};{['food', 'sport'][claimed]}")
    lines[-1] = lines[-1].replace("sport", "sprot")
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(lines), encoding="utf-16")
    out = tmp_path / "out"
    outcome = invoke("audit", path, "--out", out, "--max-epochs", 40, "--cv", 3)
    assert outcome.exit_code == 0, outcome.output
    with (out / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    assert {0, 1, 2, 3} <= {int(line["row"]) for line in suspects}
    assert all(", no " in line["name"] for line in suspects)
    said = "Warning: Class 'sprot' is too rare to judge"
    assert said in outcome.stderr
    summary = json.loads((out / "audit.json").read_text())
    assert summary["n_too_rare"] == 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Columns were prepared so: text (text, by TF-IDF" in page
    assert "Is it a misspelling of &#39;sport&#39;?" in page


def test_audit_takes_tables_with_gaps_and_groups(invoke, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["name,sex,age,visit,patient,label"]
    for i in range(150):
        well = i % 2
        age = "" if i % 7 == 0 else f"{40 + 20 * well + rng.normal(0, 3):.1f}"
        lines.append(
            f"Name {rng.integers(999)},{'fm'[rng.integers(2)]},{age},"
            f"2020-0{1 + rng.integers(9)}-11,{i // 3},{['ill', 'well'][well]}"
        )
    lines += [lines[1].replace("ill", "well"), lines[5].replace(",ill", ",well")]
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(lines))
    out = tmp_path / "out"
    outcome = invoke(
        "audit", path, "--out", out, "--max-epochs", 5, "--cv", 3,
        "--group-column", "patient",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "age (numbers" in page
    assert "patient" not in page.split("Columns were prepared so")[1].split("</li>")[0]
    assert "Duplicates with different labels: 2 pairs" in outcome.output
    assert "Duplicates with different labels" in page
    assert len((out / "duplicates.csv").read_text().splitlines()) == 3
    outcome = invoke("audit", path, "--out", out, "--group-column", "ward")
    assert outcome.exit_code == 1
    assert "no --group-column 'ward'" in outcome.stderr
