import numpy as np
import pytest

from sklgm.datasets import load_human_labels


@pytest.mark.data("human-labels/cifar10n.npz")
@pytest.mark.parametrize(
    ("kind", "share", "tolerance"),
    [("aggregate", 0.090, 5e-4), ("random1", 0.172, 5e-4)],
)
def test_labels_of_people_are_as_wrong_as_published(kind, share, tolerance):
    claimed, true = load_human_labels(kind)
    assert claimed.shape == true.shape == (50_000,)
    assert np.bincount(true).tolist() == [5000] * 10
    assert np.mean(claimed != true) == pytest.approx(share, abs=tolerance)


def test_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="kind must be 'aggregate' or 'random1', got"):
        load_human_labels("worst")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"human-labels.cifar10n\.npz is miss"):
        load_human_labels(data_home=tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"true": np.zeros(50_000, int)}, "has no array 'aggregate'"),
        (
            {"aggregate": np.zeros(3, int), "true": np.zeros(3, int)},
            "must hold 50000 whole numbers, got int64 of shape",
        ),
        (
            {"aggregate": np.zeros(50_000), "true": np.zeros(50_000, int)},
            "must hold 50000 whole numbers, got float64",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, arrays, message):
    (tmp_path / "human-labels").mkdir()
    np.savez(tmp_path / "human-labels" / "cifar10n.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_human_labels(data_home=tmp_path)
