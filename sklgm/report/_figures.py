"""The figures of a run's report, drawn from its records and arrays."""

from typing import Any

from sklgm.plotting import (
    MODEL_NAMES,
    ClaimedLikelihoodDisplay,
    FeatureSpaceDisplay,
    PoisonDisplay,
    attack_name,
    plot_roc_curves,
    plot_success_rates,
)
from sklgm.report._run import ReportFigure
from sklgm.results import (
    DetectionScores,
    FeatureScatter,
    FigureData,
    PoisonImages,
    RunResult,
)

# The score whose histogram is shown: L-GM's own density.
_SHOWN_MODEL, _SHOWN_ARM = "lgm", "likelihood"


def run_figures(result: RunResult, data: FigureData) -> list[ReportFigure]:
    """Draw the figures of a run.

    Parameters
    ----------
    result : RunResult
        Records of the run.
    data : FigureData
        Its arrays.

    Returns
    -------
    list of ReportFigure
        Poisons, success rates, feature scatter, histograms and ROC curves, each
        only where there is something to draw. The caller closes them.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    figures = [_images_figure(images) for images in data.images]
    attacks = dict.fromkeys(
        record.attack
        for record in result.records
        if record.protocol == "transfer" and record.attack != "none"
    )
    figures += [_success_figure(result, attack) for attack in attacks]
    if data.scatter is not None:
        figures.append(_scatter_figure(data.scatter))
    for attack in dict.fromkeys(scores.attack for scores in data.detection):
        of_attack = [scores for scores in data.detection if scores.attack == attack]
        shown = [
            scores
            for scores in of_attack
            if (scores.model, scores.arm) == (_SHOWN_MODEL, _SHOWN_ARM)
        ]
        figures += [_histogram_figure(scores) for scores in shown]
        figures.append(_roc_figure(of_attack))
    return figures


def _images_figure(images: PoisonImages) -> ReportFigure:
    display = PoisonDisplay.from_predictions(
        images.X_base, images.X_target, images.X_poison, titles=images.titles
    )
    name = attack_name(images.attack)
    return ReportFigure(
        f"What a poison looks like ({name})",
        "Each column is one poison against the softmax network. Its label is that of "
        "the first row, and it should look like it; to the network it looks like the "
        "target in the second row. The last row is what was changed, amplified.",
        display.figure_,
        f"Base, target, poison and amplified difference for {len(images.titles)} "
        "poisons",
        protocol="transfer",
    )


def _success_figure(result: RunResult, attack: str) -> ReportFigure:
    ax = plot_success_rates(result.records, attack=attack)
    return ReportFigure(
        f"Success rate against number of poisons ({attack_name(attack)})",
        "Share of targets that the refitted model gives the attacker's label, with "
        "95 % Wilson intervals. Lower is better.",
        ax.figure,
        "Lines of success rate against number of poisons, one a model",
        protocol="transfer",
    )


def _scatter_figure(scatter: FeatureScatter) -> ReportFigure:
    display = FeatureSpaceDisplay.from_predictions(
        scatter.features,
        scatter.claimed_labels,
        is_poison=scatter.is_poison,
        means=scatter.means,
        covariances=scatter.covariances,
        covariance_type=scatter.covariance_type,
        target_features=scatter.target_features,
        classes=scatter.classes,
        class_names=scatter.class_names,
    )
    return ReportFigure(
        "Where poisons lie among the features",
        "A network with only two features, trained with the L-GM loss. Colours are "
        "the labels that rows claim. Each class forms a cloud around its mean; a "
        "poison (cross) sits with its target (star), far from the cloud it claims.",
        display.figure_,
        "Scatter of two features with class ellipses, poisons and targets",
        protocol="white-box",
    )


def _histogram_figure(scores: DetectionScores) -> ReportFigure:
    display = ClaimedLikelihoodDisplay.from_predictions(
        -scores.outlier_score,
        scores.is_poison,
        xlabel="claimed-label likelihood score (standard deviations)",
        group_names=("clean rows", "poisons"),
    )
    return ReportFigure(
        f"Likelihood of the claimed label ({attack_name(scores.attack)})",
        "How likely the L-GM network finds the features of a row under the label it "
        "claims, for clean test rows and for poisons. The further apart, the easier "
        "poisons are to find.",
        display.figure_,
        "Histograms of the claimed-label score of clean rows and poisons",
        protocol="white-box",
    )


def _roc_figure(all_scores: list[DetectionScores]) -> ReportFigure:
    curves: dict[str, tuple[Any, Any]] = {
        f"{MODEL_NAMES[s.model]}, {s.arm}": (s.outlier_score, s.is_poison)
        for s in all_scores
    }
    ax = plot_roc_curves(curves)
    return ReportFigure(
        f"Poisons found against false alarms ({attack_name(all_scores[0].attack)})",
        "Share of poisons found at each share of clean rows flagged. The left end "
        "matters: few false alarms are tolerable in practice.",
        ax.figure,
        "ROC curves, one a model and kind of score",
        protocol="white-box",
    )
