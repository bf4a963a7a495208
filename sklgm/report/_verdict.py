"""The verdict of a run: one table, and the sentences that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sklgm.plotting import attack_name
from sklgm.report._cells import Table, plural
from sklgm.report._measured import (
    STRENGTH,
    Measured,
    accuracy_under_attack,
    certified_rows,
    measure,
    of_all_rows,
    without_references,
)
from sklgm.report._names import (
    groups,
    names_of,
    titled,
)
from sklgm.report._plain_text import sentence_lines, table_lines
from sklgm.report._sentences import (
    accuracy_sentences,
    attack_sentences,
    certified_sentences,
    ranking_sentence,
)
from sklgm.report._verdict_tables import (
    Lines,
    brief_table,
    comparison_table,
    verdict_table,
)
from sklgm.results import HeadlineSpec, ProtocolDescription

if TYPE_CHECKING:
    import polars as pl

#: Attacks that are named; of the others only the number is said.
_N_NAMED = 2


@dataclass(frozen=True)
class RunVerdict:
    """What a run says about one data set.

    Parameters
    ----------
    dataset : str
        Name of the data set.
    attacked : str
        What was attacked, in a sentence; empty where nothing was.
    table : Table
        A row per model: how many targets were fooled, accuracy, certified accuracy.
        Without an attack or certificates, what the first protocol with a headline
        compares.
    sentences : sequence of str
        What the table says: who ties within the intervals, who loses, and where
        nothing happened.
    of_protocols : mapping of str to str
        One sentence per protocol, for its section; a protocol without a headline has
        none.
    brief : Table or None, default=None
        The same table with fewer rows, for plain text; None where it is the same.
    """

    dataset: str
    attacked: str
    table: Table
    sentences: Sequence[str]
    of_protocols: Mapping[str, str] = field(default_factory=dict)
    brief: Table | None = None

    def lines(self, width: int = 80) -> list[str]:
        """Write the verdict as plain text.

        Parameters
        ----------
        width : int, default=80
            Letters per line at most.

        Returns
        -------
        list of str
            Lines that break between words.
        """
        parts = [sentence_lines(self.attacked or self.dataset, width)]
        if self.table.rows:
            parts.append(table_lines(self.brief or self.table, width))
        if self.sentences:
            parts.append(sentence_lines(" ".join(self.sentences), width))
        return [line for part in parts for line in ("", *part)][1:]


def run_verdicts(
    table: pl.DataFrame, descriptions: Iterable[ProtocolDescription]
) -> list[RunVerdict]:
    """Say what a run found, data set by data set.

    Parameters
    ----------
    table : DataFrame
        Tidy table; seeds are pooled.
    descriptions : iterable of ProtocolDescription
        Protocols, in the order in which they are reported.

    Returns
    -------
    list of RunVerdict
        One per data set, in the order of the table; empty if nothing was measured.

    Examples
    --------
    >>> from sklgm.experiments import get_protocol
    >>> from sklgm.report import run_verdicts
    >>> from sklgm.results import Row, RunResult
    >>> rows = [
    ...     Row(dataset="digits", protocol="transfer", victim=victim,
    ...         attack="feature_collision", n_poisons=4,
    ...         metric="attack_success_rate", value=value, n=25, seed=0)
    ...     for victim, value in (("softmax", 0.28), ("lgm_trim", 0.0))
    ... ]
    >>> result = RunResult.from_rows(rows, command="", settings={}, environment={})
    >>> (verdict,) = run_verdicts(result.table, [get_protocol("transfer").description])
    >>> for line in verdict.lines():
    ...     print(line)
    digits, transfer: 25 targets per model, 4 poisons each (feature collision).
    <BLANKLINE>
    Model                  Fooled
    softmax (no defence)  7 of 25
    L-GM + trim           0 of 25
    <BLANKLINE>
    L-GM + trim is fooled less often than softmax.
    """
    descriptions = list(descriptions)
    # What was measured without an attack may be recorded once per attack.
    table = table.unique(maintain_order=True)
    return [
        _verdict(str(at["dataset"]), own, descriptions)
        for at, own in groups(table, ["dataset"])
    ]


def _verdict(
    dataset: str, own: pl.DataFrame, descriptions: Sequence[ProtocolDescription]
) -> RunVerdict:
    attacks = []
    certified: list[Measured] = []
    of_protocols: dict[str, str] = {}
    compared: dict[str, tuple[HeadlineSpec, list[Measured]]] = {}
    for description in descriptions:
        headline, name = description.headline, description.name
        rows = own.filter(protocol=name)
        if headline is None or rows.is_empty():
            continue
        found = measure(rows, headline.metric)
        if found:
            compared[name] = headline, found
            of_protocols[name] = ranking_sentence(found, headline.metric)
        if headline.metric == "attack_success_rate" and found:
            attacks.append((name, rows, found))
        if headline.metric == "certified_accuracy":
            certified = found
    if not attacks and not certified:
        return _simple_verdict(dataset, compared, of_protocols)
    lines: Lines = {}
    sentences = []
    titles = []
    for name, rows, found in attacks:
        fooled = [m for m in found if _is_shown(m, found)]
        title = "Fooled" if len(attacks) == 1 else f"Fooled, {name}"
        titles.append(title)
        accuracies = []
        for m in fooled:
            line = lines.setdefault((m.victim, m.variant), {})
            line[title] = m
            accuracy = accuracy_under_attack(rows, m)
            if accuracy is not None:
                accuracies.append(accuracy)
                line.setdefault("Accuracy", accuracy)
        prefix = "" if len(attacks) == 1 else f"In the {name} protocol, "
        of_attack = attack_sentences(fooled)
        sentences += [prefix + of_attack[0], *of_attack[1:]] if of_attack else []
        if name == attacks[0][0]:
            sentences += accuracy_sentences(accuracies)
    titles.append("Accuracy")
    if certified:
        rows = of_all_rows(own.filter(metric="certified_accuracy"))
        n_poisons = int(rows["n_poisons"].max())  # type: ignore[arg-type]
        title = f"Certified, {plural(n_poisons, 'poison')}"
        titles.append(title)
        clean = {m.victim: m for m in certified_rows(rows, 0)}
        for m in certified:
            line = lines.setdefault((m.victim, m.variant), {})
            line[title] = m
            if m.victim in clean:
                line["Accuracy"] = clean[m.victim]
        sentences += certified_sentences(of_all_rows(own), certified, n_poisons)
    return RunVerdict(
        dataset,
        _attacked_sentence(dataset, attacks, certified),
        verdict_table(lines, titles),
        sentences,
        of_protocols,
        brief_table(lines, titles, certified),
    )


def _simple_verdict(
    dataset: str,
    compared: Mapping[str, tuple[HeadlineSpec, list[Measured]]],
    of_protocols: Mapping[str, str],
) -> RunVerdict:
    """Say what protocols found that neither fool targets nor certify."""
    for name, (headline, found) in compared.items():
        title = {"auroc": "AUROC", "clean_accuracy": "Accuracy"}[headline.metric]
        strongest = next((m.strength for m in found if m.strength[0]), None)
        at = dict(zip(STRENGTH, strongest or (None, None, None), strict=True))
        what = titled(headline.title, names_of({"dataset": dataset, **at}))
        what += "" if name in what else f" ({name} protocol)"
        return RunVerdict(
            dataset,
            f"{what}.",
            comparison_table(title, found),
            [of_protocols[name]],
            of_protocols,
        )
    return RunVerdict(dataset, "", Table("Verdict", ["Model"]), (), {})


def _is_shown(m: Measured, everyone: Sequence[Measured]) -> bool:
    """Whether it is a model itself, or a variant of it that is fooled more often."""
    own = [o for o in everyone if o.victim == m.victim and o.variant is None]
    return m.variant is None or all(m.value > o.value for o in own)


def _attacked_sentence(
    dataset: str,
    attacks: Sequence[tuple[str, pl.DataFrame, Sequence[Measured]]],
    certified: Sequence[Measured],
) -> str:
    parts = []
    for name, rows, fooled in attacks:
        rates = without_references(
            rows.filter(metric="attack_success_rate").drop_nulls("attack")
        )
        strengths = rates.select(STRENGTH).unique(maintain_order=True).rows()
        names = [attack_name(*strength) for strength in strengths]
        what = "; ".join(names[:_N_NAMED])
        if len(names) > 1:
            more = len(names) - _N_NAMED
            what = f"the worst of {len(names)} attacks: {what}"
            what += f" and {more} more" if more > 0 else ""
        else:
            what += _change(rows)
        most = int(rates["n_poisons"].max())  # type: ignore[arg-type]
        n_targets = max(m.n for m in fooled)
        parts.append(
            f"{name}: {plural(n_targets, 'target')} per model, "
            f"{plural(most, 'poison')} each ({what})"
        )
    if certified:
        n_rows = max(m.n for m in certified)
        parts.append(f"certified: {plural(n_rows, 'test row')}")
    return f"{dataset}, {'; '.join(parts)}."


def _change(rows: pl.DataFrame) -> str:
    """Say how far poisons are from their bases, where that was measured."""
    efforts = rows.filter(metric="linf", victim="softmax").drop_nulls("attack")
    known: list[float] = efforts["value"].drop_nulls().to_list()
    if not known:
        return ""
    mean = sum(known) / len(known)
    return f", which changes a value by up to {mean:.2f} on average"
