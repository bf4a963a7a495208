"""Names of attacks."""

import pytest

from sklgm.plotting import attack_name


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((None,), "no attack"),
        (("feature_collision",), "feature collision"),
        (("bullseye_polytope", 8 / 255), "bullseye polytope, l-infinity 8/255"),
        (("a_b", 0.05), "a b, l-infinity 0.05"),
        (("a", 1e-5), "a, l-infinity 1e-05"),
        (("adaptive", None, 0.5), "adaptive, reach 0.5"),
        (("adaptive", 4 / 255, 2.0), "adaptive, l-infinity 4/255, reach 2"),
    ],
)
def test_name_of_an_attack(arguments, name):
    assert attack_name(*arguments) == name
