"""A folder is audited, decided on in Chromium and corrected: ``-n 0 -m browser``."""

import csv
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from sklgm.datasets import load_rows
from sklgm.poisoning import flip_labels
from tests.chromium import running_chromium

pytestmark = pytest.mark.browser

N_DECISIONS = 100


@pytest.fixture
def photos(tmp_path):
    """Digits in a folder per claimed label, 8 % of them in a wrong one.

    Files are numbered within their folder: names are taken where images move to.
    """
    X, y = load_digits(return_X_y=True)
    claimed = flip_labels(y, 0.08, random_state=0)
    folder, right_labels = tmp_path / "photos", {}
    for k in range(10):
        (folder / f"digit {k}").mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(claimed == k)):
            name = f"digit {k}/{number:03d}.png"
            image = (X[row].reshape(8, 8) * 15).astype(np.uint8)
            Image.fromarray(image).save(folder / name)
            right_labels[name] = f"digit {y[row]}"
    return folder, right_labels


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read_lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decision_on(line, right_label, step):
    """What somebody decides who knows the right labels, and is not always sure."""
    if step % 13 == 5:
        return "unsure", ""
    if right_label == line["claimed_label"]:
        return "keep", ""
    return ("drop", "") if step % 5 == 2 else ("relabel", right_label)


def press(page, line, decision, new_label):
    """Decide on the selected row, which must be that line of suspects.csv."""
    found = page.locator("#detail-row").inner_text()
    assert found == f"Row {line['row']}"
    if new_label in ("", line["likely_label"]):  # the likelier label is filled in
        page.keyboard.press(decision[0])
        return
    tab_to(page, "new-label")
    page.keyboard.press("Home")
    for _ in range(int(new_label[-1])):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


def tab_to(page, element, key="Tab"):
    for _ in range(20):
        page.keyboard.press(key)
        if page.evaluate("document.activeElement.id") == element:
            return
    pytest.fail(f"{key} does not lead to #{element}")


def decide_by_keyboard(report, lines, decisions, to):
    """Decide on rows in the page of an audit, and export the decisions."""
    with running_chromium() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(report.as_uri())
        tab_to(page, "list")
        for step, (line, decision) in enumerate(zip(lines, decisions, strict=True)):
            if step == 50:  # a slip of the finger
                page.keyboard.press("u")
                page.keyboard.press("z")
            press(page, line, *decision)
        found = page.locator("#progress-text").inner_text()
        assert found.startswith(f"{N_DECISIONS} of ")
        tab_to(page, "download", "Shift+Tab")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "decisions.csv"
        download.value.save_as(to)


def corrected(source, names, decisions):
    """Contents of the copy by path, and how many images are renamed in it."""
    copy = {
        name: source[name]
        for name in names
        if decisions.get(name, ("keep", ""))[0] in ("keep", "unsure")
    }
    n_renamed = 0
    for name in names:  # rows in the order in which they are counted
        decision, new_label = decisions.get(name, ("keep", ""))
        if decision != "relabel":
            continue
        old = PurePosixPath(name)
        place = f"{new_label}/{old.name}"
        if place in copy:
            place = f"{new_label}/{old.stem}-{old.parent}{old.suffix}"
            n_renamed += 1
        assert place not in copy
        copy[place] = source[name]
    return copy, n_renamed


def test_a_hundred_decisions_by_keyboard_clean_a_folder(invoke, photos, tmp_path):
    folder, right_labels = photos
    before = contents(folder)
    rows = load_rows(folder)
    P = cross_val_predict(
        LogisticRegression(max_iter=300),
        rows.X.reshape(len(rows.X), -1),
        rows.y,
        cv=3,
        method="predict_proba",
    )
    np.save(tmp_path / "P.npy", P)
    out = tmp_path / "audit"
    arguments = ["--pred-probs", tmp_path / "P.npy", "--out", out, "--quiet"]
    outcome = invoke("audit", folder, *arguments)
    assert outcome.exit_code == 0, outcome.output
    lines = read_lines(out / "suspects.csv")[:N_DECISIONS]
    assert len(lines) == N_DECISIONS
    decided = [
        decision_on(line, right_labels[line["name"]], step)
        for step, line in enumerate(lines)
    ]
    kinds = [decision for decision, _ in decided]
    counts = {kind: kinds.count(kind) for kind in ("keep", "relabel", "drop", "unsure")}
    assert min(counts.values()) >= 5
    chosen = [
        new_label not in ("", line["likely_label"])
        for line, (_, new_label) in zip(lines, decided, strict=True)
    ]
    assert sum(chosen) >= 3  # not by R alone

    file = tmp_path / "decisions.csv"
    decide_by_keyboard(out / "report.html", lines, decided, file)
    decisions = {
        line["name"]: decision for line, decision in zip(lines, decided, strict=True)
    }
    exported = {
        line["name"]: (line["decision"], line["new_label"]) for line in read_lines(file)
    }
    assert exported == decisions

    clean = tmp_path / "clean"
    outcome = invoke("apply", file, folder, "--to", clean)
    assert outcome.exit_code == 0, outcome.output
    assert (
        f"{counts['relabel']} rows relabelled, {counts['drop']} dropped, "
        f"{counts['keep']} kept, {counts['unsure']} unsure and kept"
    ) in outcome.stdout
    expected, n_renamed = corrected(before, rows.row_names, decisions)
    assert n_renamed > 0
    assert len(expected) == len(before) - counts["drop"]
    assert contents(clean) == expected
    assert contents(folder) == before
