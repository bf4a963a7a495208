"""What each protocol asks, and which tables and figures its rows fill."""

from dataclasses import replace

from sklgm.results import (
    ColumnSpec,
    FigureSpec,
    HeadlineSpec,
    ProtocolDescription,
    TableSpec,
)

_MISLED = ColumnSpec("attack_success_rate", "Misled", "rate")
_CONTROL = ColumnSpec(
    "attack_success_rate", "Control: no poisons", "rate", where={"attack": None}
)
_BACKBONE_ACCURACY = ColumnSpec(
    "backbone_accuracy", "Backbone accuracy", "share", where={"attack": None}
)
_CLEAN_ACCURACY = ColumnSpec("clean_accuracy", "Clean accuracy", "share")
_KEPT_SHARE = ColumnSpec("kept_share", "Poisons kept", "share")
_AUROC = ColumnSpec("auroc", "AUROC", "area")
_AT_1_PERCENT = ColumnSpec("tpr_at_1pct_fpr", "Found at 1 % false alarms", "share")
_EFFORT = (
    ColumnSpec("collision_ratio", "Collision ratio"),
    ColumnSpec("l2", "Change, Euclidean norm"),
    ColumnSpec("linf", "Change, largest pixel"),
)

_ATTACK_TABLE = TableSpec(
    title="{dataset}, {attack}: how often targets are misled",
    where={"attack": ...},
    columns=(
        ColumnSpec(
            "attack_success_rate", "Misled, {n_poisons}", "rate", by=("n_poisons",)
        ),
        ColumnSpec(
            "attack_success_rate_common",
            "Same targets for all, {n_poisons}",
            "rate",
            only_most=True,
        ),
        _CONTROL,
        ColumnSpec(
            "clean_accuracy",
            "Clean accuracy",
            "share",
            only_most=True,
            detail="with {n_poisons}",
            otherwise=ColumnSpec(
                "clean_accuracy",
                "Clean accuracy",
                "share",
                where={"attack": None},
                detail="without poisons",
            ),
        ),
        _BACKBONE_ACCURACY,
        ColumnSpec("auroc", "AUROC, {n_poisons}", "area", only_most=True, join="score"),
    ),
)
_DETECTION_TABLE = TableSpec(
    title="{dataset}, {attack}: how well poisons are found",
    where={"attack": ...},
    index=("victim", "variant", "score"),
    details=("score: {score}",),
    columns=(
        ColumnSpec("auroc", "AUROC, {n_poisons}", "area", by=("n_poisons",)),
        ColumnSpec(
            "tpr_at_1pct_fpr",
            "Found at 1 % false alarms, {n_poisons}",
            "share",
            by=("n_poisons",),
        ),
    ),
)
_EFFORT_TABLE = TableSpec(
    title="{dataset}, {attack}: how far the poisons were pushed, {n_poisons}",
    where={"attack": ...},
    only_most=True,
    columns=_EFFORT,
)
_CLEAN_TABLE = TableSpec(
    title="{dataset}: without poisons",
    where={"attack": None},
    split=("dataset",),
    columns=(
        ColumnSpec("attack_success_rate", "Control", "rate"),
        _CLEAN_ACCURACY,
        ColumnSpec("backbone_accuracy", "Backbone accuracy", "share"),
    ),
)

