"""How the compared models are called and coloured, and how their runs are pooled."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sklgm.metrics import Rate, wilson_rate
from sklgm.results import Record

#: Name of each `Record.model` in figures and tables.
MODEL_NAMES = {
    "softmax": "softmax",
    "softmax_trimmed_gaussians": "softmax + trimmed Gaussians",
    "lgm": "L-GM",
    "lgm_trim": "L-GM + trim",
}

#: One fixed colour a model, from the palette of Okabe and Ito, which people with a
#: colour vision deficiency can tell apart.
MODEL_COLORS = {
    "softmax": "#D55E00",
    "softmax_trimmed_gaussians": "#0072B2",
    "lgm": "#CC79A7",
    "lgm_trim": "#009E73",
}

#: A second cue beside the colour.
MODEL_MARKERS = {
    "softmax": "o",
    "softmax_trimmed_gaussians": "s",
    "lgm": "^",
    "lgm_trim": "D",
}


def pooled_rate(records: Iterable[Record], *, confidence: float = 0.95) -> Rate:
    """Pool the rates of several seeds: successes and cases are summed.

    Parameters
    ----------
    records : iterable of Record
        Rates of the same quantity, each with its `n`. Those without cases or with an
        unknown value do not contribute.
    confidence : float, default=0.95
        Coverage of the Wilson interval, in (0, 1).

    Returns
    -------
    Rate
        With no case at all the value is nan and the interval (0, 1).

    Examples
    --------
    >>> from sklgm.plotting import pooled_rate
    >>> from sklgm.results import Record
    >>> runs = [
    ...     Record("transfer", "digits", "lgm", "feature_collision", 5, "attack",
    ...            "attack_success_rate", value, None, None, 20, seed)
    ...     for seed, value in enumerate([0.1, 0.2])
    ... ]
    >>> rate = pooled_rate(runs)
    >>> rate.n_success, rate.n_targets
    (6, 40)
    """
    known = [record for record in records if not math.isnan(record.value)]
    return wilson_rate(
        sum(round(record.value * record.n) for record in known),
        sum(record.n for record in known),
        confidence=confidence,
    )
