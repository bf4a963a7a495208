import sys

import pytest

from sklgm.experiments import PROTOCOLS, get_protocol


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_described_under_its_name(name):
    description = get_protocol(name).description
    assert description.name == name
    assert description.title.endswith("?")
    assert description.tables


@pytest.mark.parametrize("name", PROTOCOLS)
def test_settings_of_a_protocol_are_its_own(name):
    own = get_protocol(name).settings
    others = [get_protocol(other).settings for other in PROTOCOLS if other != name]
    assert own not in others
    assert own.__module__ == sys.modules[PROTOCOLS[name]].__name__


def test_an_unknown_protocol_is_named():
    with pytest.raises(ValueError, match=r"protocol must be one of .*'black-box'"):
        get_protocol("black-box")
