"""Properties of sklgm.metrics."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sklgm.metrics import (
    attack_success_rate,
    auroc,
    auroc_interval,
    tpr_at_fpr,
    wilson_rate,
)


@st.composite
def detections(draw):
    """Integer scores (ties are likely) and a mask with both classes."""
    n_samples = draw(st.integers(2, 30))
    score = draw(st.lists(st.integers(-20, 20), min_size=n_samples, max_size=n_samples))
    mask = draw(st.lists(st.booleans(), min_size=n_samples, max_size=n_samples))
    mask[0], mask[1] = True, False
    return np.array(score), np.array(mask)


@given(detections())
def test_auroc_is_invariant_under_strictly_increasing_maps(detection):
    score, mask = detection
    expected = auroc_interval(score, mask)
    assert auroc_interval(2.0 * score + 3.0, mask) == expected
    assert auroc_interval(np.exp(score / 4), mask) == expected
    assert auroc_interval(score**3, mask) == expected


@given(detections())
def test_reversed_scores_mirror_the_auroc(detection):
    score, mask = detection
    assert np.isclose(auroc(score, mask) + auroc(-score, mask), 1.0)
    assert np.isclose(auroc(score, mask) + auroc(score, ~mask), 1.0)


@given(detections(), st.floats(0.01, 0.99))
def test_auroc_interval_is_ordered(detection, confidence):
    value, low, high = auroc_interval(*detection, confidence=confidence)
    assert 0 <= low <= high <= 1
    assert low - 1e-12 <= value <= high + 1e-12


@given(detections(), st.floats(0, 1), st.floats(0, 1))
def test_tpr_at_fpr_never_decreases_in_max_fpr(detection, first, second):
    low, high = sorted([first, second])
    assert tpr_at_fpr(*detection, max_fpr=low) <= tpr_at_fpr(*detection, max_fpr=high)
    assert tpr_at_fpr(*detection, max_fpr=1.0) == 1.0


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.01, 0.99))
def test_wilson_interval_contains_its_value(n_success, n_targets, confidence):
    rate = wilson_rate(min(n_success, n_targets), n_targets, confidence=confidence)
    assert 0 <= rate.low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= rate.high <= 1


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1
    )
)
def test_renaming_labels_does_not_change_the_success_rate(rows):
    predicted, control, target = map(np.array, zip(*rows, strict=True))
    base = (target + 1) % 4
    names = np.array(["ant", "bee", "cat", "dog"])
    rate = attack_success_rate(
        predicted, base, control_labels=control, target_labels=target
    )
    renamed = attack_success_rate(
        names[predicted],
        names[base],
        control_labels=names[control],
        target_labels=names[target],
    )
    assert (rate.n_success, rate.n_targets) == (renamed.n_success, renamed.n_targets)
