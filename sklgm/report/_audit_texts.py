"""What the page of an audit says in words."""

from __future__ import annotations

from typing import Any

from sklgm.auditing._result import AuditResult
from sklgm.report._cells import plural


def as_unicode(name: Any) -> str:
    """Write a name as text; bytes of a file name that are not Unicode are escaped.

    Parameters
    ----------
    name : object
        Such as the name of a file, or a label.

    Returns
    -------
    str
        Text that every page and font can hold.
    """
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def verdict(result: AuditResult) -> tuple[str, str]:
    """Say what the audit found.

    Parameters
    ----------
    result : AuditResult
        The audit.

    Returns
    -------
    str
        The finding, a sentence.
    str
        What to make of it, a few sentences.
    """
    n_rows, n_suspects = len(result.p_values), len(result.suspects)
    if n_suspects == 0:
        finding = f"None of {n_rows:,} labels looks wrong."
    else:
        look = "label looks" if n_rows == 1 else "labels look"
        finding = f"{n_suspects:,} of {n_rows:,} {look} wrong."
    details = []
    if n_suspects:
        right = _expected_right(result)
        of_these = "" if right is None else f", and {right}"
        share = percent(n_suspects / n_rows)
        details.append(f"That is {share} of the rows{of_these}.")
    if result.n_trusted:
        details.append(
            f"Judged against {plural(result.n_trusted, 'trusted row')}, whose labels "
            "are known to be right."
        )
    details += _noise(result)
    return finding, " ".join(details)


def _expected_right(result: AuditResult) -> str | None:
    n_expected = result.n_expected_right
    if n_expected is None:
        return None
    if n_expected < 0.5:
        return "hardly any of them is expected to be right after all"
    return f"about {n_expected:,.0f} of them are expected to be right after all"


def _noise(result: AuditResult) -> list[str]:
    """Estimated share of wrong labels, and what is left open."""
    if result.noise_share is None:
        return []
    text = f"In the whole data set an estimated {percent(result.noise_share)} of the "
    text += "labels are wrong"
    if result.noise_share_interval is not None:
        low, high = result.noise_share_interval
        interval = f"{percent(low)} to {percent(high)}"
        text += (
            f" (your decisions leave {interval})"
            if result.review is not None
            else f" (data and model leave {interval} open)"
        )
    return [text + "."]


def rule_sentence(result: AuditResult) -> str:
    """Say when a row is a suspect, after "A row is a suspect".

    Parameters
    ----------
    result : AuditResult
        The audit.

    Returns
    -------
    str
        The rest of the sentence, without a full stop.
    """
    ((name, value),) = result.rule.items()
    return {
        "fdr": f"where its q-value is at most {value:.3g}: about {percent(value)} of "
        "all suspects, at most, are expected to have right labels",
        "false_alarm_rate": f"where its p-value is at most {value:.3g}, so about "
        f"{percent(value)} of the rows with right labels become suspects by chance",
        "contamination": f"if it is among the {percent(value)} of the rows that are "
        "most implausible",
    }[name]


def rule_short(result: AuditResult) -> str:
    """Write the rule that made suspects as a formula.

    Parameters
    ----------
    result : AuditResult
        The audit.

    Returns
    -------
    str
        Such as ``"q ≤ 0.1"``.
    """
    ((name, value),) = result.rule.items()
    return {
        "fdr": f"q ≤ {value:.3g}",
        "false_alarm_rate": f"p ≤ {value:.3g}",
        "contamination": f"the top {percent(value)}",
    }[name]


def review_text(result: AuditResult) -> str | None:
    """Say in a few sentences what decisions on rows show.

    Parameters
    ----------
    result : AuditResult
        The audit.

    Returns
    -------
    str or None
        The text; None where no decisions were given.
    """
    review = result.review
    if review is None:
        return None
    text = (
        f"{plural(review.n_checked, 'row')} checked, {review.n_wrong:,} of them wrong; "
        f"{review.n_wrong_expected:.1f} were expected. "
    )
    precision = review.precision
    if precision is not None:
        text += (
            f"Of {plural(precision.n_targets, 'checked suspect')} "
            f"{percent(precision.value)} had wrong labels ({percent(precision.low)} "
            f"to {percent(precision.high)}). "
        )
    if review.n_worth_checking == 0:
        return text + "No other row is more likely wrong than right: stop here."
    return text + (
        f"{plural(review.n_worth_checking, 'unchecked row')} more are more likely "
        f"wrong than right; beyond these, {review.n_wrong_beyond:,.0f} wrong labels "
        "are expected among all others."
    )


def percent(share: float) -> str:
    """Write a share in percent, to two digits.

    Parameters
    ----------
    share : float
        In [0, 1].

    Returns
    -------
    str
        Such as ``"3.1 %"``, which no line break parts.
    """
    digits = ".2g" if share < 0.0995 else ".0f"
    return f"{100 * share:{digits}}\N{NO-BREAK SPACE}%"
