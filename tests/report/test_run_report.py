"""The page of a run."""

import base64
import html
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from sklgm.metrics import wilson_rate
from sklgm.report import (
    ReportFigure,
    render_run_report,
    run_tables,
    write_run_report,
)
from sklgm.results import Record, RunResult

VOID = {"meta", "link", "img", "br", "hr", "input"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"></circle></svg>'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


class Page(HTMLParser):
    """Collects elements and text, and refuses tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.ids = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def find(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def record(model, metric, value, **changes):
    values = {
        "protocol": "transfer",
        "dataset": "digits",
        "model": model,
        "attack": "feature_collision",
        "n_poisons": 25,
        "arm": "attack",
        "metric": metric,
        "value": value,
        "low": None,
        "high": None,
        "n": 50,
        "seed": 0,
    }
    return Record(**values | changes)


def rate(model, n_success, n_targets=50, **changes):
    interval = wilson_rate(n_success, n_targets)
    values = {"low": interval.low, "high": interval.high, "n": n_targets}
    return record(model, "attack_success_rate", interval.value, **values | changes)


def area(model, value, arm="likelihood", **changes):
    low, high = value - 0.01, min(1.0, value + 0.01)
    return record(model, "auroc", value, arm=arm, low=low, high=high, **changes)


def transfer_records(n_softmax=14, n_gaussians=2, n_lgm=0):
    return (
        rate("softmax", n_softmax),
        rate("softmax", 3, n_poisons=5),
        rate("softmax", 13, 47, arm="common"),
        rate("softmax", 1, 54, arm="control"),
        rate("softmax_trimmed_gaussians", n_gaussians),
        rate("softmax_trimmed_gaussians", 4, arm="diag"),
        rate("lgm_trim", n_lgm),
        record("softmax", "clean_accuracy", 0.7411, n=10_000),
        record("lgm_trim", "clean_accuracy", 0.7222, n=10_000),
        record("softmax", "backbone_accuracy", 0.7512, attack="none", n_poisons=0),
        area("softmax", 0.75),
        area("lgm_trim", 0.96),
        record("lgm_trim", "collision_ratio", 0.134),
    )


def white_box_records(softmax=0.8, lgm=0.95):
    changes = {"protocol": "white-box", "n_poisons": 1}
    return (
        area("softmax", softmax, arm="posterior", **changes),
        area("lgm", lgm, **changes),
        area("lgm", 0.9, arm="posterior", **changes),
        record(
            "lgm",
            "tpr_at_1pct_fpr",
            0.5,
            arm="likelihood",
            low=0.4,
            high=0.6,
            **changes,
        ),
    )


def run_result(records=(), **changes):
    values = {
        "command": "sklgm reproduce digits --seed 0",
        "config": {"n_poisons": [5, 25], "classifier": {"margin": 1.0}},
        "environment": {"python": "3.11", "packages": {"numpy": "2.0"}},
        "records": tuple(records),
        "sklgm_version": "1.2.3",
    }
    return RunResult(**values | changes)


def page_text(result, figures=(), title="A run", introduction=None):
    page = render_run_report(result, figures, title=title, introduction=introduction)
    Page(page)
    text = re.sub(r"<(style|title)\b.*?</\1>", " ", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return re.sub(r"\s+", " ", text)


def test_headline_counts_the_misled_targets():
    text = page_text(run_result(transfer_records()))
    assert "digits, feature collision, 25 poisons a target" in text
    assert "softmax 14 of 50 targets misled 28 %" in text
    assert "L-GM + trim 0 of 50 targets misled 0 %" in text
    assert "Lowest attack success rate: L-GM + trim, 0 %." in text
    assert "Clean accuracy after the attack: softmax 74.1 %, L-GM + trim 72.2 %" in text
    assert "Best at ranking poisons first: L-GM + trim (likelihood score)" in text
    assert "No L-GM model" not in text


def test_headline_names_the_baseline_where_it_wins():
    records = transfer_records(n_gaussians=0, n_lgm=5)
    text = page_text(run_result(records))
    assert "Lowest attack success rate: softmax + trimmed Gaussians, 0 %." in text
    assert "No L-GM model reaches that rate in this run." in text


def test_headline_says_where_intervals_overlap():
    text = page_text(run_result(transfer_records(n_gaussians=2, n_lgm=0)))
    assert (
        "The intervals of softmax + trimmed Gaussians and softmax + trimmed Gaussians "
        "(diag) overlap with that of the lowest rate"
    ) in text


def test_headline_names_all_who_tie():
    text = page_text(run_result(transfer_records(n_gaussians=0, n_lgm=0)))
    assert (
        "Lowest attack success rate: softmax + trimmed Gaussians and L-GM + trim, 0 %."
    ) in text
    records = [rate("softmax", 5), rate("lgm", 5)]
    assert "All models show the same attack success rate, 10 %." in page_text(
        run_result(records)
    )


def test_headline_of_detection_names_the_best_score_whoever_it_is():
    text = page_text(run_result(white_box_records(softmax=0.98, lgm=0.95)))
    assert "Best at ranking poisons first: softmax (posterior score), AUROC 0.980" in (
        text
    )
    assert "The best L-GM model reaches 0.950." in text


def test_headline_uses_the_largest_number_of_poisons():
    records = [rate("softmax", 1, n_poisons=5), rate("lgm", 0, n_poisons=5)]
    records += [rate("softmax", 9), rate("lgm", 2)]
    text = page_text(run_result(records))
    assert "25 poisons a target" in text
    assert "9 of 50 targets misled" in text


def test_transfer_table_shows_rates_arms_and_accuracies():
    text = page_text(run_result(transfer_records()))
    for column in (
        "Misled, 5 poisons",
        "Misled, 25 poisons",
        "Same targets for all, 25 poisons",
        "Control: no poisons",
        "Clean accuracy",
        "Backbone accuracy",
        "AUROC, 25 poisons",
    ):
        assert column in text
    assert "28 % 14 of 50 17 to 42 %" in text
    assert "28 % 13 of 47 17 to 42 %" in text
    assert "2 % 1 of 54 0 to 10 %" in text
    assert "softmax + trimmed Gaussians (diag)" in text
    assert "74.1 % with 25 poisons" in text
    assert "75.1 %" in text
    assert "0.134" in text


def test_white_box_table_shows_both_scores_with_intervals():
    text = page_text(run_result(white_box_records()))
    assert (
        "L-GM score: likelihood 0.950 0.940 to 0.960 n = 50 50.0 % 40.0 % to 60.0 % "
        "n = 50"
    ) in text
    assert "L-GM score: posterior 0.900 0.890 to 0.910 n = 50" in text


def test_seeds_are_pooled_and_listed():
    records = [rate("lgm", 2), rate("lgm", 3, seed=1)]
    records += [area("lgm", 0.9), area("lgm", 0.8, seed=1)]
    text = page_text(run_result(records))
    assert "Seeds: 0, 1" in text
    assert "5 of 100" in text
    assert "0.850 0.800 to 0.900 over 2 seeds" in text


def test_a_repeated_record_counts_once():
    text = page_text(run_result([rate("lgm", 2), rate("lgm", 2)]))
    assert "2 of 50 targets misled" in text


def test_rate_without_counted_targets_is_unknown():
    records = [rate("softmax", 2), rate("lgm", 0, 0)]
    text = page_text(run_result(records))
    assert "unknown no target counts" in text
    assert "nan" not in text.split("All 2 numbers")[0]


def test_an_area_just_below_one_is_not_shown_as_one():
    text = page_text(run_result([area("lgm", 0.9998), area("softmax", 0.9)]))
    assert "> 0.999" in text


def test_run_section_names_command_settings_and_environment():
    text = page_text(run_result(transfer_records()))
    assert "sklgm reproduce digits --seed 0" in text
    assert "n_poisons [5, 25]" in text
    assert "classifier.margin 1.0" in text
    assert "packages.numpy 2.0" in text
    assert "sklgm 1.2.3" in text


def test_page_explains_the_attack_and_the_models_shown():
    text = page_text(run_result(white_box_records()))
    assert "The attack: poisoning without a wrong label" in text
    assert "The defence: ask how likely a row is under its own label" in text
    assert "The usual classifier, without a defence." in text
    assert "estimated without the least likely share" not in text  # no lgm_trim here


@pytest.mark.parametrize(
    "records",
    [
        (),
        transfer_records(),
        white_box_records(),
        transfer_records() + white_box_records(),
        [rate("lgm", 1, protocol="end-to-end")],
        [rate("lgm", n, protocol="frontier", attack=f"strength_{n}") for n in range(3)],
        [record("lgm", "clean_accuracy", 0.7, arm="clean", attack="none", n_poisons=0)],
        [record("lgm", "some_new_metric", 0.7)],
        [rate("lgm", 0, arm="control")],
        [rate("lgm", 0, 0)],
        [area("lgm", float("nan"))],
    ],
    ids=[
        "nothing",
        "transfer",
        "white-box",
        "both",
        "end-to-end",
        "frontier",
        "accuracy",
        "unknown-metric",
        "control-only",
        "no-target",
        "nan-area",
    ],
)
def test_any_part_may_be_missing(records):
    result = run_result(records)
    page = Page(render_run_report(result, title="A run"))
    anchors = {a["href"][1:] for a in page.find("a") if a["href"].startswith("#")}
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert anchors <= ids


def test_unknown_metrics_stand_in_a_table():
    text = page_text(run_result([record("lgm", "some_new_metric", 0.7)]))
    assert "Some new metric L-GM 0.700" in text


def test_frontier_shows_attack_against_detection():
    changes = {"protocol": "frontier", "attack": "strength_3"}
    records = [rate("lgm", 4, **changes), area("lgm", 0.8, arm="attack", **changes)]
    text = page_text(run_result(records))
    assert "What if the attacker knows the defence?" in text
    assert "8 % 4 of 50" in text


def test_frontier_has_a_row_a_strength_and_model_and_loses_nothing():
    strength = {"protocol": "frontier", "attack": "feature_collision_linf_8_255"}
    records = [rate("lgm", 4, **strength), rate("softmax", 9, **strength)]
    records += [area("lgm", 0.8, "posterior", **strength)]
    records += [area("lgm", 0.7, "likelihood", **strength)]
    records += [rate("lgm", 6, arm="diag", **strength)]
    first, rest = run_tables(run_result(records))
    assert first.caption == "digits: attack against detection, 25 poisons"
    assert first.columns == ["Model", "Misled", "AUROC, likelihood", "AUROC, posterior"]
    assert [(row.header, row.detail) for row in first.rows] == [
        ("softmax", "feature collision, l-infinity 8/255"),
        ("L-GM", "feature collision, l-infinity 8/255"),
    ]
    assert [cell.text for cell in first.rows[1].cells] == [
        "8\N{NO-BREAK SPACE}%",
        "0.700",
        "0.800",
    ]
    assert [row.cells[0].details[0] for row in rest.rows] == ["6 of 50"]


HOSTILE = "<script>alert('x')</script>\" onload=\"y & {{ 7 * 7 }}"


def test_all_text_is_escaped():
    records = [
        rate("lgm", 1, dataset=HOSTILE, attack=HOSTILE),
        record("lgm", HOSTILE, 0.5, arm=HOSTILE, dataset=HOSTILE),
    ]
    result = run_result(
        records,
        command=HOSTILE,
        config={HOSTILE: HOSTILE, "list": [HOSTILE]},
        environment={HOSTILE: HOSTILE},
        sklgm_version=HOSTILE,
    )
    figures = [ReportFigure(HOSTILE, HOSTILE, PNG, HOSTILE)]
    text = render_run_report(result, figures, title=HOSTILE, introduction=HOSTILE)
    page = Page(text)
    assert page.find("script") == []
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert "{{ 7 * 7 }}" in text
    assert page.find("img")[0]["alt"] == HOSTILE


def test_page_loads_nothing_from_elsewhere():
    figures = [ReportFigure("t", "c", SVG, "a"), ReportFigure("t", "c", PNG, "a")]
    text = render_run_report(run_result(transfer_records()), figures, title="A run")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "#").startswith(("data:image/", "#")), tag
    assert "@import" not in text
    assert "url(" not in text
    assert "http:" not in text
    assert "https:" not in text


def test_page_is_accessible_and_follows_the_color_scheme():
    text = render_run_report(
        run_result(transfer_records()), [ReportFigure("t", "c", PNG, "a")], title="Run"
    )
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.find("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.find("img"))
    assert len(page.find("h1")) == 1
    assert len(page.find("main")) == 1
    assert "prefers-color-scheme: dark" in text
    assert any(meta.get("name") == "viewport" for meta in page.find("meta"))
    n_regions = sum(a.get("class") == "scroll" for a in page.find("div"))
    assert n_regions == len(page.find("table")) > 0
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_matplotlib_figures_become_sharp_png_and_stay_open():
    figure_module = pytest.importorskip("matplotlib.figure")
    figure = figure_module.Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1])
    shown = ReportFigure("Curve", "A line.", figure, "line", protocol="transfer")
    result = run_result(transfer_records())
    text = render_run_report(result, [shown], title="A run")
    image = Page(text).find("img")[0]
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    content = base64.b64decode(data)
    width, height = np.frombuffer(content[16:24], dtype=">u4")
    assert (width, height) == (576, 384)
    assert image["width"] == "288"
    # The same result gives the same page.
    assert render_run_report(result, [shown], title="A run") == text


def test_figures_stand_in_the_section_of_their_protocol():
    figures = [
        ReportFigure("loose", "c", PNG, "a"),
        ReportFigure("placed", "c", PNG, "a", protocol="white-box"),
    ]
    text = page_text(run_result(transfer_records()), figures)
    assert text.index("white-box protocol") < text.index("placed")
    assert text.index("placed") < text.index("loose")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alt": ""}, "alt='' must describe"),
        ({"protocol": "other"}, "protocol='other' must be None or one of"),
        ({"figure": b"GIF89a"}, "figure starting with b'GIF89a' is neither PNG nor"),
        ({"figure": "text"}, "figure starting with b'text' is neither"),
    ],
)
def test_report_figure_rejects_bad_input(options, message):
    values = {"title": "t", "caption": "c", "figure": PNG, "alt": "a"} | options
    with pytest.raises(ValueError, match=message):
        ReportFigure(**values)


def test_write_run_report_writes_the_page(tmp_path):
    result = run_result(transfer_records())
    path = write_run_report(tmp_path / "new" / "run.html", result, title="Läufe")
    text = path.read_text(encoding="utf-8")
    assert text == render_run_report(result, title="Läufe")


def test_missing_jinja2_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "sklgm\[cli\]"'):
        render_run_report(run_result(), title="A run")


def test_label_noise_is_a_table_with_a_row_a_share():
    records = [
        Record("label-noise", "digits", "lgm", attack, n_flipped, "audit", metric,
               value, low, high, n, 0)
        for attack, n_flipped, metric, value, low, high, n in [
            ("none", 0, "clean_flagged", 0.011, 0.01, 0.012, 1347),
            ("flip_labels_5_percent", 67, "clean_flagged", 0.012, 0.01, 0.02, 1280),
            ("flip_labels_5_percent", 67, "flipped_flagged", 0.97, 0.9, 0.99, 67),
            ("flip_labels_5_percent", 67, "estimated_noise_share", 0.05, None, None,
             1347),
        ]
    ]  # fmt: skip
    (table,) = run_tables(RunResult("sklgm", {}, {}, tuple(records)))
    assert table.caption == "digits: random label flips"
    assert list(table.columns) == [
        "Model",
        "Clean rows flagged",
        "Flipped rows flagged",
        "Estimated share of wrong labels",
    ]
    assert [row.detail for row in table.rows] == [
        "audit; 0 labels flipped",
        "audit; 67 labels flipped",
    ]
    assert table.rows[0].cells[1] is None
    assert "97" in table.rows[1].cells[1].text


def test_peers_are_a_table_with_a_row_a_backbone_and_detector():
    records = [
        record(model, metric, value, protocol="peers", arm=arm, low=low, high=high, n=5)
        for model in ("lgm", "softmax")
        for arm in ("art_spectral_signatures", "deep_knn", "a_new_one", "lgm_posterior")
        for metric, value, low, high in [
            ("fit_seconds", 0.25, None, None),
            ("poisons_flagged", 0.4, 0.3, 0.5),
            ("clean_flagged", 0.012, 0.01, 0.02),
            ("auroc", 0.9, 0.85, 0.95),
            ("tpr_at_1pct_fpr", 0.7, 0.6, 0.8),
        ]
    ]
    (table,) = run_tables(RunResult("sklgm", {}, {}, tuple(records)))
    assert table.caption == (
        "digits, feature collision: what detectors find, 25 poisons"
    )
    assert list(table.columns) == [
        "Detector",
        "AUROC",
        "Poisons found at 1 % false alarms",
        "Clean rows flagged",
        "Poisons flagged",
        "Seconds",
    ]
    names = [
        "L-GM posterior",
        "Deep k-NN",
        "ART, spectral signatures",
        "a new one",
    ]
    assert [row.header for row in table.rows] == 2 * names
    assert [row.detail for row in table.rows] == [
        *4 * ["on features of softmax"],
        *4 * ["on features of L-GM"],
    ]
    texts = [
        cell.text.replace("\N{NO-BREAK SPACE}", " ") for cell in table.rows[0].cells
    ]
    assert texts == ["0.900", "70.0 %", "1.2 %", "40.0 %", "0.250"]
    assert table.rows[0].cells[0].details == ["0.850 to 0.950", "n = 5"]
    page = render_run_report(RunResult("sklgm", {}, {}, tuple(records)), title="A run")
    assert "Which detector finds the poisons? (peers protocol)" in page
