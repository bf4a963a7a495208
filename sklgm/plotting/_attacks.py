"""How attacks are called."""

from __future__ import annotations


def attack_name(
    attack: str | None, bound: float | None = None, reach: float | None = None
) -> str:
    """Name an attack as prose does, with its bound and reach.

    Parameters
    ----------
    attack : str or None
        As in :class:`sklgm.results.Row`; None is no attack.
    bound : float or None, default=None
        Largest change of a pixel, in units of the pixel range; None is not named.
    reach : float or None, default=None
        Reach of an adaptive attack; None is not named.

    Returns
    -------
    str

    Examples
    --------
    >>> from sklgm.plotting import attack_name
    >>> attack_name("feature_collision", bound=8 / 255)
    'feature collision, l-infinity 8/255'
    >>> attack_name("adaptive_likelihood", reach=0.5)
    'adaptive likelihood, reach 0.5'
    """
    if attack is None:
        return "no attack"
    parts = [attack.replace("_", " ")]
    if bound is not None:
        steps = round(255 * bound)
        is_whole = steps > 0 and abs(255 * bound - steps) < 1e-6
        parts.append(f"l-infinity {f'{steps}/255' if is_whole else f'{bound:g}'}")
    if reach is not None:
        parts.append(f"reach {reach:g}")
    return ", ".join(parts)
