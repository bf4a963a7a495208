"""Rows, trials and results that tests make by hand."""

from sklgm.metrics import wilson_rate
from sklgm.results import Row, RunResult, Trial

PLACE = {"dataset": "digits", "protocol": "transfer", "attack": "feature_collision"}
CLEAN = {"attack": None, "n_poisons": 0}


def row(victim="lgm", metric="clean_accuracy", value=0.5, **changes):
    values = PLACE | {"n_poisons": 25, "n": 50, "seed": 0}
    return Row(
        **values | {"victim": victim, "metric": metric, "value": value} | changes
    )


def rate(victim, n_success, n=50, metric="attack_success_rate", **changes):
    """Attack success rate with its Wilson interval."""
    made = wilson_rate(n_success, n)
    values = {"value": made.value if n else None, "low": made.low, "high": made.high}
    return row(victim, metric, **values | {"n": n} | changes)


def common(victim, n_success, n=50):
    return rate(victim, n_success, n, metric="attack_success_rate_common")


def control(victim, n_success, n=50):
    return rate(victim, n_success, n, **CLEAN)


def area(victim, value, score="likelihood", half=0.01, **changes):
    """AUROC with an interval of plus and minus half."""
    ends = {"low": value - half, "high": min(1.0, value + half)}
    return row(victim, "auroc", value, **{"score": score} | ends | changes)


def trial(target_index, success, counted=True, **changes):
    values = PLACE | {"victim": "lgm", "n_poisons": 25, "seed": 3}
    values |= {"target_label": "1", "base_label": "2", "target_index": target_index}
    return Trial(**values | {"success": success, "counted": counted} | changes)


def result_of(rows=(), trials=(), **changes):
    values = {
        "command": "sklgm reproduce digits --preset full",
        "settings": {"run": {"preset": "full"}},
        "environment": {"device": "cpu", "n_threads": 2},
    }
    return RunResult.from_rows(rows, trials, **values | changes)


def table_of(rows):
    return result_of(rows).table


def plain(texts):
    """Texts of a table with ordinary spaces."""
    return [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts]
