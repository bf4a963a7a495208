"""Search: settings of L-GM training tried one at a time, on rows held out for it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from sklgm.experiments._comparison import Comparison
from sklgm.experiments._networks import Classifier, make_networks
from sklgm.experiments._protocol import Context, Protocol
from sklgm.experiments._settings import CountSettings, Distinct, Presets, Seed, Some
from sklgm.experiments._table_specs import AT_1_PERCENT, AUROC, MISLED
from sklgm.experiments._training import Training
from sklgm.experiments._victims import trimmed_gaussians
from sklgm.results import ColumnSpec, ProtocolDescription, Row, TableSpec

NAME = "search"
#: What is tried of each parameter of L-GM training, beside its value in the run.
TRIED: dict[str, tuple[Any, ...]] = {
    "variance_scale": (1.0, 4.0, 16.0, 64.0, 256.0),
    "likelihood_weight": (0.0, 0.001, 0.01, 0.1),
    "margin": (0.0, 0.1, 0.3, 1.0),
    "covariance_type": ("identity", "spherical", "tied_diag", "diag"),
    "feature_dim": (16, 64, 128),
    "means_lr_factor": (1.0, 10.0, 100.0),
    "margin_warmup": (0.0, 0.25, 0.5),
    "softmax_warmup": (0.25, 0.5, 0.75),
    "normalize_features": (False, True),
}
_METRICS = ("backbone_accuracy", "attack_success_rate", "auroc", "tpr_at_1pct_fpr")


class SearchSettings(CountSettings):
    """Settings of the search protocol.

    Parameters
    ----------
    n_targets, n_poisons, attacks, bounds, reach, similarity_weight, max_iter, \
            watermark_opacity
        See :class:`CountSettings`.
    seeds : tuple of int, default=(101, 102, 103)
        Taken instead of the seed of the run: others than those that results are
        reported for.
    """

    seeds: Annotated[tuple[Seed, ...], Some, Distinct] = (101, 102, 103)

    presets: ClassVar[Presets] = {
        ("*", "*"): {"attacks": ("feature_collision",), "bounds": (None,)}
    }


def measure(context: Context, settings: SearchSettings) -> Iterator[Row]:
    """Train L-GM by every setting and seed, and compare with softmax.

    One parameter at a time differs from those of the run. Each network is scored on
    training rows held out in place of the test set, whatever ``evaluation`` says: its
    accuracy, and, as in transfer, how the Gaussians that are fitted to its features
    with ``trim`` fare against poisons. All settings of one seed meet the same targets.

    Parameters
    ----------
    context : Context
        Data, runner and settings of the run.
    settings : SearchSettings
        Settings of the protocol.

    Yields
    ------
    Row
        Of the trimmed Gaussians on L-GM features, and of those on softmax features,
        one variant per setting; softmax takes the settings that it has, too.
    """
    n_seeds = len(settings.seeds)
    context.runner.progress(NAME, 0, n_seeds)
    for number, seed in enumerate(settings.seeds):
        held_out = context.at(seed=seed, evaluation="validation")
        targets = None
        for network, variant, clf in _list_networks(held_out):
            name = f"{NAME}, {network}, {variant or 'as set'}"
            fitted = held_out.trained(name, clf)
            victim = trimmed_gaussians(held_out, network, fitted)
            comparison = Comparison(
                held_out,
                NAME,
                [Training((replace(victim, scores=("posterior",)),))],
                settings,
                n_poisons=settings.n_poisons,
                networks={network: fitted},
                targets=targets,
                name=name,
            )
            targets = comparison.targets  # of the first: softmax as the run sets it
            attacks = settings.plan(has_images=comparison.has_images)
            for item in (*comparison.clean_rows(), *comparison.attack(attacks)):
                if isinstance(item, Row) and item.metric in _METRICS:
                    if item.attack is not None or item.metric == "backbone_accuracy":
                        yield replace(item, variant=variant)
        context.runner.progress(NAME, number + 1, n_seeds)


def _list_networks(
    context: Context,
) -> Iterator[tuple[str, str | None, Classifier]]:
    """List the networks that are trained."""
    for name, clf in make_networks(context.settings).items():
        yield name, None, clf
    for parameter, values in TRIED.items():
        for name, clf in make_networks(context.settings).items():
            if parameter in clf.get_params():
                for value in values:
                    if value != clf.get_params()[parameter]:
                        text = f"{value:g}" if isinstance(value, float) else value
                        changed = make_networks(context.settings)[name]
                        changed.set_params(**{parameter: value})
                        yield name, f"{parameter}={text}", changed


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="How should L-GM be trained?",
    question="One setting of the training of the backbone differs from the run's at a "
    "time. Numbers are of training rows that were held out for this choice: they rank "
    "settings and are not results.",
    is_result=False,
    tables=(
        TableSpec(
            title="{dataset}: settings of L-GM training, on validation rows",
            split=("dataset",),
            header_title="Setting",
            sort_by="backbone_accuracy",
            columns=(
                ColumnSpec("backbone_accuracy", "Backbone accuracy", "share"),
                ColumnSpec(
                    "backbone_accuracy",
                    "Minus softmax",
                    "share",
                    minus={"victim": "softmax_trimmed_gaussians"},
                ),
                AUROC,
                AT_1_PERCENT,
                MISLED,
            ),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, SearchSettings, measure)
