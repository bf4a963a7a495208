"""The last step of pipelines and frozen estimators, and what comes before it."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklgm._inputs import split_steps, transform_by_steps

LAST = PCA(2)


@pytest.mark.parametrize(
    ("estimator", "n_before"),
    [
        (LAST, 0),
        (FrozenEstimator(LAST), 0),
        (make_pipeline(LAST), 0),
        (make_pipeline(StandardScaler(), LAST), 1),
        (FrozenEstimator(make_pipeline(StandardScaler(), LAST)), 1),
        (make_pipeline(StandardScaler(), FrozenEstimator(LAST)), 1),
        (make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), LAST)), 2),
    ],
    ids=["plain", "frozen", "one step", "steps", "frozen steps", "last frozen", "nest"],
)
def test_last_step_is_found_behind_what_wraps_it(estimator, n_before):
    steps_before, last_step = split_steps(estimator)
    assert last_step is LAST
    assert len(steps_before) == n_before


def test_steps_before_and_last_step_make_up_the_whole(blobs):
    X, y = blobs
    whole = make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), PCA(2)))
    whole.fit(X, y)
    steps_before, last_step = split_steps(FrozenEstimator(whole))
    np.testing.assert_array_equal(
        last_step.transform(transform_by_steps(steps_before, X)), whole.transform(X)
    )
