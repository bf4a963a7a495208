"""Without matplotlib: importable, and an error that names the extra."""

import sys

import numpy as np
import pytest

from sklgm.plotting import (
    ClaimedLikelihoodDisplay,
    FeatureSpaceDisplay,
    PoisonDisplay,
    plot_frontier,
    plot_roc_curves,
)
from tests.tidy_rows import rate, row, table_of

IMAGES = np.zeros((1, 1, 2, 2))
FRONTIER = table_of([rate("lgm", 1), row(metric="tpr_at_1pct_fpr", score="posterior")])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: ClaimedLikelihoodDisplay.from_predictions([0.0], [False]),
        lambda: FeatureSpaceDisplay.from_predictions([[0.0, 0.0]], [0]),
        lambda: PoisonDisplay.from_predictions(IMAGES, IMAGES, IMAGES),
        lambda: plot_roc_curves({"a": ([0, 1], [0, 1])}),
        lambda: plot_frontier(FRONTIER),
    ],
    ids=["histogram", "features", "images", "roc", "frontier"],
)
def test_missing_matplotlib_names_the_extra(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "sklgm\[cli\]"'):
        draw()
