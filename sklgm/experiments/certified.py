"""Certified: how many poisons, of any kind, the predictions provably withstand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from sklgm.classifiers import (
    LGMClassifier,
    RobustGaussianClassifier,
    SoftmaxClassifier,
)
from sklgm.experiments._networks import Classifier, make_networks
from sklgm.experiments._partition import share_counts
from sklgm.experiments._protocol import Context, Protocol, rate
from sklgm.experiments._settings import (
    Count,
    Distinct,
    Minority,
    Positive,
    Presets,
    RunSettings,
    Settings,
    Some,
    Weight,
)
from sklgm.gaussian import Location
from sklgm.metrics import paired_rate_difference
from sklgm.poisoning import attack_locations
from sklgm.results import (
    ColumnSpec,
    FigureArrays,
    FigureSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    TableSpec,
    Trial,
)

NAME = "certified"
_CERTIFIED, _ATTACKED = "certified_accuracy", "attacked_accuracy"
_DIFFERENCE = "certified_accuracy_difference"
#: Victims are networks and locations; all are compared with L-GM's by the same.
_LOCATIONS: tuple[Location, ...] = ("median", "trimmed_mean")
_OURS = "lgm"
_FEWEST_ROWS = 3


class CertifiedSettings(Settings):
    """Settings of the certified protocol.

    Parameters
    ----------
    shares : tuple of float in (0, 0.5), default=(0.02, 0.05, 0.1, 0.2)
        Poisoned shares of a class that predictions are to withstand.
    margin : float >= 0, default=1.0
        Margin of the L-GM network.
    likelihood_weight : float >= 0, default=1.0
        Likelihood weight of the L-GM network; far above the default of
        :class:`sklgm.LGMClassifier`, since compact classes are what is certified.
    variance_scale : float > 0, default=16.0
        As in :class:`sklgm.LGMClassifier`.
    label_smoothing : float in (0, 1), default=0.1
        Of the second softmax network, the baseline that could beat L-GM: it makes
        classes compact, too. Above that of the first, which a recipe may smooth.
    trim : float in (0, 0.5), default=0.25
        Of the trimmed mean; it withstands no larger share.
    n_iter : int >= 0, default=4
        See :func:`sklgm.poisoning.attack_locations`; 0 does without the attack.
    rows_per_class : tuple of int, default=()
        Numbers of rows of each class to which heads are fitted as well, beside all of
        them; fewer than there are.
    n_novel_classes : int, default=0
        Number of classes, drawn by the seed of the run, that further networks are not
        trained on; their heads are fitted to these classes and certified on test rows
        of them alone. 0 does without; otherwise at least 2 classes of either kind.
    """

    shares: Annotated[tuple[Minority, ...], Some, Distinct] = (0.02, 0.05, 0.1, 0.2)
    margin: Weight = 1.0
    likelihood_weight: Weight = 1.0
    variance_scale: Positive = 16.0
    label_smoothing: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.1
    trim: Minority = 0.25
    n_iter: Annotated[int, pydantic.Field(ge=0)] = 4
    rows_per_class: Annotated[tuple[Count, ...], Distinct] = ()
    n_novel_classes: Annotated[int, pydantic.Field(ge=0)] = 0

    presets: ClassVar[Presets] = {
        ("cifar10", "*"): {"likelihood_weight": 2.0, "label_smoothing": 0.2},
    }


@dataclass(frozen=True, eq=False)
class _Certified:
    """What one victim says of the test rows."""

    is_right: NDArray[np.bool_]
    counts: NDArray[np.int64]  # poisons that each prediction withstands

    def holds(self, n_poisons: int) -> NDArray[np.bool_]:
        return self.is_right & (self.counts >= n_poisons)


@dataclass(frozen=True, eq=False)
class _Subset:
    """Rows that heads are fitted to."""

    variant: str | None  # None: all rows for heads, of classes that networks know
    rows: NDArray[np.intp]
    counts: dict[int, float]  # shares of a class by numbers of poisons


def measure(
    context: Context, settings: CertifiedSettings
) -> Iterator[Row | Trial | FigureArrays]:
    """Certify the predictions of robust locations on the features of three networks.

    All networks are trained on the same clean rows for as many epochs. On the rows for
    heads, which an attacker may change, class means are estimated by the median and by
    the trimmed mean, with equal priors. Poisons replace rows of one class, whichever.
    Novel classes are left to heads on networks that were trained on the others.

    Parameters
    ----------
    context : Context
        Rows and runner; the softmax network is that of the run.
    settings : CertifiedSettings
        Settings of the protocol.

    Yields
    ------
    Row
        Accuracy of the networks themselves and of the locations, certified accuracy,
        the accuracy that the best attack found leaves, and the paired difference of
        L-GM to each other network.
    """
    found: dict[tuple[str, Location, str | None], _Certified] = {}
    counts: dict[str | None, dict[int, float]] = {}
    sources: list[tuple[str | None, Context]] = [(None, context)]
    if settings.n_novel_classes > 0:
        sources.append(_with_novel_classes(context, settings.n_novel_classes))
    steps = [
        (source, *named)
        for source in sources
        for named in _list_networks(context, settings)
    ]
    context.runner.progress(NAME, 0, len(steps))
    for number, ((novel, own), network, clf) in enumerate(steps):
        subsets = _list_subsets(own.partition.y_refit, settings, novel)
        counts |= {subset.variant: subset.counts for subset in subsets}
        which = network if novel is None else f"{network}, {novel}"
        # The softmax network is that of the run, and perhaps trained already.
        stage = which if which == "softmax" else f"{NAME}, {which}, {clf!r}"
        label = f"{which.replace('_', ' ')}, to be certified"
        fitted = own.trained(stage, clf, None if stage == which else label)
        name = f"{NAME}, {which}, {settings!r}"
        items = own.stage(
            name, partial(_measure_network, own, settings, network, fitted, subsets)
        )
        for item in items:
            if isinstance(item, Row):
                yield item
            else:
                found[item[0]] = item[1]
        context.runner.progress(NAME, number + 1, len(steps))
    for (network, location, variant), rival in found.items():
        if network == _OURS:
            continue
        ours = found[_OURS, location, variant]
        for n, share in {0: None, **counts[variant]}.items():
            difference = paired_rate_difference(ours.holds(n), rival.holds(n))
            yield Row(
                **context.columns(NAME),
                victim=f"{network}_{location}",
                variant=variant,
                n_poisons=n,
                share=share,
                metric=_DIFFERENCE,
                value=difference.value,
                low=difference.low,
                high=difference.high,
                n=difference.n,
            )


def _list_networks(
    context: Context, settings: CertifiedSettings
) -> list[tuple[str, Classifier]]:
    """List unfitted networks by name."""
    run: RunSettings = context.settings
    softmax, lgm = make_networks(run).values()
    smoothed = make_networks(run)["softmax"]
    assert isinstance(smoothed, SoftmaxClassifier)
    assert isinstance(lgm, LGMClassifier)
    smoothed.set_params(label_smoothing=settings.label_smoothing)
    lgm.set_params(
        margin=settings.margin,
        likelihood_weight=settings.likelihood_weight,
        variance_scale=settings.variance_scale,
    )
    return [("softmax", softmax), ("smoothed_softmax", smoothed), (_OURS, lgm)]


def _with_novel_classes(context: Context, n_classes: int) -> tuple[str, Context]:
    """Leave the rows of some classes to heads and test rows, the others to networks."""
    known = context.partition
    classes = np.unique(known.y_refit)
    if not 2 <= n_classes <= len(classes) - 2:
        raise ValueError(
            f"certified.n_novel_classes must be 0, or leave at least 2 of the "
            f"{len(classes)} classes of either kind, got {n_classes}"
        )
    rng = np.random.default_rng(context.settings.seed)
    novel = rng.choice(classes, n_classes, replace=False)
    for_networks = ~np.isin(known.y_backbone, novel)
    for_heads, for_tests = (np.isin(y, novel) for y in (known.y_refit, known.y_test))
    partition = replace(
        known,
        X_backbone=known.X_backbone[for_networks],
        y_backbone=known.y_backbone[for_networks],
        backbone_rows=known.backbone_rows[for_networks],
        X_refit=known.X_refit[for_heads],
        y_refit=known.y_refit[for_heads],
        refit_rows=known.refit_rows[for_heads],
        X_test=known.X_test[for_tests],
        y_test=known.y_test[for_tests],
    )
    return f"{n_classes} novel classes", context.on(partition)


def _list_subsets(
    y: NDArray[Any], settings: CertifiedSettings, novel: str | None
) -> list[_Subset]:
    """List all rows for heads, then the first of each class."""
    subsets = [_Subset(novel, np.arange(len(y)), share_counts(settings.shares, y))]
    for n_rows in settings.rows_per_class:
        of_class = [np.flatnonzero(y == label) for label in np.unique(y)]
        fewest = min(len(rows) for rows in of_class)
        if not _FEWEST_ROWS <= n_rows < fewest:
            raise ValueError(
                f"certified.rows_per_class must be at least {_FEWEST_ROWS} and below "
                f"the {fewest} rows for heads of the smallest class, got {n_rows}"
            )
        rows = np.sort(np.concatenate([rows[:n_rows] for rows in of_class]))
        counts = share_counts(settings.shares, y[rows])
        variant = f"{n_rows:,} rows per class"
        variant = variant if novel is None else f"{novel}, {variant}"
        subsets.append(_Subset(variant, rows, counts))
    return subsets


def _measure_network(
    context: Context,
    settings: CertifiedSettings,
    network: str,
    clf: Classifier,
    subsets: list[_Subset],
) -> Iterator[Row | tuple[tuple[str, Location, str | None], _Certified]]:
    """Certify and attack the locations on the features of one network."""
    rows = context.partition
    all_features = clf.transform(rows.X_refit).astype(np.float64)
    test_features = clf.transform(rows.X_test).astype(np.float64)
    knows_classes = set(rows.y_test) <= set(clf.classes_)
    accuracy = clf.predict(rows.X_test) == rows.y_test if knows_classes else None
    for location, subset in product(_LOCATIONS, subsets):
        row = partial(
            Row,
            **context.columns(NAME),
            victim=f"{network}_{location}",
            variant=subset.variant,
        )
        features, y = all_features[subset.rows], rows.y_refit[subset.rows]
        head = RobustGaussianClassifier(
            location=location,
            trim=settings.trim if location == "trimmed_mean" else 0.0,
            variance=1.0,
            priors=np.ones(len(np.unique(y))),
        ).fit(features, y)
        certified = _Certified(
            head.predict(test_features) == rows.y_test,
            head.certified_poisons(test_features),
        )
        yield (network, location, subset.variant), certified
        if subset.variant is None and accuracy is not None:
            yield row(metric="backbone_accuracy", **_share(accuracy))
        for n, share in {0: None, **subset.counts}.items():
            holds = certified.holds(n)
            at: dict[str, Any] = {"n_poisons": n, "share": share}
            yield row(metric=_CERTIFIED, **at, **_share(holds))
            if settings.n_iter == 0 or n == 0:
                continue
            # What is wrong anyway, or proved to stay, need not be attacked.
            open_rows = np.flatnonzero(certified.is_right & ~holds)
            left = certified.is_right.copy()
            if len(open_rows) > 0:
                attack = attack_locations(
                    head,
                    features,
                    y,
                    test_features[open_rows],
                    n,
                    n_iter=settings.n_iter,
                    random_state=context.settings.seed,
                )
                left[open_rows] = ~attack.is_changed
            yield row(metric=_ATTACKED, attack="location", **at, **_share(left))


def _share(cases: NDArray[np.bool_]) -> dict[str, Any]:
    """Columns of a share of the test rows."""
    return rate(int(cases.sum()), len(cases))


def _check(context: Context, settings: CertifiedSettings) -> None:
    """Raise where classes are too small or few, or no network is smoothed more."""
    softmax, smoothed, _ = (clf for _, clf in _list_networks(context, settings))
    if smoothed.label_smoothing <= softmax.label_smoothing:
        raise ValueError(
            f"certified.label_smoothing must be above {softmax.label_smoothing:g}, "
            f"that of run.recipe={context.settings.recipe!r}, got "
            f"{smoothed.label_smoothing:g}"
        )
    _list_subsets(context.partition.y_refit, settings, None)
    if settings.n_novel_classes > 0:
        _with_novel_classes(context, settings.n_novel_classes)


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="How many poisons are withstood, whatever they are?",
    question="The network is trained on clean data. Class means are then estimated by "
    "medians or trimmed means of the features of a smaller set, some rows of which an "
    "attacker replaces by anything. For each test image it is proved how many of one "
    "class that may be without changing its prediction: no attack can do more. The "
    "best attack found in feature space stands beside the proof; the truth lies "
    "between. A network that was itself trained on poisons, and test images that are "
    "changed, are not covered. The network itself uses none of these rows, so nothing "
    "among them changes what it says: where it knows the classes, its own accuracy is "
    "what the proof has to reach.",
    headline=HeadlineSpec(metric="certified_accuracy", title="{dataset}, certified"),
    tables=(
        TableSpec(
            title="{dataset}: right, and proved to stay so",
            where={"variant": None},
            split=("dataset",),
            index=("victim",),
            noun="poison",
            columns=(
                ColumnSpec("backbone_accuracy", "The network itself", "rate"),
                ColumnSpec(
                    _CERTIFIED, "{n_poisons}", "rate", by=("n_poisons", "share")
                ),
            ),
        ),
        TableSpec(
            title="{dataset}: right, and proved to stay so, heads fitted to {variant}",
            where={"variant": ...},
            split=("dataset", "variant"),
            index=("victim",),
            noun="poison",
            columns=(
                ColumnSpec(
                    _CERTIFIED, "{n_poisons}", "rate", by=("n_poisons", "share")
                ),
            ),
        ),
        TableSpec(
            title="{dataset}: what the best attack found leaves right",
            where={"variant": None},
            split=("dataset",),
            index=("victim",),
            columns=(
                ColumnSpec(_ATTACKED, "{n_poisons}", "rate", by=("n_poisons", "share")),
            ),
        ),
        TableSpec(
            title="{dataset}: certified accuracy of L-GM minus that of softmax, by the "
            "same location and on the same test rows",
            where={"variant": None},
            split=("dataset",),
            index=("victim",),
            header_title="L-GM minus",
            columns=(
                ColumnSpec(
                    _DIFFERENCE, "{n_poisons}", "share", by=("n_poisons", "share")
                ),
            ),
        ),
        TableSpec(
            title="{dataset}: the same difference, heads fitted to {variant}",
            where={"variant": ...},
            split=("dataset", "variant"),
            index=("victim",),
            header_title="L-GM minus",
            columns=(
                ColumnSpec(
                    _DIFFERENCE, "{n_poisons}", "share", by=("n_poisons", "share")
                ),
            ),
        ),
    ),
    figures=(
        FigureSpec(
            kind="certified_accuracy",
            title="Certified accuracy ({dataset})",
            caption="Share of the test rows that are right and proved to stay so, "
            "against the share of a class that is poisoned. Open triangles are what "
            "the best attack found leaves right: the truth lies between. Higher is "
            "better.",
            where={"variant": None},
            alt="Lines of certified accuracy against the poisoned share, one per model",
            split=("dataset",),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, CertifiedSettings, measure, _check)
