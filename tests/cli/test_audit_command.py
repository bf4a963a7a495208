import csv
import json
import os

import numpy as np
import polars
import pytest
import torch
from PIL import Image
from torchvision import models

from sklgm.cli._audit_command import _processes_for
from sklgm.datasets import load_rows, make_stripe_images
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
    last = outcome.stdout.splitlines()[-1]
    assert last == (
        f"Next: decide on the suspects in {out / 'report.html'}, download "
        f"decisions.csv, and run sklgm apply decisions.csv {labelled_csv} --to COPY"
    )
    assert not stages_folder(out).exists()


def test_lists_of_an_audit_before_are_gone(invoke, labelled_csv, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    lists = ("duplicates.csv", "outliers.csv")
    for name in (*lists, "skipped.csv", "notes.txt"):
        (out / name).write_text("of other data")
    outcome = invoke("audit", labelled_csv, "--out", out, "--max-epochs", 1, "--cv", 2)
    assert outcome.exit_code == 0, outcome.output
    assert not (out / "skipped.csv").exists()
    for name in lists:
        assert not (out / name).exists() or (out / name).read_text() != "of other data"
    assert (out / "notes.txt").read_text() == "of other data"


def test_decisions_that_were_filled_in_stay(invoke, labelled_csv, tmp_path):
    out = tmp_path / "out"
    quick = ["--out", out, "--max-epochs", 1, "--cv", 2, "--quiet"]
    assert invoke("audit", labelled_csv, *quick).exit_code == 0
    path = out / "rows_to_check.csv"
    header, *lines = path.read_text().splitlines()
    assert header.endswith(",decision")
    path.write_text("\n".join([header, *(f"{line}keep" for line in lines)]) + "\n")
    filled_in = path.read_bytes()
    for given in (["--decisions", path], []):
        outcome = invoke("audit", labelled_csv, *quick, *given)
        assert outcome.exit_code == 0, outcome.output
        assert path.read_bytes() == filled_in
    summary = json.loads((out / "audit.json").read_text())
    assert summary["review"] is None


def test_audit_trains_folds_in_processes(invoke, labelled_csv, tmp_path):
    settings = ["--max-epochs", 2, "--cv", 2, "--n-jobs", 2]
    outcome = invoke("audit", labelled_csv, "--out", tmp_path / "out", *settings)
    assert outcome.exit_code == 0, outcome.output
    summary = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert summary["environment"]["n_workers"] == 2


@pytest.mark.parametrize(
    ("shape", "backbone", "n_cores", "n_processes"),
    [
        ((9, 3, 32, 32), "auto", 2, 1),
        ((9, 3, 64, 48), "auto", 16, 4),
        ((9, 3, 64, 48), "airbench", 16, 4),
        ((9, 3, 64, 48), "airbench_narrow", 16, 4),
        ((9, 3, 64, 48), "identity", 16, -1),
        ((9, 3, 64, 48), "cnn", 16, -1),
        ((9, 1, 28, 28), "auto", 16, -1),
        ((9, 5), "auto", 16, -1),
    ],
)
def test_the_large_network_fills_several_cores_by_itself(
    shape, backbone, n_cores, n_processes, monkeypatch
):
    monkeypatch.setattr("joblib.cpu_count", lambda: n_cores)
    assert _processes_for(np.zeros(shape), backbone, "cpu") == n_processes
    assert _processes_for([["a text"]], "auto", "cpu") == -1
    monkeypatch.setattr("sklgm._inputs.resolve_device", lambda _: torch.device("cuda"))
    assert _processes_for(np.zeros(shape), backbone, "cuda") == 1


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
    stages = outcome.stderr.splitlines()
    assert stages[:2] == ["load libraries", "read images"]
    assert "/000.png" in (out / "suspects.csv").read_text()
    assert "data:image/png;base64," in (out / "report.html").read_text()


def test_audit_prints_labels_as_they_are(invoke, labelled_csv, tmp_path):
    text = labelled_csv.read_text().replace("class 0", "[/cat]")
    labelled_csv.write_text(text.replace("class 1", "[red]dog"))
    outcome = invoke("audit", labelled_csv, "--out", tmp_path / "o", "--max-epochs", 2)
    assert outcome.exit_code == 0, outcome.output
    assert "[/cat]" in outcome.output
    assert "[red]dog" in outcome.output


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A random network of torchvision whose filters tell directions apart."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    network = models.mobilenet_v3_small(weights=None, num_classes=5)
    torch.save(network.state_dict(), path)
    return path


def save_stripes(folder, n_samples, n_wrong, random_state=0):
    """Images of two directions and several sizes; the first ones claim the other."""
    X, y = make_stripe_images(
        n_samples, 2, (3, 16, 16), noise=0.05, random_state=random_state
    )
    for index, (image, label) in enumerate(zip(X, y, strict=True)):
        claimed = 1 - label if index < n_wrong else label
        pixels = (255 * image.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
        path = folder / f"class {claimed}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((32 + index, 40)).save(path)


def test_audit_by_a_pretrained_network(invoke, weights, tmp_path):
    save_stripes(tmp_path / "stripes", 60, n_wrong=2)
    arguments = [
        "audit", tmp_path / "stripes", "--out", tmp_path / "out", "--cv", 3,
        "--backbone", "mobilenet_v3_small", "--weights", weights, "--max-epochs", 20,
        "--contamination", 0.1,
    ]  # fmt: skip
    outcome = invoke(*arguments)
    assert outcome.exit_code == 0, outcome.output
    assert (
        "mobilenet_v3_small: took off the classification layer of 5 classes; "
        "1024 features per image."
    ) in outcome.stdout
    assert "extract features" in outcome.stderr
    suspects = (tmp_path / "out" / "suspects.csv").read_text()
    assert "/000.png" in suspects
    assert "/001.png" in suspects
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    # Features wait in the cache for the next audit.
    (kept,) = (tmp_path / "cache" / "sklgm" / "features").rglob("*.safetensors")
    before = kept.stat().st_mtime_ns
    assert invoke(*arguments).exit_code == 0
    assert [p.stat().st_mtime_ns for p in kept.parent.iterdir()] == [before]
    assert (tmp_path / "out" / "suspects.csv").read_text() == suspects


def test_photos_that_cannot_be_read_count_for_no_row(invoke, weights, tmp_path):
    """Neither here nor in apply, whether a network was given or not."""
    folder = tmp_path / "stripes.v2"
    save_stripes(folder, 40, n_wrong=0)
    (folder / "class 0" / "00a.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (folder / "class 0" / "00b.png").symlink_to(tmp_path / "outside.png")
    outcome = invoke(
        "audit", folder, "--out", tmp_path / "out", "--cv", 2, "--max-epochs", 2,
        "--backbone", "mobilenet_v3_small", "--weights", weights, "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert (found["n_samples"], found["n_skipped"]) == (40, 2)
    skipped = polars.read_csv(tmp_path / "out" / "skipped.csv")
    assert skipped["name"].to_list() == ["class 0/00a.png", "class 0/00b.png"]
    assert "leads out of" in skipped["reason"][1]
    with pytest.warns(UserWarning, match="2 of 42 images"):
        loaded = load_rows(folder, image_size=8)
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    assert list(loaded.row_names) == [
        f for f in files if "00a" not in f and "00b" not in f
    ]


def test_results_of_folders_with_dots_do_not_meet(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pics.v1", "pics.v2"):
        save_stripes(tmp_path / name, 20, n_wrong=0)
        outcome = invoke("audit", name, "--cv", 2, "--max-epochs", 1, "--quiet")
        assert outcome.exit_code == 0, outcome.stderr
    assert {p.name for p in (tmp_path / "sklgm-audit").iterdir()} == {
        "pics.v1",
        "pics.v2",
    }


def test_audit_by_a_pretrained_network_takes_trusted_images(invoke, weights, tmp_path):
    save_stripes(tmp_path / "stripes", 40, n_wrong=2)
    save_stripes(tmp_path / "checked", 20, n_wrong=0, random_state=1)
    outcome = invoke(
        "audit", tmp_path / "stripes", "--trusted", tmp_path / "checked", "--out",
        tmp_path / "out", "--cv", 3, "--backbone", "mobilenet_v3_small", "--weights",
        weights, "--false-alarm-rate", 0.1, "--max-epochs", 10,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "Judged against 20 trusted rows" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "auto"], "--backbone must be a classification network"),
        (["--backbone", "resnet18"], "are not those of --backbone 'resnet18'"),
        (["--image-size", "32"], "--image-size 32 is not for --weights"),
        (["--weights", "none.pth"], "--weights 'none.pth' is not a file"),
        (["--label-column", "label"], "--label-column is for tables, --weights"),
        (["--group-column", "g"], "--group-column is for tables"),
        (["--drop-column", "g"], "--drop-column is for tables"),
        (["--on-error", "banana"], "--on-error must be 'skip' or 'stop'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_pretrained_networks_that_will_not_do(
    invoke, weights, tmp_path, arguments, message
):
    save_stripes(tmp_path / "stripes", 10, n_wrong=0)
    outcome = invoke(
        "audit", tmp_path / "stripes", "--out", tmp_path / "o", "--backbone",
        "mobilenet_v3_small", "--weights", weights, *arguments,
    )  # fmt: skip
    assert outcome.exit_code == 1
    assert message in outcome.stderr


def test_a_folder_of_parquet_is_audited_and_corrected(invoke, labelled_csv, tmp_path):
    table = polars.read_csv(labelled_csv)
    folder = tmp_path / "rows" / "data"
    folder.mkdir(parents=True)
    table[:120].write_parquet(folder / "train-0.parquet")
    table[120:].write_parquet(folder / "train-1.parquet")
    outcome = invoke("audit", tmp_path / "rows", "--out", tmp_path / "o", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["n_samples"] == 200
    suspects = polars.read_csv(tmp_path / "o" / "suspects.csv")
    assert {0, 1, 2} <= {*suspects["row"]}
    decided = suspects.with_columns(decision=polars.lit("relabel"))
    decided.write_csv(tmp_path / "decisions.csv")
    outcome = invoke(
        "apply", tmp_path / "decisions.csv", tmp_path / "rows", "--to", tmp_path / "c"
    )
    assert outcome.exit_code == 0, outcome.stderr
    clean = [
        polars.read_parquet(tmp_path / "c" / "data" / f"train-{i}.parquet")
        for i in (0, 1)
    ]
    assert [len(part) for part in clean] == [120, 80]
    relabelled = polars.concat(clean)["label"] != table["label"]
    assert relabelled.arg_true().to_list() == sorted(suspects["row"])


@pytest.mark.parametrize("is_folder", [False, True])
def test_weights_are_for_images(invoke, labelled_csv, weights, tmp_path, is_folder):
    path = labelled_csv
    if is_folder:
        path = tmp_path / "rows"
        path.mkdir()
        polars.read_csv(labelled_csv).write_parquet(path / "part.0.parquet")
    outcome = invoke(
        "audit", path, "--out", tmp_path / "o", "--weights", weights,
        "--backbone", "mobilenet_v3_small",
    )  # fmt: skip
    assert outcome.exit_code == 1
    assert "--weights is for image folders only" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop-column", "d"], "no column 'd' of --drop-column"),
        (["--cv", "1"], "--cv must be at least 2 folds"),
        (["--label-column", "kind"], "no --label-column 'kind'"),
        (["--score-kind", "likelihood"], "--score-kind 'likelihood' needs trusted"),
        (["--score-kind", "likelihood"], "Give trusted rows, or set --score-kind 'p"),
        (["--trusted", "none.csv"], "--trusted: none.csv does not exist"),
        (["--pred-probs", "none.npy"], "--pred-probs: none.npy does not exist"),
        (["--device", "gpu9"], "--device 'gpu9'"),
        (["--false-alarm-rate", "2"], "--false-alarm-rate must be a float in (0, 1)"),
        (["--backbone", "vgg"], "--backbone"),
        (["--n-jobs", "0"], "--n-jobs must be an int but 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_audit_names_what_is_wrong(invoke, labelled_csv, tmp_path, arguments, message):
    outcome = invoke("audit", labelled_csv, "--out", tmp_path / "o", *arguments)
    assert outcome.exit_code == 1
    assert "Error: " in outcome.stderr
    assert message in outcome.stderr
    assert not (tmp_path / "o" / "suspects.csv").exists()


def test_audit_says_which_suspects_are_likelier_right(invoke, labelled_csv, tmp_path):
    out = tmp_path / "o"
    options = ["--max-epochs", 20, "--cv", 2, "--contamination", 0.5]
    outcome = invoke("audit", labelled_csv, "--out", out, *options)
    assert outcome.exit_code == 0, outcome.output
    with (out / "suspects.csv").open(newline="") as file:
        p_wrong = [float(line["p_wrong"]) for line in csv.DictReader(file)]
    n_doubtful = sum(value < 0.5 for value in p_wrong)
    assert n_doubtful > 0
    said = " ".join(outcome.stdout.split())
    assert f"More likely right than wrong: the last {n_doubtful}" in said


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
    assert "<strong>2 claim different labels</strong>" in page
    assert len((out / "duplicates.csv").read_text().splitlines()) == 3
    outcome = invoke("audit", path, "--out", out, "--group-column", "ward")
    assert outcome.exit_code == 1
    assert "no --group-column 'ward'" in outcome.stderr


@pytest.mark.parametrize("quiet", [[], ["--quiet"]], ids=["loud", "quiet"])
def test_audit_prints_json_alone(invoke, labelled_csv, tmp_path, quiet):
    out = tmp_path / "out"
    with labelled_csv.open("a") as file:  # a class that is too rare: NaN in a matrix
        file.write("\n0.5,0.5,0.5,class 9")
    outcome = invoke(
        "audit", labelled_csv, "--out", out, "--max-epochs", 3, "--json", *quiet
    )
    assert outcome.exit_code == 0, outcome.output

    def refuse(constant):
        raise AssertionError(f"{constant} is not a JSON")

    summary = json.loads(outcome.stdout, parse_constant=refuse)
    assert summary["n_samples"] == 201
    assert summary["suspect_share"] == summary["n_suspects"] / 201
    assert summary["fail_over"] is None
    assert summary["is_over"] is False
    written = {path.name for path in out.iterdir()}
    assert set(summary["files"]) == written
    assert "Warning: Class 'class 9' is too rare" in outcome.stderr
    assert ("epochs of all folds" in outcome.stderr) is not bool(quiet)
    own = json.loads((out / "audit.json").read_text(), parse_constant=refuse)
    assert own.items() <= summary.items()


def test_audit_is_quiet(invoke, given_npz, tmp_path):
    outcome = invoke("audit", given_npz, "--out", tmp_path / "out", "-q")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output == ""
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(("share", "code"), [(0.0, 3), (0.009, 3), (0.01, 0), (1, 0)])
def test_audit_fails_over_a_share_of_suspects(invoke, given_npz, tmp_path, share, code):
    out = tmp_path / "out"
    outcome = invoke(
        "audit", given_npz, "--out", out, "--contamination", 0.01, "--json",
        "--fail-over", share, "-q",
    )  # fmt: skip
    assert outcome.exit_code == code, outcome.output
    summary = json.loads(outcome.stdout)
    assert summary["n_suspects"] == 3
    assert summary["is_over"] is (code == 3)
    assert (out / "suspects.csv").exists()
    said = f"1.000% of the rows are suspect, more than --fail-over {share:g}"
    assert (said in outcome.stderr) is (code == 3)


def test_audit_refuses_a_share_that_is_none(invoke, given_npz):
    outcome = invoke("audit", given_npz, "--fail-over", 1.5)
    assert outcome.exit_code == 2
    assert "--fail-over" in outcome.stderr


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
