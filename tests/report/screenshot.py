"""Picture of an audit's report for the guide: ``python -m tests.report.screenshot``."""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from sklgm import audit
from sklgm.poisoning import flip_labels
from sklgm.report import write_audit_report
from tests.chromium import running_chromium

PICTURE = Path(__file__).parents[2] / "docs" / "_static" / "audit-report.png"
_SIZE = {"width": 1180, "height": 760}
_N_COLORS = 48  # fewer than 60 kB, and letters stay clear


def write_report(path):
    """Audit the digits, of which one in twelve claims a wrong label."""
    X, y = load_digits(return_X_y=True)
    words = np.array("zero one two three four five six seven eight nine".split())
    claimed = words[flip_labels(y, 0.08, random_state=0)]
    model = LogisticRegression(max_iter=500)
    P = cross_val_predict(model, X / 16, claimed, cv=5, method="predict_proba")
    result = audit(X / 16, claimed, pred_probs=P)
    names = [f"{label}/{row:04d}.png" for row, label in enumerate(claimed)]
    images = X.reshape(-1, 1, 8, 8) / 16
    title = "Audit of the labels of photos"
    return write_audit_report(path, result, images, names, title=title)


def main(path=PICTURE):
    """Decide on four rows and photograph the first screen."""
    with tempfile.TemporaryDirectory() as folder, running_chromium() as chromium:
        page = chromium.new_page(viewport=_SIZE, color_scheme="light")
        page.goto(write_report(Path(folder) / "report.html").as_uri())
        for key in "rrdr":
            page.keyboard.press(key)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(_N_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
