"""Which bases and targets belong together."""

import numpy as np
import pytest

from sklgm.poisoning import BullseyePolytope, FeatureCollision
from sklgm.poisoning._groups import chunk_rows, group_rows

JOINT, SINGLE = BullseyePolytope(), FeatureCollision()


@pytest.mark.parametrize(
    ("n_poisons", "n_targets", "poison_group", "target_group", "group", "targets"),
    [
        (3, 1, None, None, [0, 0, 0], [[0]]),
        (3, 3, None, None, [0, 1, 2], [[0], [1], [2]]),
        (4, 2, [1, 0, 1, 0], None, [1, 0, 1, 0], [[0], [1]]),
        (2, 3, None, [7, 7, 7], [0, 0], [[0, 1, 2]]),
        (3, 3, [9, 5, 9], [5, 9, 5], [1, 0, 1], [[0, 2], [1]]),
    ],
    ids=["one for all", "one each", "by number", "several for all", "several"],
)
def test_groups_are_numbered_and_their_targets_listed(
    n_poisons, n_targets, poison_group, target_group, group, targets
):
    found, listed = group_rows(JOINT, n_poisons, n_targets, poison_group, target_group)
    assert found.tolist() == group
    assert [rows.tolist() for rows in listed] == targets


@pytest.mark.parametrize(
    ("attack", "poison_group", "target_group", "match"),
    [
        (JOINT, None, None, "X_target holds 2 targets in 2 groups for 3 bases"),
        (JOINT, [0, 1], None, "poison_group must be 3 ints"),
        (JOINT, [0.0, 1.0, 0.0], None, "poison_group must be 3 ints"),
        (JOINT, [0, 1, 2], None, "poison_group=2 has no target"),
        (JOINT, None, [0], "target_group must be 2 ints"),
        (SINGLE, None, [0, 0], "attack='feature_collision' takes one"),
    ],
)
def test_groups_that_do_not_fit_are_an_error(attack, poison_group, target_group, match):
    with pytest.raises(ValueError, match=match):
        group_rows(attack, 3, 2, poison_group, target_group)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_chunks_hold_every_base_once_and_whole_groups(batch_size):
    group = np.array([0, 1, 0, 2, 1, 0, 2])
    targets = [np.array([0]), np.array([1, 2]), np.array([3])]
    chunks = chunk_rows(JOINT, group, targets, batch_size)
    rows = np.concatenate([chunk.ravel() for chunk in chunks])
    assert sorted(rows) == list(range(7))
    for chunk in chunks:
        assert chunk.size <= max(batch_size, chunk.shape[1])
        for together in chunk:
            assert len(set(group[together])) == 1
            assert set(together) == set(np.flatnonzero(group == group[together[0]]))


def test_poisons_of_a_single_attack_are_chunked_alone():
    group, targets = np.array([0, 0, 1, 1]), [np.array([0]), np.array([1])]
    chunks = chunk_rows(SINGLE, group, targets, 3)
    assert [chunk.tolist() for chunk in chunks] == [[[0], [1], [2]], [[3]]]
