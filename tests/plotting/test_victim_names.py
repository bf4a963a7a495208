"""Names, colours and order of victims."""

from sklgm.plotting import victim_color, victim_name, victim_rank
from sklgm.plotting._victim_names import victim_marker

KNOWN = ["softmax", "softmax_trimmed_gaussians", "lgm", "lgm_trim"]


def test_known_victims_have_names_colours_and_markers_of_their_own():
    for style in (victim_name, victim_color, victim_marker):
        assert len({style(victim) for victim in KNOWN}) == len(KNOWN)
    assert victim_name("lgm_trim", "diag") == "L-GM + trim (diag)"


def test_unknown_victims_are_named_by_their_words_and_always_look_alike():
    assert victim_name("partitioned_net") == "partitioned net"
    assert victim_color("partitioned_net") == victim_color("partitioned_net")
    spare = {victim_color(f"victim_{i}") for i in range(20)}
    assert not spare & {victim_color(victim) for victim in KNOWN}


def test_known_victims_stand_first():
    assert sorted(["b", "lgm", "a", "softmax"], key=victim_rank) == [
        "softmax",
        "lgm",
        "a",
        "b",
    ]
