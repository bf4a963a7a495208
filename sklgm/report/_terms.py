"""What terms of a report mean, said where they stand."""

from __future__ import annotations

import re

from sklgm.report._cells import Table

#: In a few words, below the name of a model.
MODELS = {
    "softmax": "the usual classifier",
    "softmax_trimmed_gaussians": "cheap baseline, fitted afterwards",
    "lgm": "each class trained to be a Gaussian",
    "lgm_trim": "the least likely rows left out",
    "softmax_median": "nearest median of its features",
    "smoothed_softmax_median": "smoothing makes classes compact",
    "lgm_median": "L-GM makes classes compact",
}
VARIANTS = {"converged": "last layer trained to the very end"}
#: By the start of the title of a column of the verdict.
COLUMNS = {
    "Fooled": "targets given the attacker's label",
    "Accuracy": "test rows right",
    "Certified": "right, and proved to stay so",
    "AUROC": "how well poisons are ranked first: 0.5 is guessing, 1 is perfect",
}
#: Terms of the tables, in the order in which they are explained.
TERMS = {
    "Misled": "share of targets that get the attacker's label after training with the "
    "poisons. Only targets count that the same model gets right without poisons.",
    "Same targets for all": "the same, of the targets that every model gets right "
    "without poisons.",
    "Control": "the same training without poisons: targets that get the attacker's "
    "label anyway.",
    "Clean accuracy": "share of ordinary test rows that are classified correctly by "
    "the model trained on the poisoned data.",
    "Backbone accuracy": "the same, of the network that the models start from.",
    "AUROC": "probability that a score finds a poison more suspicious than a clean "
    "row: 0.5 is guessing, 1 is perfect.",
    "Found at 1 % false alarms": "share of poisons found when at most one clean row "
    "in a hundred is flagged by mistake.",
    "likelihood": "score of a row: how close it lies to the Gaussian of its label.",
    "posterior": "score of a row: how probable its label is beside the other labels.",
    "combined": "score of a row: likelihood and posterior together.",
    "converged": "variant: the last layer is refitted until nothing is left to gain. "
    "Stopping early protects by itself; this shows what is left without it.",
    "diag": "variant: one variance per class and dimension is estimated.",
    "filtered": "variant: trained on the rows that trimmed Gaussians on the clean "
    "network keep.",
    "auto": "variant: the share that is trimmed is chosen from the rows.",
    "oracle": "variant: the share that is trimmed is the share that is poisoned, which "
    "nobody knows.",
    "trim": "Gaussians are estimated without the least likely rows of each class.",
    "trimmed Gaussians": "the cheap baseline: class Gaussians fitted afterwards to the "
    "features of softmax, without the least likely rows of each class.",
    "median": "the class is that of the nearest class median in the features.",
    "trimmed mean": "the same with the mean of the middle rows, coordinate by "
    "coordinate.",
    "label smoothing": "softmax trained towards softened labels, which makes classes "
    "compact, too: the baseline that could beat L-GM's certificates.",
    "flip labels": "a reference that aims at no target: as many rows as there are "
    "poisons get a wrong label.",
    "watermark": "feature collision that starts from bases blended with the target.",
    "adaptive": "the attacker knows the defence and keeps poisons plausible to it.",
    "l-infinity": "the most that any pixel is changed, such as 8 of 255 steps from "
    "black to white.",
    "Collision ratio": "distance of poison and target inside the network over that of "
    "base and target: 0 is a perfect collision, 1 no progress.",
    "Poisons kept": "share of the poisons that trimming keeps.",
}
_EXPLAINED = {term: re.compile(rf"(?<![\w-]){re.escape(term)}(?!\w)") for term in TERMS}


def terms_of(table: Table) -> list[tuple[str, str]]:
    """Explain the terms that a table uses.

    Parameters
    ----------
    table : Table
        A table of a report.

    Returns
    -------
    list of (str, str)
        Terms and what they mean.
    """
    texts = [table.caption, *table.columns]
    for row in table.rows:
        texts += [row.header, row.detail]
        texts += [detail for cell in row.cells if cell for detail in cell.details]
    text = "\n".join(texts).replace("\N{NO-BREAK SPACE}", " ")
    return [
        (term, TERMS[term]) for term, found in _EXPLAINED.items() if found.search(text)
    ]


def model_detail(victim: str | None, variant: str | None) -> str:
    """Explain a model in a few words.

    Parameters
    ----------
    victim, variant : str or None
        As in :class:`sklgm.results.Row`.

    Returns
    -------
    str
        Empty for one that is not known.
    """
    if variant is not None:
        return VARIANTS.get(variant, "")
    return MODELS.get(victim or "", "")


def column_detail(title: str) -> str:
    """Explain a column of the verdict.

    Parameters
    ----------
    title : str
        Its title.

    Returns
    -------
    str
        Empty for one that is not known.
    """
    return next(
        (text for start, text in COLUMNS.items() if title.startswith(start)), ""
    )
