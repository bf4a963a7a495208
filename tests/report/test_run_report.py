"""The page of a run."""

import base64
import html
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from sklgm.report import ReportFigure, render_run_report, write_run_report
from sklgm.results import (
    ColumnSpec,
    HeadlineSpec,
    ProtocolDescription,
    TableSpec,
)
from tests.tidy_rows import area, rate, result_of, row

VOID = {"meta", "link", "img", "br", "hr", "input"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"></circle></svg>'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
GAUSSIANS = "softmax_trimmed_gaussians"
MISLED = TableSpec(
    title="{dataset}, {attack}: misled",
    columns=(ColumnSpec("attack_success_rate", "Misled, {n_poisons}", "rate"),),
)
DESCRIPTIONS = (
    ProtocolDescription(
        name="transfer",
        title="Does the attack work?",
        question="How often is it misled?",
        tables=(MISLED,),
        headline=HeadlineSpec("attack_success_rate"),
    ),
    ProtocolDescription(
        name="white-box",
        title="Can they be told apart?",
        question="How plausible is the label?",
        headline=HeadlineSpec("auroc", "{dataset}, {attack}: finding the poisons"),
    ),
    ProtocolDescription(
        name="certified",
        title="How many are withstood?",
        question="Whatever they are.",
        headline=HeadlineSpec("certified_accuracy", "{dataset}, certified"),
    ),
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


def transfer(n_softmax=14, n_gaussians=2, n_lgm=0):
    return [
        rate("softmax", n_softmax),
        rate("softmax", 3, n_poisons=5),
        rate(GAUSSIANS, n_gaussians),
        rate(GAUSSIANS, 4, variant="diag"),
        rate("lgm_trim", n_lgm),
        row("softmax", value=0.7411),
        row("lgm_trim", value=0.7222),
        area("softmax", 0.75),
        area("lgm_trim", 0.96),
    ]


def white_box(softmax=0.8, lgm=0.95):
    place = {"protocol": "white-box", "n_poisons": 1}
    return [
        area("softmax", softmax, "posterior", **place),
        area("lgm", lgm, "likelihood", **place),
        area("lgm", 0.9, "posterior", **place),
    ]


def render(rows=(), figures=(), title="A run", introduction=None, **changes):
    return render_run_report(
        result_of(rows, **changes),
        figures,
        descriptions=DESCRIPTIONS,
        title=title,
        introduction=introduction,
    )


def page_text(*arguments, **options):
    page = render(*arguments, **options)
    Page(page)
    text = re.sub(r"<(style|title)\b.*?</\1>", " ", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return re.sub(r"\s+", " ", text)


# The first screen


def test_the_verdict_stands_first_with_its_table():
    text = page_text(transfer())
    first = text[: text.index("Does the attack work?")]
    assert "digits, transfer: 50 targets per model, 25 poisons each" in first
    assert "L-GM + trim is fooled less often than softmax" in first
    assert "Fooled targets given the attacker's label Accuracy" in first
    assert "L-GM + trim the least likely rows left out 0 of 50" in first


def test_one_poison_stands_beside_the_verdict_and_nowhere_else():
    example = ReportFigure("One", "c", PNG, "a poison", "transfer", "poison_example")
    others = [ReportFigure("Two", "c", PNG, "others", "transfer", "poison_images")]
    page = render(transfer(), [*others, example])
    assert page.count('alt="a poison"') == 1
    assert page.index('alt="a poison"') < page.index('id="transfer"')
    assert page.index('id="transfer"') < page.index('alt="others"')


def test_each_section_has_one_finding_and_one_open_figure():
    figures = [
        ReportFigure("Images", "c", PNG, "images", "transfer", "poison_images"),
        ReportFigure("Rates", "c", PNG, "rates", "transfer", "success_rates"),
    ]
    page = render(transfer(), figures)
    section = page[page.index('id="transfer"') : page.index('id="explanation"')]
    is_open = section[: section.index("<details")]
    assert "Fooled least: L-GM + trim (0 of 50 targets)" in is_open
    assert 'alt="rates"' in is_open
    assert 'alt="images"' not in is_open
    assert "<table" not in is_open


def test_terms_are_explained_below_the_table_that_uses_them():
    text = page_text([*transfer(), rate("lgm", 3, variant="converged")])
    assert "diag variant: one variance per class and dimension" in text
    assert "converged variant: the last layer is refitted" in text
    assert "oracle" not in text


def test_every_variant_and_score_that_protocols_show_is_a_term():
    from sklgm.report._terms import TERMS

    names = ["converged", "diag", "filtered", "auto", "oracle"]
    names += ["likelihood", "posterior", "combined"]
    assert set(names) <= set(TERMS)


def test_seeds_are_listed_and_pooled():
    text = page_text([rate("lgm", 2), rate("lgm", 2), rate("lgm", 3, seed=1)])
    assert "Seeds: 0, 1" in text
    assert "5 of 100" in text


# Sections


def test_sections_are_those_of_the_descriptions_that_were_measured():
    text = page_text(transfer())
    assert "How it is measured (transfer protocol) How often is it misled?" in text
    assert "digits, feature collision: misled" in text
    assert "Can they be told apart?" not in text


def test_a_protocol_without_a_description_stands_among_all_numbers():
    text = page_text([row("lgm", "some_metric", 0.7, protocol="of-tomorrow")])
    assert "All 1 numbers" in text
    assert "of-tomorrow" in text


def test_page_names_command_settings_and_environment():
    text = page_text(
        transfer(),
        command="sklgm reproduce digits --seed 0",
        settings={"run": {"n_poisons": [5, 25]}},
        environment={"packages": {"numpy": "2.0"}},
    )
    assert "sklgm reproduce digits --seed 0" in text
    assert "run.n_poisons [5, 25]" in text
    assert "packages.numpy 2.0" in text


def test_page_explains_the_attack():
    assert "The attack: poisoning without a wrong label" in page_text(white_box())


@pytest.mark.parametrize(
    "rows",
    [
        [],
        transfer(),
        white_box(),
        transfer() + white_box(),
        [row("lgm", "some_new_metric", 0.7)],
        [rate("lgm", 0, 0)],
        [row("lgm", "auroc", None)],
        [row(None, "some_metric")],
    ],
    ids=[
        "nothing",
        "transfer",
        "white-box",
        "both",
        "unknown-metric",
        "no-target",
        "unknown",
        "no-victim",
    ],
)
def test_any_part_may_be_missing(rows):
    page = Page(render(rows))
    anchors = {a["href"][1:] for a in page.find("a") if a["href"].startswith("#")}
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert anchors <= ids


def test_figures_stand_in_the_section_of_their_protocol():
    figures = [
        ReportFigure("loose", "c", PNG, "a"),
        ReportFigure("unknown", "c", PNG, "a", protocol="of-tomorrow"),
        ReportFigure("placed", "c", PNG, "a", protocol="white-box"),
    ]
    text = page_text(transfer(), figures)
    assert text.index("Can they be told apart?") < text.index("placed")
    assert text.index("placed") < text.index("loose") < text.index("unknown")


# The page itself

HOSTILE = "<script>alert('x')</script>\" onload=\"y & {{ 7 * 7 }}"


def test_all_text_is_escaped():
    place = {"dataset": HOSTILE, "attack": HOSTILE}
    rows = [rate("lgm", 1, **place), row(HOSTILE, HOSTILE, variant=HOSTILE, **place)]
    figures = [ReportFigure(HOSTILE, HOSTILE, PNG, HOSTILE)]
    text = render(
        rows,
        figures,
        title=HOSTILE,
        introduction=HOSTILE,
        command=HOSTILE,
        settings={HOSTILE: HOSTILE, "list": [HOSTILE]},
        environment={HOSTILE: HOSTILE},
    )
    page = Page(text)
    assert page.find("script") == []
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert "{{ 7 * 7 }}" in text
    assert page.find("img")[0]["alt"] == HOSTILE


def test_page_loads_nothing_from_elsewhere():
    figures = [ReportFigure("t", "c", SVG, "a"), ReportFigure("t", "c", PNG, "a")]
    text = render(transfer(), figures)
    for tag, attributes in Page(text).elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "#").startswith(("data:image/", "#")), tag
    assert "@import" not in text
    assert "url(" not in text
    assert "http:" not in text
    assert "https:" not in text


def test_page_is_accessible_and_follows_the_color_scheme():
    text = render(transfer(), [ReportFigure("t", "c", PNG, "a")])
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
    shown = [ReportFigure("Curve", "A line.", figure, "line", protocol="transfer")]
    text = render(transfer(), shown)
    image = Page(text).find("img")[0]
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    width, height = np.frombuffer(base64.b64decode(data)[16:24], dtype=">u4")
    assert (width, height) == (576, 384)
    assert image["width"] == "288"
    # The same result gives the same page.
    assert render(transfer(), shown) == text


def test_write_run_report_writes_the_page(tmp_path):
    path = write_run_report(
        tmp_path / "new" / "run.html",
        result_of(transfer()),
        descriptions=DESCRIPTIONS,
        title="Läufe",
    )
    assert path.read_text(encoding="utf-8") == render(transfer(), title="Läufe")


def test_missing_jinja2_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "sklgm\[cli\]"'):
        render()
