import csv
import json
import os

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sklgm.datasets import load_rows, make_stripe_images


@pytest.fixture
def stripes(tmp_path):
    """Eighty images of two directions; the first six claim the other one."""
    X, y = make_stripe_images(80, 2, (1, 8, 8), noise=0.1, random_state=0)
    for index, (image, label) in enumerate(zip(X, y, strict=True)):
        claimed = 1 - label if index < 6 else label
        path = tmp_path / "stripes" / f"class {claimed}" / f"{index:03d}-{label}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * image[0].clip(0, 1)).astype(np.uint8)).save(path)
    return tmp_path / "stripes"


def test_audit_decide_apply_and_audit_again(invoke, stripes, tmp_path):
    settings = ["--max-epochs", 60, "--cv", 3, "--contamination", 0.1]
    outcome = invoke("audit", stripes, "--out", tmp_path / "first", *settings)
    assert outcome.exit_code == 0, outcome.output
    with (tmp_path / "first" / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    assert len(suspects) >= 6
    for line in suspects:  # the true direction is in the name
        is_right = line["claimed_label"][-1] == line["name"][-5]
        line["decision"] = "keep" if is_right else "relabel"
    n_wrong = sum(line["decision"] == "relabel" for line in suspects)
    assert n_wrong == 6
    decisions = tmp_path / "decisions.csv"
    with decisions.open("w", newline="") as file:
        table = csv.DictWriter(file, list(suspects[0]))
        table.writeheader()
        table.writerows(suspects)
    clean = tmp_path / "clean"
    outcome = invoke("apply", decisions, stripes, "--to", clean)
    assert outcome.exit_code == 0, outcome.output
    assert (
        f"6 rows relabelled, 0 dropped, {len(suspects) - 6} kept, 0 unsure and kept"
        in outcome.stdout
    )
    rows = load_rows(clean)
    assert len(rows.y) == 80
    for name, label in zip(rows.row_names, rows.y, strict=True):
        assert label[-1] == name[-5]
    outcome = invoke("audit", clean, "--out", tmp_path / "second", *settings)
    assert outcome.exit_code == 0, outcome.output


def test_apply_prints_json_alone(invoke, tmp_path):
    source = tmp_path / "rows.parquet"
    pl.DataFrame({"a": [1, 2, 3], "label": ["x", "y", "x"]}).write_parquet(source)
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,decision,new_label\n0,drop,\n1,relabel,z\n")
    to = tmp_path / "clean.parquet"
    outcome = invoke("apply", decisions, source, "--to", to, "--json", "--quiet")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stderr == ""
    summary = json.loads(outcome.stdout)
    assert summary["n_dropped"] == summary["n_relabelled"] == 1
    assert summary["new_classes"] == ["z"]
    assert summary["lost_classes"] == ["y"]
    assert pl.read_parquet(to)["label"].to_list() == ["z", "x"]


def test_apply_writes_an_index(invoke, stripes, tmp_path):
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,decision,new_label\n0,drop,\n")
    to = tmp_path / "index.csv"
    outcome = invoke("apply", decisions, stripes, "--to", to, "--index")
    assert outcome.exit_code == 0, outcome.output
    assert len(to.read_text().splitlines()) == 80
    outcome = invoke("apply", decisions, stripes, "--to", to, "--index")
    assert outcome.exit_code == 1
    assert "is there already; name another" in outcome.stderr


@pytest.mark.parametrize("is_renamed", [False, True])
def test_interrupted_apply_says_whether_the_copy_is_there(
    invoke, stripes, tmp_path, monkeypatch, is_renamed
):
    rename = os.rename

    def interrupted(source, target):
        if is_renamed:
            rename(source, target)
        raise KeyboardInterrupt

    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,decision\n0,drop\n")
    monkeypatch.setattr(os, "rename", interrupted)
    to = tmp_path / "clean"
    outcome = invoke("apply", decisions, stripes, "--to", to)
    assert outcome.exit_code == 130
    assert to.exists() is is_renamed
    said = "the results had been written" if is_renamed else "nothing was written"
    assert outcome.stderr.splitlines()[-1] == f"Interrupted: {said}."
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".p")]


def test_a_name_that_no_file_can_have_is_an_error_in_one_line(
    invoke, stripes, tmp_path
):
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,decision\n0,drop\n")
    outcome = invoke("apply", decisions, stripes, "--to", tmp_path / ("n" * 300))
    assert outcome.exit_code == 1
    assert outcome.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index"], "--to '"),
        (["--label-column", "kind"], "Error: --label-column is for tables only"),
    ],
)
def test_apply_names_what_is_wrong(invoke, stripes, tmp_path, arguments, message):
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,decision\n0,drop\n")
    to = tmp_path / "clean"
    outcome = invoke("apply", decisions, stripes, "--to", to, *arguments)
    assert outcome.exit_code == 1
    assert message in outcome.stderr
    assert not to.exists()
