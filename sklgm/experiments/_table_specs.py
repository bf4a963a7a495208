"""Columns and tables that the descriptions of several protocols share."""

from sklgm.results import (
    ColumnSpec,
    TableSpec,
)

MISLED = ColumnSpec("attack_success_rate", "Misled", "rate")
CONTROL = ColumnSpec(
    "attack_success_rate", "Control: no poisons", "rate", where={"attack": None}
)
BACKBONE_ACCURACY = ColumnSpec(
    "backbone_accuracy", "Backbone accuracy", "share", where={"attack": None}
)
CLEAN_ACCURACY = ColumnSpec("clean_accuracy", "Clean accuracy", "share")
KEPT_SHARE = ColumnSpec("kept_share", "Poisons kept", "share")
AUROC = ColumnSpec("auroc", "AUROC", "area")
AT_1_PERCENT = ColumnSpec("tpr_at_1pct_fpr", "Found at 1 % false alarms", "share")
EFFORT = (
    ColumnSpec("collision_ratio", "Collision ratio"),
    ColumnSpec("l2", "Change, Euclidean norm"),
    ColumnSpec("linf", "Change, largest pixel"),
)

ATTACK_TABLE = TableSpec(
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
        CONTROL,
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
        BACKBONE_ACCURACY,
        ColumnSpec("auroc", "AUROC, {n_poisons}", "area", only_most=True, join="score"),
    ),
)
DETECTION_TABLE = TableSpec(
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
EFFORT_TABLE = TableSpec(
    title="{dataset}, {attack}: how far the poisons were pushed, {n_poisons}",
    where={"attack": ...},
    only_most=True,
    columns=EFFORT,
)
CLEAN_TABLE = TableSpec(
    title="{dataset}: without poisons",
    where={"attack": None},
    split=("dataset",),
    columns=(
        ColumnSpec("attack_success_rate", "Control", "rate"),
        CLEAN_ACCURACY,
        ColumnSpec("backbone_accuracy", "Backbone accuracy", "share"),
    ),
)
