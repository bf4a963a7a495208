"""White-box: poisons of test rows, scored by models trained on clean rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm.classifiers import LGMClassifier
from sklgm.experiments._attacker import Attacker, effort, trial_effort
from sklgm.experiments._networks import make_networks
from sklgm.experiments._protocol import Context, Protocol, rate
from sklgm.experiments._settings import (
    AttackSettings,
    Count,
    PlannedAttack,
    Positive,
    Presets,
)
from sklgm.experiments._table_specs import (
    AT_1_PERCENT,
    AUROC,
    CLEAN_TABLE,
    DETECTION_TABLE,
    EFFORT_TABLE,
)
from sklgm.experiments._training import claim_scorer
from sklgm.experiments._victims import Victim, defence, make_victims, with_diagonal
from sklgm.metrics import auroc_interval, tpr_at_fpr_rate
from sklgm.outliers import LGMOutlierDetector
from sklgm.results import (
    DetectionScores,
    FeatureScatter,
    FigureArrays,
    FigureSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    Trial,
)

NAME = "white-box"
# Poisons, and clean rows of each class, in the picture of two features.
_N_SCATTER_POISONS = 20
_N_SCATTER_ROWS = 60


class WhiteBoxSettings(AttackSettings):
    """Settings of the white-box protocol.

    Parameters
    ----------
    attacks, bounds, similarity_weight, max_iter, watermark_opacity
        See :class:`AttackSettings`.
    reach : float > 0 or None, default=None
        See :class:`CraftSettings`; None: a single claim is to look as likely as that
        of its base.
    n_pairs : int, default=200
        Poisons, each for a target of its own.
    n_scatter : int, default=4000
        Largest number of training rows of the two-feature network that is drawn.
    """

    reach: Positive | None = None
    n_pairs: Count = 200
    n_scatter: Count = 4000

    presets: ClassVar[Presets] = {
        ("*", "full"): {"n_pairs": 500},
        ("digits", "quick"): {"n_pairs": 100},
        ("digits", "full"): {"n_pairs": 200},
    }


def measure(
    context: Context, settings: WhiteBoxSettings
) -> Iterator[Row | Trial | FigureArrays]:
    """Score the claimed labels of clean test rows and of poisons.

    Models are judged as they were trained; Gaussians fitted afterwards are fitted to
    the features of the same rows. The rows of the refit calibrate.

    Parameters
    ----------
    context : Context
        Rows, networks and runner.
    settings : WhiteBoxSettings
        Settings of the protocol.

    Yields
    ------
    Row, Trial, DetectionScores or FeatureScatter
        Numbers, single poisons, and what figures are drawn from.
    """
    partition = context.partition
    for name, clf in context.networks.items():
        n_right = int((clf.predict(partition.X_test) == partition.y_test).sum())
        yield Row(
            **context.columns(NAME),
            victim=name,
            metric="clean_accuracy",
            **rate(n_right, len(partition.y_test)),
        )
    pairs = _draw_pairs(settings.n_pairs, partition.y_test, context.settings.seed)
    victims = make_victims(context)
    scorers = [
        scorer
        for name in context.networks
        for scorer in context.stage(
            f"{NAME}, scores of clean rows on {name}",
            partial(_scorers, context, name, victims, pairs),
        )
    ]
    for planned in settings.plan(has_images=partition.has_images):
        for name in context.networks:
            known = defence(victims, name).head
            own = [scorer for scorer in scorers if scorer.victim.network == name]
            yield from context.stage(
                f"{NAME}, {planned} on {name}",
                partial(_attack, context, settings, planned, name, own, known, pairs),
            )
    yield from context.stage(
        f"{NAME}, two features", partial(_scatter, context, settings, pairs)
    )


@dataclass(frozen=True, eq=False)
class _Scorer:
    """A victim with one of its scores, calibrated, and the scores of clean rows."""

    victim: Victim
    score: str
    detector: LGMOutlierDetector
    clean_scores: NDArray[np.float64]


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def _draw_pairs(n_pairs: int, y_test: NDArray[Any], seed: int) -> Pairs:
    """Draw disjoint test rows as bases, and targets of other classes.

    Fewer pairs are drawn where one class is so large that the others run out.
    """
    rng = np.random.default_rng([seed, 2])
    rest = rng.permutation(len(y_test)).tolist()
    base_rows: list[int] = []
    target_rows: list[int] = []
    while len(base_rows) < min(n_pairs, len(y_test) // 4):
        base = rest.pop(0)
        others = (i for i, row in enumerate(rest) if y_test[row] != y_test[base])
        position = next(others, None)
        if position is None:
            break
        base_rows.append(base)
        target_rows.append(rest.pop(position))
    if not base_rows:
        counts = dict(zip(*np.unique(y_test, return_counts=True), strict=True))
        raise ValueError(
            f"the test rows give no pair of a base and a target of another class; "
            f"n_test={len(y_test)}, rows of each class: {counts}"
        )
    return np.array(base_rows), np.array(target_rows)


def _scorers(
    context: Context, network: str, victims: Sequence[Victim], pairs: Pairs
) -> list[_Scorer]:
    """Fit the victims of a network, and score the rows that are in no pair."""
    partition, clf = context.partition, context.networks[network]
    is_clean = np.ones(len(partition.y_test), dtype=bool)
    is_clean[np.concatenate(pairs)] = False
    features = clf.transform(partition.X_backbone)
    calibration = clf.transform(partition.X_refit)
    clean = clf.transform(partition.X_test[is_clean])
    scorers = []
    for victim in (*victims, with_diagonal(victims)):
        if victim.network != network:
            continue
        head = clf.head_
        if victim.head is not None:
            head = clone(victim.head).fit(features, partition.y_backbone)
        for score in victim.scores:
            detector = claim_scorer(head, score).fit(calibration, partition.y_refit)
            scores = detector.score_samples(clean, partition.y_test[is_clean])
            scorers.append(_Scorer(victim, score, detector, scores))
    return scorers


def _attack(
    context: Context,
    settings: WhiteBoxSettings,
    planned: PlannedAttack,
    network: str,
    scorers: list[_Scorer],
    known: Any,
    pairs: Pairs,
) -> Iterator[Row | Trial | FigureArrays]:
    """Make a poison of every pair for one network, and score what they claim."""
    partition, clf = context.partition, context.networks[network]
    base_rows, target_rows = pairs
    y_poison = partition.y_test[base_rows]
    features = clf.transform(partition.X_backbone)
    known = clone(known).fit(features, partition.y_backbone)
    crafted = Attacker(settings, clf, known, features, partition.y_backbone).craft(
        planned,
        partition.X_test,
        base_rows[:, None],
        partition.X_test[target_rows],
        y_poison,
        (1,),
        partial(context.runner.progress, f"{NAME}, {planned} on {network}"),
    )[1]
    which = {**context.columns(NAME), **planned.columns, "n_poisons": 1}
    for metric, columns in effort(crafted):
        yield Row(**which, victim=network, metric=metric, **columns)
    for i, target in enumerate(target_rows):
        yield Trial(
            **which,
            victim=network,
            target_index=int(target),
            target_label=str(partition.y_test[target]),
            base_label=str(y_poison[i]),
            **trial_effort(crafted, slice(i, i + 1)),
        )
    poison_features = clf.transform(crafted.X_poison)
    for scorer in scorers:
        scores = scorer.detector.score_samples(poison_features, y_poison)
        outlier_score = -np.concatenate([scorer.clean_scores, scores])
        is_poison = np.repeat(
            [False, True], [len(scorer.clean_scores), len(poison_features)]
        )
        value, low, high = auroc_interval(outlier_score, is_poison)
        tpr = tpr_at_fpr_rate(outlier_score, is_poison, max_fpr=0.01)
        row = partial(
            Row, **which, **scorer.victim.columns, score=scorer.score, n=len(scores)
        )
        yield row(metric="auroc", value=value, low=low, high=high)
        yield row(metric="tpr_at_1pct_fpr", value=tpr.value, low=tpr.low, high=tpr.high)
        yield DetectionScores(
            protocol=NAME,
            victim=scorer.victim.name,
            variant=scorer.victim.variant,
            score=scorer.score,
            **planned.columns,
            outlier_score=outlier_score,
            is_poison=is_poison,
        )


def _scatter(
    context: Context, settings: WhiteBoxSettings, pairs: Pairs
) -> Iterator[FeatureScatter]:
    """Train a network with two features and attack it, for a picture."""
    partition, run = context.partition, context.settings
    context.runner.progress("two-feature network", 0, 1)
    rows = np.random.default_rng(run.seed).permutation(len(partition.X_backbone))
    rows = rows[: settings.n_scatter]
    clf = make_networks(run, feature_dim=2, max_epochs=2 * run.max_epochs)["lgm"]
    assert isinstance(clf, LGMClassifier)
    clf.fit(partition.X_backbone[rows], partition.y_backbone[rows])
    base_rows, target_rows = (of_pair[:_N_SCATTER_POISONS] for of_pair in pairs)
    y_poison = partition.y_test[base_rows]
    attacker = Attacker(settings, clf, None, clf.transform(partition.X_test), y_poison)
    X_poison = attacker.craft(
        PlannedAttack("feature_collision"),
        partition.X_test,
        base_rows[:, None],
        partition.X_test[target_rows],
        y_poison,
        (1,),
        lambda n_done, n_all: None,
    )[1].X_poison
    used = np.concatenate([base_rows, target_rows])
    shown = np.concatenate(
        [
            np.setdiff1d(np.flatnonzero(partition.y_test == label), used)[
                :_N_SCATTER_ROWS
            ]
            for label in clf.classes_
        ]
    )
    context.runner.progress("two-feature network", 1, 1)
    yield FeatureScatter(
        protocol=NAME,
        features=clf.transform(np.concatenate([partition.X_test[shown], X_poison])),
        claimed_labels=np.concatenate([partition.y_test[shown], y_poison]),
        is_poison=np.repeat([False, True], [len(shown), len(X_poison)]),
        target_features=clf.transform(partition.X_test[target_rows]),
        means=clf.means_,
        covariances=clf.covariances_,
        covariance_type=clf.covariance_type,
        classes=clf.classes_,
        class_names=partition.class_names,
    )


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="Can the poisons be told from clean rows?",
    question="The model is trained on clean data and never sees the poisons; the "
    "attacker knows it fully and makes poisons for it. Each clean test row and each "
    "poison is then scored: how plausible is the label it claims?",
    headline=HeadlineSpec("auroc", "{dataset}, {attack}: finding the poisons"),
    tables=(
        replace(DETECTION_TABLE, columns=(AUROC, AT_1_PERCENT)),
        EFFORT_TABLE,
        CLEAN_TABLE,
    ),
    figures=(
        FigureSpec(
            kind="feature_scatter",
            title="Where poisons lie among the features",
            caption="A network with only two features, trained with the L-GM loss. "
            "Colours are the labels that rows claim. Each class forms a cloud around "
            "its mean; a poison (cross) sits with its target (star), far from the "
            "cloud it claims.",
            alt="Scatter of two features with class ellipses, poisons and targets",
        ),
        FigureSpec(
            kind="score_histogram",
            title="Likelihood of the claimed label ({attack})",
            caption="How likely the L-GM network finds the features of a row under "
            "the label it claims, for clean test rows and for poisons. The further "
            "apart, the easier poisons are to find.",
            alt="Histograms of the claimed-label score of clean rows and poisons",
            where={"victim": "lgm", "variant": None, "score": "likelihood"},
            split=("attack", "bound", "reach"),
            options={"xlabel": "claimed-label likelihood score (standard deviations)"},
        ),
        FigureSpec(
            kind="roc_curves",
            title="Poisons found against false alarms ({attack})",
            caption="Share of poisons found at each share of clean rows flagged. The "
            "left end matters: few false alarms are tolerable in practice.",
            alt="ROC curves, one per model and kind of score",
            split=("attack", "bound", "reach"),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, WhiteBoxSettings, measure)
