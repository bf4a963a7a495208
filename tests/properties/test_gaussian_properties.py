"""Properties of the Gaussian algebra and of the L-GM loss."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklgm.gaussian import (
    COVARIANCE_TYPES,
    estimate_gaussians,
    log_variances_shape,
    squared_mahalanobis,
)
from sklgm.losses import lgm_loss

N_CLASSES, DIM, N_ROWS = 3, 2, 5
quick = settings(max_examples=50, deadline=None)
values = st.floats(-10, 10, allow_nan=False)


def tensors(shape, elements=values):
    n_elements = int(torch.Size(shape).numel())
    return st.lists(elements, min_size=n_elements, max_size=n_elements).map(
        lambda flat: torch.tensor(flat, dtype=torch.float64).reshape(shape)
    )


@st.composite
def mixtures(draw):
    """Covariance type, features, labels, means and log-variances."""
    covariance_type = draw(st.sampled_from(COVARIANCE_TYPES))
    shape = log_variances_shape(covariance_type, N_CLASSES, DIM)
    labels = st.integers(0, N_CLASSES - 1)
    return (
        covariance_type,
        draw(tensors((N_ROWS, DIM))),
        torch.tensor(draw(st.lists(labels, min_size=N_ROWS, max_size=N_ROWS))),
        draw(tensors((N_CLASSES, DIM))),
        draw(tensors(shape, st.floats(-2, 2))),
    )


def relabelled(log_variances, covariance_type, order):
    if covariance_type in ("spherical", "diag"):
        return log_variances[order]
    return log_variances


@quick
@given(mixtures(), st.permutations(range(N_CLASSES)))
def test_relabelling_the_classes_permutes_the_outputs(mixture, order):
    covariance_type, features, y, means, log_variances = mixture
    order = torch.tensor(order)
    moved = relabelled(log_variances, covariance_type, order)
    found = squared_mahalanobis(features, means[order], moved, covariance_type)
    expected = squared_mahalanobis(features, means, log_variances, covariance_type)
    torch.testing.assert_close(found, expected[:, order], rtol=1e-9, atol=1e-9)
    settings = {"covariance_type": covariance_type, "margin": 0.5}
    torch.testing.assert_close(
        lgm_loss(features, torch.argsort(order)[y], means[order], moved, **settings),
        lgm_loss(features, y, means, log_variances, **settings),
        rtol=1e-9,
        atol=1e-9,
    )


@quick
@given(mixtures(), tensors((DIM,), st.floats(-1e3, 1e3)))
def test_shifting_features_and_means_together_changes_nothing(mixture, shift):
    covariance_type, features, _, means, log_variances = mixture
    # Shifted values are rounded to 1e3 eps = 2e-13; distances to 40 times e^2 that.
    torch.testing.assert_close(
        squared_mahalanobis(
            features + shift, means + shift, log_variances, covariance_type
        ),
        squared_mahalanobis(features, means, log_variances, covariance_type),
        rtol=1e-9,
        atol=1e-9,
    )


@quick
@given(mixtures(), st.floats(0, 10), st.floats(0, 10))
def test_a_larger_margin_never_lowers_the_loss(mixture, margin, growth):
    covariance_type, features, y, means, log_variances = mixture
    smaller, larger = (
        lgm_loss(
            features,
            y,
            means,
            log_variances,
            covariance_type=covariance_type,
            margin=value,
        )
        for value in (margin, margin + growth)
    )
    # Up to the rounding of the sum.
    assert float(larger) >= float(smaller) - 1e-12 * (1 + abs(float(smaller)))


@quick
@given(
    tensors((12, DIM)),
    st.sampled_from(COVARIANCE_TYPES),
    st.sampled_from([0.0, 0.1, 0.25, 0.4]),
    st.permutations(range(N_CLASSES)),
)
def test_estimates_follow_a_relabelling_of_the_classes(
    features, covariance_type, trim, order
):
    y = torch.arange(12) % N_CLASSES
    order = torch.tensor(order)
    settings = {"covariance_type": covariance_type, "trim": trim}
    plain = estimate_gaussians(features, y, N_CLASSES, **settings)
    moved = estimate_gaussians(features, torch.argsort(order)[y], N_CLASSES, **settings)
    if covariance_type != "tied_diag":  # summed in another order: ties may turn
        assert torch.equal(moved.is_kept, plain.is_kept)
        torch.testing.assert_close(moved.means, plain.means[order])
    assert bool(torch.isfinite(moved.log_variances).all())
