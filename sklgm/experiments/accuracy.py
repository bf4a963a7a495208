"""Accuracy: what the networks get right, and how fast they train."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from sklgm.experiments._protocol import Context, Protocol, rate
from sklgm.experiments._settings import Settings
from sklgm.experiments._table_specs import CLEAN_ACCURACY
from sklgm.results import (
    ColumnSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    TableSpec,
)

NAME = "accuracy"


class AccuracySettings(Settings):
    """The accuracy protocol has no settings of its own."""


def measure(context: Context, settings: AccuracySettings) -> Iterator[Row]:
    """Train both networks on clean rows and ask them about the test rows.

    Parameters
    ----------
    context : Context
        Rows for networks, and test rows.
    settings : AccuracySettings
        None.

    Yields
    ------
    Row
        Accuracy with its Wilson interval, training time in seconds (the passes between
        epochs not counted) and training rows per second, of each network.
    """
    rows = context.partition
    for name, clf in context.networks.items():
        n_right = int(np.count_nonzero(clf.predict(rows.X_test) == rows.y_test))
        seconds = float(sum(clf.history_[:, "dur"]))
        n_train = len(rows.X_backbone)
        row = partial(
            Row, **context.columns(NAME), victim=name, variant=context.settings.recipe
        )
        yield row(metric="clean_accuracy", **rate(n_right, len(rows.y_test)))
        yield row(metric="train_seconds", value=seconds, n=n_train)
        per_second = n_train * clf.n_iter_ / seconds
        yield row(metric="rows_per_second", value=per_second, n=n_train)


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="How accurate are the networks, and how fast do they train?",
    question="Both networks are trained on clean rows for as many epochs, and asked "
    "about the test rows.",
    headline=HeadlineSpec("clean_accuracy", "{dataset}: accuracy on clean rows"),
    tables=(
        TableSpec(
            title="{dataset}: accuracy on clean rows",
            split=("dataset",),
            details=("{variant}",),
            columns=(
                CLEAN_ACCURACY,
                ColumnSpec("train_seconds", "Training, seconds"),
                ColumnSpec("rows_per_second", "Training rows per second"),
            ),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, AccuracySettings, measure)
