"""How attacks are called, and which of them is the stronger."""

from __future__ import annotations

import math
import re

_NAMES = {"none": "no attack"}
#: ``family_linf_8_255`` or ``family_linf_0.05``.
_BOUNDED = re.compile(r"(.+)_linf_(?:(\d+)_(\d+)|([\d.]+(?:e-?\d+)?))")
#: ``family_reach_0.5``: how implausible the claims of an adaptive attack may be.
_REACHING = re.compile(r"(.+)_reach_(\d+(?:\.\d+)?)")


def attack_name(attack: str) -> str:
    """Name an attack as prose does, with its bound.

    Parameters
    ----------
    attack : str
        As in `Record.attack`.

    Returns
    -------
    str
        Unbounded attacks have no bound in their name.

    Examples
    --------
    >>> from sklgm.plotting import attack_name
    >>> attack_name("feature_collision_linf_8_255")
    'feature collision, l-infinity 8/255'
    >>> attack_name("bullseye_polytope")
    'bullseye polytope'
    """
    if reaching := _REACHING.fullmatch(attack):
        return f"{attack_name(reaching[1])}, reach {reaching[2]}"
    bounded = _BOUNDED.fullmatch(attack)
    if bounded is None:
        return _NAMES.get(attack, attack.replace("_", " "))
    family, numerator, denominator, decimal = bounded.groups()
    bound = decimal or f"{numerator}/{denominator}"
    return f"{family.replace('_', ' ')}, l-infinity {bound}"


def split_strength(attack: str) -> tuple[str, float]:
    """Split the name of an attack into its family and its strength.

    Parameters
    ----------
    attack : str
        As in `Record.attack`.

    Returns
    -------
    family : str
        The name without a bound or a reach.
    strength : float
        Largest change of a pixel in pixel units, inf where there is no bound; for an
        adaptive attack its reach, where that is named.
    """
    if reaching := _REACHING.fullmatch(attack):
        return reaching[1], float(reaching[2])
    bounded = _BOUNDED.fullmatch(attack)
    if bounded is None:
        return attack, math.inf
    family, numerator, denominator, decimal = bounded.groups()
    if decimal is not None:
        return family, float(decimal)
    return family, int(numerator) / int(denominator)
