"""Differences over the same targets."""

import dataclasses

from sklgm.metrics import mean_interval, paired_rate_difference
from sklgm.report import paired_tables
from tests.tidy_rows import result_of, trial

PAIR = ("attack", "bullseye_polytope", "feature_collision")
RIVALS = ("victim", "lgm_trim", "softmax_trimmed_gaussians")


def tables(trials, names):
    return paired_tables(result_of(trials=trials).trials, *names)


def contents(table):
    return [
        [
            row.header,
            *([cell.text, *cell.details] if cell else [] for cell in row.cells),
        ]
        for row in table.rows
    ]


def points(difference):
    low, high = round(-100 * difference.low), round(100 * difference.high)
    return f"−{low} to +{high}"


def attack_trials(bound=8 / 255):
    first = [True, True, True, False, False, True, True]
    second = [False, True, False, False, False, True, True]
    trials = [
        trial(i, success, i != 6, attack="bullseye_polytope", bound=8 / 255)
        for i, success in enumerate(first)
    ]
    trials += [trial(i, success, bound=bound) for i, success in enumerate(second)]
    return [*trials, trial(99, True, bound=bound), trial(0, None, None, bound=bound)]


def test_attacks_are_compared_over_targets_that_count_in_both():
    (table,) = tables(attack_trials(), PAIR)
    assert table.caption == (
        "digits: bullseye polytope minus feature collision, transfer protocol"
    )
    expected = paired_rate_difference([1, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1])
    rate = ["+33 points", points(expected), "6 targets"]
    assert contents(table) == [["L-GM", rate, []]]
    assert table.rows[0].detail == "l-infinity 8/255; 25 poisons"


def test_attacks_with_different_bounds_are_no_pair():
    assert tables(attack_trials(bound=None), PAIR) == []


def test_each_victim_and_number_of_poisons_has_a_row():
    trials = [
        trial(0, attack == PAIR[1], attack=attack, victim=victim, n_poisons=n_poisons)
        for attack in PAIR[1:]
        for victim, n_poisons in [("lgm", 25), ("softmax", 25), ("softmax", 5)]
    ]
    (table,) = tables(trials, PAIR)
    assert [(row.header, row.detail) for row in table.rows] == [
        ("softmax", "5 poisons"),
        ("softmax", "25 poisons"),
        ("L-GM", "25 poisons"),
    ]


def rival_trials(seed, misled, aurocs):
    """Trials of the two rivals, target by target: (defence, baseline)."""
    return [
        trial(i, was[k], attack="watermark", seed=seed, victim=victim, auroc=area[k])
        for k, victim in enumerate(RIVALS[1:])
        for i, (was, area) in enumerate(zip(misled, aurocs, strict=True))
    ]


def test_victims_are_compared_over_targets_and_seeds():
    areas = [(0.9, 0.8), (0.7, 0.8), (0.95, 0.75)]
    trials = rival_trials(3, [(True, False), (False, False), (False, True)], areas)
    trials += rival_trials(4, [(True, False), (True, False), (False, False)], areas)
    (table,) = tables(trials, RIVALS)
    assert table.caption == (
        "digits: L-GM + trim minus softmax + trimmed Gaussians, transfer protocol, "
        "2 seeds"
    )
    # Target 0 of one seed is not that of the other.
    rate = paired_rate_difference([1, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0])
    value, low, high = mean_interval(2 * [0.1, -0.1, 0.2])
    interval = f"{low:+.3f} to {high:+.3f}".replace("-", "−")
    assert contents(table) == [
        [
            "watermark",
            ["+33 points", points(rate), "6 targets"],
            [f"{value:+.3f}", interval, "6 targets"],
        ]
    ]
    assert table.rows[0].detail == "25 poisons"


def test_a_target_that_one_victim_gets_wrong_without_poisons_is_no_pair():
    trials = rival_trials(3, [(True, False), (True, True)], [(0.9, 0.9), (0.9, 0.9)])
    trials[0] = dataclasses.replace(trials[0], counted=False)
    ((_, rate, area),) = contents(*tables(trials, RIVALS))
    assert rate[-1] == "1 target"
    assert area == ["+0.000", "2 targets"]


def test_one_auroc_is_no_pair():
    trials = rival_trials(3, [(True, False)], [(0.9, None)])
    ((_, rate, area),) = contents(*tables(trials, RIVALS))
    assert rate[0] == "+100 points"
    assert area == []


def test_without_pairs_there_is_no_table():
    assert tables([trial(0, True)], PAIR) == []
    assert tables([trial(0, True)], RIVALS) == []