_WHITE_BOX = ProtocolDescription(
    name="white-box",
    title="Can the poisons be told from clean rows?",
    question="The model is trained on clean data and never sees the poisons; the "
    "attacker knows it fully and makes poisons for it. Each clean test row and each "
    "poison is then scored: how plausible is the label it claims?",
    headline=HeadlineSpec("auroc", "{dataset}, {attack}: finding the poisons"),
    tables=(
        replace(_DETECTION_TABLE, columns=(_AUROC, _AT_1_PERCENT)),
        _EFFORT_TABLE,
        _CLEAN_TABLE,
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

_TRANSFER = ProtocolDescription(
    name="transfer",
    title="Does the attack work?",
    question="The network is trained on clean data. Then its last layer is trained "
    "again on a smaller set, into which the attacker has slipped poisons for one "
    "target. This is repeated for every target, and each model is attacked with "
    "poisons made for itself: how often is it misled?",
    headline=HeadlineSpec(metric="attack_success_rate"),
    tables=(_ATTACK_TABLE, _DETECTION_TABLE, _EFFORT_TABLE),
    figures=(
        FigureSpec(
            kind="poison_images",
            title="What a poison looks like ({attack})",
            caption="Each column is one poison against the softmax network. Its label "
            "is that of the first row, and it should look like it; to the network it "
            "looks like the target in the second row. The last row is what was "
            "changed, amplified.",
            alt="Base, target, poison and amplified difference of some poisons",
            split=("attack", "bound", "reach"),
        ),
        FigureSpec(
            kind="success_rates",
            title="Success rate against number of poisons ({attack})",
            caption="Share of targets that the refitted model gives the attacker's "
            "label, with 95 % Wilson intervals. Lower is better.",
            alt="Lines of success rate against number of poisons, one per model",
            where={"attack": ...},
            split=("dataset", "attack", "bound", "reach"),
        ),
    ),
)

_END_TO_END = ProtocolDescription(
    name="end-to-end",
    title="What if all layers are trained?",
    question="A trained network goes on training, all layers of it, on data that hold "
    "the poisons. Poisons that work for a fixed network may stop working when the "
    "network moves.",
    headline=HeadlineSpec(
        "attack_success_rate", "{dataset}, {attack} (all layers trained)"
    ),
    tables=(_ATTACK_TABLE, _DETECTION_TABLE, _EFFORT_TABLE),
)

_FRONTIER_FIGURE = FigureSpec(
    kind="frontier",
    title="Attack against detection by the posterior score ({dataset}, {n_poisons})",
    caption="{dataset}, {n_poisons} per target: attack success rate against the share "
    "of poisons that the posterior score finds at 1 % false alarms, with 95 % "
    "intervals. The lower right corner is best for the defender.",
    alt="Attack success rate against the share of poisons found, a line per model and "
    "attack",
    where={"attack": ...},
    split=("dataset", "n_poisons"),
    options={"score": "posterior"},
)
_FRONTIER = ProtocolDescription(
    name="frontier",
    title="What if the attacker knows the defence?",
    question="The attack is made stronger step by step, and the defence is asked "
    "twice: is the target misled, and are the poisons found?",
    tables=(
        TableSpec(
            title="{dataset}: attack against detection, {n_poisons}",
            where={"attack": ..., "variant": None},
            split=("dataset", "n_poisons"),
            index=("attack", "bound", "reach", "victim"),
            details=("{attack}",),
            columns=(
                _MISLED,
                ColumnSpec("auroc", "AUROC, {score}", "area", by=("score",)),
                ColumnSpec(
                    "tpr_at_1pct_fpr",
                    "Found at 1 % false alarms, {score}",
                    "share",
                    by=("score",),
                ),
            ),
        ),
        TableSpec(
            title="{dataset}: attack against detection, further numbers",
            where={"attack": ...},
            split=("dataset",),
            index=("attack", "bound", "reach", "n_poisons", "victim", "variant"),
            details=("{attack}", "{n_poisons}"),
            columns=(
                ColumnSpec(
                    "attack_success_rate_common", "Same targets for all", "rate"
                ),
                _CLEAN_ACCURACY,
                _KEPT_SHARE,
                *_EFFORT,
            ),
        ),
        _CLEAN_TABLE,
    ),
    figures=(
        _FRONTIER_FIGURE,
        replace(
            _FRONTIER_FIGURE,
            title=_FRONTIER_FIGURE.title.replace("posterior", "likelihood"),
            caption=_FRONTIER_FIGURE.caption.replace("posterior", "likelihood"),
            options={"score": "likelihood"},
        ),
    ),
)

_CONTAMINATION = ProtocolDescription(
    name="contamination",
    title="How much poison can be trimmed?",
    question="A growing share of one class is poisoned. Gaussians are fitted "
    "afterwards that leave out the least likely rows of each class: always the same "
    "share, a share chosen from the rows (auto), or the share that is poisoned, which "
    "nobody knows (oracle).",
    tables=(
        TableSpec(
            title="{dataset}, {attack}: growing shares of poisons",
            where={"attack": ...},
            index=("share", "n_poisons", "victim", "variant"),
            details=("{n_poisons}", "{share} of the class"),
            columns=(
                _MISLED,
                ColumnSpec("auroc", "AUROC", "area", where={"score": "posterior"}),
                ColumnSpec(
                    "tpr_at_1pct_fpr",
                    "Found at 1 % false alarms",
                    "share",
                    where={"score": "posterior"},
                ),
                _KEPT_SHARE,
                _CLEAN_ACCURACY,
            ),
        ),
        _EFFORT_TABLE,
        _CLEAN_TABLE,
    ),
)

_PEERS = ProtocolDescription(
    name="peers",
    title="Which detector finds the poisons?",
    question="Every detector is fitted to the same rows, poisons among them and "
    "nothing else, and judges these rows by the labels they claim. Rows are flagged at "
    "each detector's own default settings; seconds are the median time from features "
    "to flags. What bears the name of another package is that package's own code.",
    tables=(
        TableSpec(
            title="{dataset}, {attack}: what detectors find, {n_poisons}",
            split=("dataset", "attack", "bound", "reach", "n_poisons"),
            index=("victim", "detector"),
            header="{detector}",
            header_title="Detector",
            details=("on features of {victim}",),
            columns=(
                _AUROC,
                ColumnSpec(
                    "tpr_at_1pct_fpr", "Poisons found at 1 % false alarms", "share"
                ),
                ColumnSpec("clean_flagged", "Clean rows flagged", "share"),
                ColumnSpec("poisons_flagged", "Poisons flagged", "share"),
                ColumnSpec(
                    "success_after_filtering",
                    "Misled, retrained without flagged rows",
                    "share",
                ),
                ColumnSpec(
                    "accuracy_after_filtering",
                    "Accuracy, retrained without flagged rows",
                    "share",
                ),
                ColumnSpec("fit_seconds", "Seconds"),
            ),
        ),
    ),
)

_SEARCH = ProtocolDescription(
    name="search",
    title="How should L-GM be trained?",
    question="One setting of the training of the backbone differs from the run's at a "
    "time. Numbers are of training rows that were held out for this choice: they rank "
    "settings and are no results.",
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
                _AUROC,
                _AT_1_PERCENT,
                _MISLED,
            ),
        ),
    ),
)

