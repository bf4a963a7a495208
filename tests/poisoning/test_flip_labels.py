import numpy as np
import pytest

from sklgm.poisoning import flip_labels


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_asked_share_gets_another_label(share, seed):
    y = np.repeat(["a", "b", "c"], 40)
    flipped = flip_labels(y, share, random_state=seed)
    assert (flipped != y).sum() == round(share * 120)
    assert set(flipped) <= {"a", "b", "c"}


def test_other_classes_are_equally_likely():
    y = np.zeros(6001, dtype=int)
    y[-1] = 1
    y[-2], y[-3] = 2, 3
    counts = np.bincount(flip_labels(y, 1.0, random_state=0)[:-3])
    assert counts[0] == 0
    # Three classes of 5998 / 3 rows each, four standard errors wide.
    assert np.abs(counts[1:] - 5998 / 3).max() < 4 * np.sqrt(5998 * 2 / 9)


@pytest.mark.parametrize("labels", ["abc", [7, 1, 30]])
def test_pair_noise_gives_the_next_class(labels):
    y = np.repeat(list(labels), 40)
    flipped = flip_labels(y, 0.25, random_state=0, noise="pair")
    is_flipped = flipped != y
    assert is_flipped.sum() == 30
    classes = sorted(labels)
    after = dict(zip(classes, classes[1:] + classes[:1], strict=True))
    expected = [after[label] for label in y[is_flipped].tolist()]
    assert flipped[is_flipped].tolist() == expected


def test_unknown_noise_is_an_error():
    with pytest.raises(ValueError, match="noise must be 'symmetric' or 'pair', got"):
        flip_labels([0, 1], 0.5, noise="human")


def test_the_labels_given_are_not_changed():
    y = np.array([0, 1, 1, 0])
    assert flip_labels(y, 1.0, random_state=0).tolist() == [1, 0, 0, 1]
    assert y.tolist() == [0, 1, 1, 0]


def test_same_seed_same_labels():
    y = np.arange(50) % 3
    first, second, other = (flip_labels(y, 0.3, random_state=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan, "half"])
def test_bad_share_is_an_error(share):
    with pytest.raises(ValueError, match=r"share must be a float in \[0, 1\], got"):
        flip_labels([0, 1], share)


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="y must have at least 2 classes .* got 1"):
        flip_labels([1, 1], 0.5)
