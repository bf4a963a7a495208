"""Result of an audit of claimed labels, as plain arrays."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sklgm._running import import_extra
from sklgm.auditing._decision_list import holds_decisions
from sklgm.auditing._review import Review
from sklgm.auditing._rule import Rule
from sklgm.persistence._lists import escaped, write_csv, write_text

if TYPE_CHECKING:
    import polars as pl

# Rows of a table in a notebook, and of a sentence.
_MOST_SHOWN = 10
# False discovery rate of outliers, and overlap from which two classes are named.
_OUTLIER_FDR, _LEAST_OVERLAP = 0.1, 0.25
_MOST_PAIRS = 3  # that are named


@dataclass(frozen=True, eq=False, repr=False)
class AuditResult:
    """Which rows claim an implausible label, and how sure that is.

    Rows are those of X, in its order.

    Parameters
    ----------
    claimed_labels : ndarray of shape (n_samples,)
        Labels as they came.
    likely_labels : ndarray of shape (n_samples,)
        Most probable label of each row, by the model that was not trained on it.
    scores : ndarray of shape (n_samples,)
        Score of the claim, higher is more normal: by ``score_kind`` the log odds that
        it is right, natural log (against trusted rows the log posterior of the claimed
        class), or its standardised log density.
    p_values : ndarray of shape (n_samples,)
        How often a right claim scores as low, in [0, 1].
    q_values : ndarray of shape (n_samples,)
        The false discovery rate at which the row would be flagged: the mean
        probability of a right claim among the row and all that are more suspect;
        against trusted rows p-values adjusted by Benjamini and Hochberg.
    folds : ndarray of int of shape (n_samples,)
        Which model judged each row: the one of this fold.
    classes : ndarray of shape (n_classes,)
        Labels, sorted.
    false_alarm_rate : float or None
        Share of right claims that may be flagged: rows with ``p <= false_alarm_rate``
        are suspects. None where rows were flagged by ``fdr`` or ``contamination``.
    threshold : float
        Score that about parts suspects from the rest: as many rows are below it as
        there are suspects; minus infinity where there are none.
    score_kind : {"posterior", "likelihood"}
        What the scores are.
    n_trusted : int
        Trusted rows that p-values were taken against; 0: they come from a model.
    noise_share : float or None
        Estimated share of wrong claims, in [0, 1]; None where trusted rows were given.
    temperature : float or None
        By which log odds were divided to calibrate them (``power`` of them, where it
        is below 1); None as above.
    power : float or None
        Power in (0, 1] to which log odds were raised to calibrate them, 1 unless the
        classifier's have long tails; None as above.
    map_rows : ndarray of int of shape (n_mapped,)
        Rows of the first fold: only features of one model can be compared.
    map_features : ndarray of shape (n_mapped, feature_dim)
        Their features; no columns where the estimator has none.
    typical_rows : ndarray of int of shape (n_classes, n_typical)
        Rows that are typical of each class, -1 where there are too few: rows of the
        first fold that are not suspects, the closest to the mean of their class first,
        then others of the closer half of the class that are unlike those before.
    settings : dict
        Parameters of the audit, as JSON has them.
    environment : dict
        Versions, device and threads.
    log_proba : ndarray of shape (n_samples, n_classes), default=None
        Log probabilities of all classes, natural log, by the model that was not trained
        on the row, not calibrated. None where they were not kept.
    too_rare : ndarray of int of shape (n_too_rare,), default=None
        Rows of classes with fewer rows than there were folds: look at them, for they
        cannot be judged well.
    duplicate_pairs : ndarray of int of shape (n_pairs, 2), default=None
        Pairs of rows that are equal or nearly.
    is_exact_pair : ndarray of bool of shape (n_pairs,), default=None
        Whether the rows of the pair are equal in every value.
    notes : tuple of str, default=()
        What was done with the rows, and what was noticed about them.
    p_wrong : ndarray of shape (n_samples,) or None, default=None
        Probability that the claim is wrong, in [0, 1], on the side that keeps the
        promise; None against trusted rows.
    fdr : float or None, default=None
        Expected share of right labels among the suspects: rows with ``q <= fdr``.
    contamination : float or None, default=None
        Share of the rows that are suspects.
    noise_share_interval : tuple of float or None, default=None
        What rows and model leave open of it, or, with decisions, a 95 % credible
        interval; None as above.
    noise_matrix : ndarray of shape (n_classes, n_classes) or None, default=None
        ``P(claimed z | true y)``, true classes in rows; rows sum to 1. None as above.
    classifier_error : float or None, default=None
        Estimated share of the rows of which the models get the class wrong; None as
        above.
    misfit : float or None, default=None
        Share of held-out claims that the model of claims misplaces; None as above.
    rows_to_check : ndarray of int of shape (n_rows,) or None, default=None
        Up to twenty rows that settle most of what is open; None as above.
    review : Review or None, default=None
        What decisions on rows say of the audit; None without decisions.
    outlier_p_values : ndarray of shape (n_samples,) or None, default=None
        How often a row of these data is as far from all others, whatever its label;
        None where rows are not numbers or too few.
    class_overlap : ndarray of shape (n_classes, n_classes) or None, default=None
        Share of the smaller of two classes that could as well be of the other, by the
        calibrated probabilities, in [0, 1]; NaN of classes that are too rare, None
        against trusted rows.

    See Also
    --------
    sklgm.audit : Makes it.
    """

    claimed_labels: NDArray[Any]
    likely_labels: NDArray[Any]
    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    q_values: NDArray[np.float64]
    folds: NDArray[np.intp]
    classes: NDArray[Any]
    false_alarm_rate: float | None
    threshold: float
    score_kind: str
    n_trusted: int
    noise_share: float | None
    temperature: float | None
    power: float | None
    map_rows: NDArray[np.intp]
    map_features: NDArray[np.floating[Any]]
    typical_rows: NDArray[np.intp]
    settings: dict[str, Any]
    environment: dict[str, Any]
    log_proba: NDArray[np.float64] | None = None
    too_rare: NDArray[np.intp] | None = None
    duplicate_pairs: NDArray[np.intp] | None = None
    is_exact_pair: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    p_wrong: NDArray[np.float64] | None = None
    fdr: float | None = None
    contamination: float | None = None
    noise_share_interval: tuple[float, float] | None = None
    noise_matrix: NDArray[np.float64] | None = None
    classifier_error: float | None = None
    misfit: float | None = None
    rows_to_check: NDArray[np.intp] | None = None
    review: Review | None = None
    outlier_p_values: NDArray[np.float64] | None = None
    class_overlap: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        rule = ", ".join(f"{name}={value:g}" for name, value in self.rule.items())
        return (
            f"AuditResult({len(self.suspects)} of {len(self.p_values)} rows suspect "
            f"at {rule})"
        )

    def _repr_html_(self) -> str:
        """Say in a notebook what was found, with the most suspect rows."""
        facts = [html.escape(repr(self))]
        if self.noise_share is not None:
            share = f"estimated share of wrong labels {self.noise_share:.2%}"
            if self.noise_share_interval is not None:
                low, high = self.noise_share_interval
                share += f" ({low:.2%} to {high:.2%})"
            facts.append(share)
        columns = ["row", "claimed_label", "likely_label", "p_wrong", "p_value"]
        lines = [
            "".join(f"<td>{html.escape(text)}</td>" for text in line)
            for line in self._shown_rows(self.suspects[:_MOST_SHOWN])
        ]
        n_more = len(self.suspects) - len(lines)
        more = f"<p>and {n_more} more: <code>suspects</code></p>" if n_more > 0 else ""
        heads = "".join(f"<th>{name}</th>" for name in columns)
        rows = "".join(f"<tr>{line}</tr>" for line in lines)
        table = (
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            if lines
            else ""
        )
        return f"<p>{'; '.join(facts)}</p>{table}{more}"

    def _shown_rows(self, rows: NDArray[np.intp]) -> list[list[str]]:
        """Cells of some rows, as text."""
        return [
            [
                str(row),
                escaped(self.claimed_labels[row]),
                escaped(self.likely_labels[row]),
                "" if self.p_wrong is None else f"{self.p_wrong[row]:.2g}",
                f"{self.p_values[row]:.2g}",
            ]
            for row in rows.tolist()
        ]

    def to_frame(self, row_names: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows as a table, in their order.

        Parameters
        ----------
        row_names : sequence of str of length n_samples or None, default=None
            Such as file names.

        Returns
        -------
        DataFrame
            ``row``, ``name`` if there are names, ``claimed_label``, ``likely_label``,
            ``is_suspect``, ``p_wrong`` (null against trusted rows), ``p_value``,
            ``q_value``, ``score``, ``fold``, ``is_too_rare``, ``outlier_p_value`` (null
            where there are none). In names what is not Unicode is escaped.

        Raises
        ------
        ValueError
            If there are not as many names as rows.
        ImportError
            If polars is not installed.
        """
        polars = import_extra("polars", "cli")
        n_samples = len(self.p_values)
        if row_names is not None and len(row_names) != n_samples:
            raise ValueError(
                f"row_names has {len(row_names)} entries for {n_samples} audited rows"
            )
        rare = np.zeros(n_samples, dtype=bool)
        rare[[] if self.too_rare is None else self.too_rare] = True
        unknown = [None] * n_samples
        names = {}
        if row_names is not None:
            names["name"] = [escaped(name) for name in row_names]
        frame: pl.DataFrame = polars.DataFrame(
            {
                "row": np.arange(n_samples),
                **names,
                "claimed_label": _plain_labels(self.claimed_labels),
                "likely_label": _plain_labels(self.likely_labels),
                "is_suspect": self.is_suspect,
                "p_wrong": unknown if self.p_wrong is None else self.p_wrong,
                "p_value": self.p_values,
                "q_value": self.q_values,
                "score": self.scores,
                "fold": self.folds,
                "is_too_rare": rare,
                "outlier_p_value": unknown
                if self.outlier_p_values is None
                else self.outlier_p_values,
            },
            schema_overrides=dict.fromkeys(
                ("p_wrong", "outlier_p_value"), polars.Float64
            ),
        )
        return frame

    @property
    def rule(self) -> dict[str, float]:
        """By which rows were flagged: its name and number, one entry."""
        rules = {
            "fdr": self.fdr,
            "false_alarm_rate": self.false_alarm_rate,
            "contamination": self.contamination,
        }
        return {name: value for name, value in rules.items() if value is not None}

    @property
    def is_suspect(self) -> NDArray[np.bool_]:
        """Which rows are flagged, shape (n_samples,); decisions come first."""
        rule = Rule(self.fdr, self.false_alarm_rate, self.contamination)
        if self.p_wrong is None:
            return rule.flags(self.p_values, self.q_values, self.scores)
        flags = rule.flags(self.p_values, self.q_values, -self.p_wrong)
        # Only a row that was checked is known to be wrong, or right.
        return (flags | (self.p_wrong >= 1.0)) & (self.p_wrong > 0.0)

    @property
    def ranking(self) -> NDArray[np.intp]:
        """All rows, the most suspect first: by p_wrong or p-value, then score."""
        first = self.p_values if self.p_wrong is None else -self.p_wrong
        return np.lexsort((self.scores, first))

    @property
    def suspects(self) -> NDArray[np.intp]:
        """Flagged rows, the most suspect first."""
        ranking = self.ranking
        return ranking[self.is_suspect[ranking]]

    @property
    def n_expected_right(self) -> float | None:
        """Right labels that are expected among the suspects; None without p_wrong."""
        if self.p_wrong is None:
            return None
        return float(np.sum(1.0 - self.p_wrong[self.is_suspect]))

    @property
    def outliers(self) -> NDArray[np.intp]:
        """Rows unlike all others, which may fit no class, the most unlike first.

        About a tenth at most are expected to be rows like any, by the false discovery
        rate of Benjamini and Hochberg; suspects may be among them.
        """
        if self.outlier_p_values is None:
            return np.empty(0, dtype=np.intp)
        q = stats.false_discovery_control(self.outlier_p_values)
        is_outlier = q <= _OUTLIER_FDR
        order = np.argsort(self.outlier_p_values, kind="stable")
        rows: NDArray[np.intp] = order[is_outlier[order]]
        return rows

    @property
    def overlapping_classes(self) -> list[tuple[Any, Any, float]]:
        """Pairs of classes with an overlap of 0.25 or more, the greatest first."""
        if self.class_overlap is None:
            return []
        first, second = np.nonzero(np.triu(self.class_overlap, 1) >= _LEAST_OVERLAP)
        shares = self.class_overlap[first, second]
        return [
            (
                _plain(self.classes[first[i]]),
                _plain(self.classes[second[i]]),
                float(shares[i]),
            )
            for i in np.argsort(-shares, kind="stable")
        ]

    @property
    def clean_rows(self) -> NDArray[np.intp]:
        """Rows that were not flagged, ascending."""
        return np.flatnonzero(~self.is_suspect)

    @property
    def asks_for_checks(self) -> bool:
        """Whether checking ``rows_to_check`` would settle what is open."""
        has_rows = self.rows_to_check is not None and len(self.rows_to_check) > 0
        return has_rows and self.review is None

    def describe_findings(self) -> list[str]:
        """Say which rows are unlike all others, and which classes overlap.

        Returns
        -------
        list of str
            Sentences; none where there is nothing to say.
        """
        said = []
        outliers = self.outliers.tolist()
        if outliers:
            n_more = len(outliers) - _MOST_SHOWN
            named = ", ".join(map(str, outliers[:_MOST_SHOWN]))
            said.append(
                f"{len(outliers)} row{'s are' if len(outliers) > 1 else ' is'} unlike "
                "all others, whatever the label, and may fit no class: "
                f"row{'s' if len(outliers) > 1 else ''} {named}"
                + (f" and {n_more} more." if n_more > 0 else ".")
            )
        pairs = self.overlapping_classes
        said += [
            f"Classes {first!r} and {second!r} overlap: by the models "
            f"{share:.0%} of the smaller one could as well be of the other."
            for first, second, share in pairs[:_MOST_PAIRS]
        ]
        if len(pairs) > _MOST_PAIRS:
            said.append(
                f"{len(pairs) - _MOST_PAIRS} more pairs of classes overlap; where so "
                "many do, the models are weak."
            )
        return said

    @property
    def contradictory_pairs(self) -> NDArray[np.intp]:
        """Duplicates that claim different labels, shape (n_contradictory, 2)."""
        if self.duplicate_pairs is None or len(self.duplicate_pairs) == 0:
            return np.empty((0, 2), dtype=np.intp)
        labels = self.claimed_labels[self.duplicate_pairs]
        is_contradictory = np.asarray(labels[:, 0] != labels[:, 1], dtype=bool)
        return np.asarray(self.duplicate_pairs[is_contradictory])

    def save(
        self,
        folder: str | os.PathLike[str],
        row_names: Sequence[str] | None = None,
        *,
        escape_formulas: bool = True,
    ) -> None:
        """Write ``suspects.csv``, ``clean_index.csv`` and ``audit.json``.

        Parameters
        ----------
        folder : path-like
            Where; made if it is missing. Files of the same names are replaced.
        row_names : sequence of str of length n_samples or None, default=None
            Such as file names, written beside the row numbers.
        escape_formulas : bool, default=True
            Write an apostrophe before names and labels that a spreadsheet would take
            for a formula (``=``, ``+``, ``-``, ``@``, and no number), so that opening
            the list executes nothing. False for programs that compare the names.

        Notes
        -----
        ``suspects.csv`` holds one line per suspect, the most suspect first: ``row``
        (counted from 0), ``name`` if there are names, ``claimed_label``,
        ``likely_label``, ``p_wrong`` (empty against trusted rows), ``p_value``,
        ``q_value``, ``score``. ``clean_index.csv``
        holds the ``row`` (and ``name``) of all others, so that
        ``X[pandas.read_csv("clean_index.csv")["row"]]`` is what is left.
        ``audit.json`` holds settings, versions, counts and notes. ``duplicates.csv``,
        where there are any, holds one line per pair of rows that are equal or nearly:
        ``row``, ``other_row``, both labels, ``kind`` (exact or near).
        ``outliers.csv``, where there are any, holds the ``row`` (and ``name``), both
        labels and the ``p_value`` of rows unlike all others, the most unlike first.
        ``rows_to_check.csv``, unless rows were checked or are trusted, holds the
        ``row`` (and ``name``), both labels and an empty ``decision`` of the rows that
        settle most: filled in, :func:`~sklgm.auditing.read_decisions` reads it. One
        that holds decisions stays as it is.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        named = [] if row_names is None else ["name"]

        def first(row: int) -> list[Any]:
            return [row] if row_names is None else [row, row_names[row]]

        columns = ["claimed_label", "likely_label", "p_wrong"]
        columns += ["p_value", "q_value", "score"]
        lines = [["row", *named, *columns]]
        for row in self.suspects.tolist():
            labels = [self.claimed_labels[row], self.likely_labels[row]]
            values = [self.p_values[row], self.q_values[row], self.scores[row]]
            wrong = "" if self.p_wrong is None else repr(float(self.p_wrong[row]))
            numbers = [wrong, *(repr(float(v)) for v in values)]
            lines.append([*first(row), *labels, *numbers])
        write_csv(folder / "suspects.csv", lines, escape_formulas)
        rest = [first(row) for row in self.clean_rows.tolist()]
        lines = [["row", *named], *rest]
        write_csv(folder / "clean_index.csv", lines, escape_formulas)
        self._save_duplicates(folder / "duplicates.csv", row_names, escape_formulas)
        (folder / "outliers.csv").unlink(missing_ok=True)  # of an audit before
        if self.outlier_p_values is not None and len(self.outliers) > 0:
            lines = [["row", *named, "claimed_label", "likely_label", "p_value"]]
            for row in self.outliers.tolist():
                labels = [self.claimed_labels[row], self.likely_labels[row]]
                p_value = repr(float(self.outlier_p_values[row]))
                lines.append([*first(row), *labels, p_value])
            write_csv(folder / "outliers.csv", lines, escape_formulas)
        to_check = folder / "rows_to_check.csv"
        self._save_rows_to_check(to_check, row_names, escape_formulas)
        text = json.dumps(self.summary(), indent=2) + "\n"
        write_text(folder / "audit.json", text)

    def _save_rows_to_check(
        self, path: Path, row_names: Sequence[str] | None, escape_formulas: bool
    ) -> None:
        if holds_decisions(path):
            return
        path.unlink(missing_ok=True)  # of an audit before
        if not self.asks_for_checks:
            return
        assert self.rows_to_check is not None
        named = [] if row_names is None else ["name"]
        columns = ["row", *named, "claimed_label", "likely_label", "decision"]
        lines: list[list[Any]] = [columns]
        for row in self.rows_to_check.tolist():
            names = [] if row_names is None else [row_names[row]]
            labels = [self.claimed_labels[row], self.likely_labels[row]]
            lines.append([row, *names, *labels, ""])
        write_csv(path, lines, escape_formulas)

    def _save_duplicates(
        self, path: Path, row_names: Sequence[str] | None, escape_formulas: bool
    ) -> None:
        if self.duplicate_pairs is None or len(self.duplicate_pairs) == 0:
            path.unlink(missing_ok=True)  # of an audit before
            return
        assert self.is_exact_pair is not None
        named = [] if row_names is None else ["name", "other_name"]
        labels = ["claimed_label", "other_label", "kind"]
        lines: list[list[Any]] = [["row", "other_row", *named, *labels]]
        for pair, is_exact in zip(
            self.duplicate_pairs.tolist(), self.is_exact_pair, strict=True
        ):
            names = [] if row_names is None else [row_names[row] for row in pair]
            claims = [self.claimed_labels[row] for row in pair]
            lines.append([*pair, *names, *claims, "exact" if is_exact else "near"])
        write_csv(path, lines, escape_formulas)

    def summary(self) -> dict[str, Any]:
        """Collect settings, versions and counts, as JSON has them.

        Returns
        -------
        dict
            ``n_samples``, ``n_suspects``, ``n_expected_right``, ``fdr``,
            ``false_alarm_rate``, ``contamination``, ``score_kind``, ``n_trusted``,
            ``noise_share``, ``noise_share_interval``, ``noise_matrix``,
            ``classifier_error``, ``misfit``, ``temperature``, ``power``,
            ``rows_to_check``, ``review``, ``suspects_by_class``, ``n_too_rare``,
            ``outliers``, ``overlapping_classes``, ``n_duplicate_pairs``,
            ``n_contradictory_pairs``, ``notes``, ``settings`` and ``environment``. Of
            classes that are too rare the noise matrix is None.
        """
        n_pairs = 0 if self.duplicate_pairs is None else len(self.duplicate_pairs)
        flagged = self.claimed_labels[self.is_suspect]
        return {
            "n_samples": len(self.p_values),
            "n_suspects": len(flagged),
            "n_expected_right": self.n_expected_right,
            "fdr": self.fdr,
            "false_alarm_rate": self.false_alarm_rate,
            "contamination": self.contamination,
            "score_kind": self.score_kind,
            "n_trusted": self.n_trusted,
            "noise_share": self.noise_share,
            "noise_share_interval": _as_list(self.noise_share_interval),
            "noise_matrix": _without_nan(self.noise_matrix),
            "classifier_error": self.classifier_error,
            "misfit": self.misfit,
            "temperature": self.temperature,
            "power": self.power,
            "rows_to_check": _as_list(self.rows_to_check),
            "review": None if self.review is None else asdict(self.review),
            "suspects_by_class": {
                str(label): int(np.count_nonzero(flagged == label))
                for label in self.classes
            },
            "n_too_rare": 0 if self.too_rare is None else len(self.too_rare),
            "outliers": self.outliers.tolist(),
            "overlapping_classes": [
                {"classes": [first, second], "overlap": share}
                for first, second, share in self.overlapping_classes
            ],
            "n_duplicate_pairs": n_pairs,
            "n_contradictory_pairs": len(self.contradictory_pairs),
            "notes": list(self.notes),
            "settings": self.settings,
            "environment": self.environment,
        }


def _as_list(values: Any) -> list[Any] | None:
    return None if values is None else np.asarray(values).tolist()


def _without_nan(matrix: NDArray[np.float64] | None) -> list[list[float | None]] | None:
    """Matrix as JSON has it, which has no word for NaN."""
    if matrix is None:
        return None
    return [[None if np.isnan(v) else v for v in row] for row in matrix.tolist()]


def _plain_labels(labels: NDArray[Any]) -> Any:
    """Labels as a column has them; what is not Unicode is escaped."""
    if labels.dtype.kind in "biuf":
        return labels
    return [escaped(label) for label in labels.tolist()]


def _plain(label: Any) -> Any:
    """Label as JSON has it."""
    return label.item() if isinstance(label, np.generic) else label