_LABEL_NOISE = ProtocolDescription(
    name="label-noise",
    title="Can wrong labels be found?",
    question="A share of all training labels is replaced by random other ones. An "
    "audit, whose models never saw the rows that they judge, is asked which; it has no "
    "rows that it may trust. The labels as they came count as right.",
    tables=(
        TableSpec(
            title="{dataset}: random label flips",
            split=("dataset",),
            index=("n_poisons", "victim", "detector"),
            details=("{detector}", "{n_poisons}"),
            noun="flipped label",
            columns=(
                ColumnSpec("clean_flagged", "Clean rows flagged", "share"),
                ColumnSpec("flipped_flagged", "Flipped rows flagged", "share"),
                ColumnSpec(
                    "flipped_among_most_suspect",
                    "Flipped among as many most suspect",
                    "share",
                ),
                ColumnSpec(
                    "flipped_among_most_suspect_difference",
                    "The audit's share minus this",
                    "share",
                ),
                _AUROC,
                ColumnSpec(
                    "false_discoveries",
                    "Clean among rows with q of at most 0.1",
                    "share",
                ),
                ColumnSpec(
                    "estimated_noise_share", "Estimated share of wrong labels", "share"
                ),
                ColumnSpec(
                    "cross_validated_accuracy", "Cross-validated accuracy", "share"
                ),
            ),
        ),
    ),
)

#: By name, in the order of reports.
DESCRIPTIONS: dict[str, ProtocolDescription] = {
    description.name: description
    for description in (
        _TRANSFER,
        _WHITE_BOX,
        _END_TO_END,
        _FRONTIER,
        _CONTAMINATION,
        _PEERS,
        _SEARCH,
        _LABEL_NOISE,
    )
}
