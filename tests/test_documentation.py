"""The built pages: nothing from elsewhere, no dead link, no page wider than a phone."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import polars
import pytest

from tests.chromium import fetch_axe, running_chromium, serious_violations

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Attributes by which a page makes the browser load something.
LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
}
# `link` elements that name a page and load nothing.
NAMED_ONLY = {"canonical", "next", "prev", "index", "search", "author", "copyright"}
WIDTH = 390
# Elements that reach beyond the window and cannot be scrolled to; a page that hides
# what overflows is as wide as the window by itself.
CUT_OFF = """() => [...document.querySelectorAll("article *")].filter((element) => {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.right <= innerWidth + 1) return false;
    for (let outer = element.parentElement; outer.tagName !== "ARTICLE";
         outer = outer.parentElement) {
        if (["auto", "scroll"].includes(getComputedStyle(outer).overflowX))
            return false;
    }
    return true;
}).map((element) => element.textContent.slice(0, 60))
.concat(document.documentElement.scrollWidth > innerWidth ? ["the page"] : [])"""


class PageParser(HTMLParser):
    """What a page loads, where it links to, and which anchors and words it has."""

    def __init__(self):
        super().__init__()
        self.loads, self.links, self.ids, self.article = [], [], set(), []
        self.inside = None

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.ids |= {own[name] for name in ("id", "name") if own.get(name)}
        if tag == "a" and own.get("href"):
            self.links.append(own["href"])
        is_named = set((own.get("rel") or "").split()) & NAMED_ONLY
        if tag in LOADS and own.get(LOADS[tag]) and not is_named:
            self.loads.append(own[LOADS[tag]])
        if tag == "article" and "bd-article" in (own.get("class") or ""):
            self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data):
        self.article += data.split() if self.inside else []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built pages; the examples are not run."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    command += ["-D", "plot_gallery=0", str(DOCS), str(out)]
    # As a build by hand: in a process of its own, on one thread.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return out


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The script of axe-core, from npm."""
    return fetch_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def parsed(site):
    """What is on each page, by its path."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.relative_to(site).parts:
            found[path] = PageParser()
            found[path].feed(path.read_text("utf-8"))
    assert len(found) > 100
    return found


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site, parsed):
    foreign = {
        (path.name, address)
        for path, page in parsed.items()
        for address in page.loads
        if re.match(r"([a-z]+:)?//", address)
    }
    assert foreign == set()
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", text), sheet
    assert (site / "_static" / "mathjax" / "tex-chtml.js").is_file()


@pytest.mark.slow
def test_every_internal_link_and_anchor_exists(site, parsed):
    dead = []
    for path, page in parsed.items():
        for link in {*page.links, *page.loads}:
            address, anchor = urldefrag(link)
            address = address.partition("?")[0]  # a version, against old copies
            if re.match(r"[a-z]+:", link):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                dead.append((path.name, link))
            elif anchor and target in parsed:
                if unquote(anchor) not in parsed[target].ids:
                    dead.append((path.name, link))
    assert dead == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("pretrain", "user_guide/pretrained"),
        ("audit", "user_guide/audit"),
        ("cleanlab", "user_guide/compare"),
        ("architectur", "architecture"),
    ],
)
def test_the_search_finds_the_page_by_its_title(site, word, page):
    text = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    found = index["titleterms"][word]
    found = [found] if isinstance(found, int) else found
    assert page in [index["docnames"][number] for number in found]


def titles(folder):
    """Titles of the pages below a folder, by file."""
    found = {}
    for path in folder.glob("*.rst"):
        marked = re.search(r"^(=+)\n(.+)\n\1$", path.read_text("utf-8"), re.MULTILINE)
        found[path.name] = marked.group(2)
    return found


def test_pages_of_the_guide_have_titles_of_their_own():
    found = titles(DOCS / "user_guide")
    assert len(set(found.values())) == len(found)
    assert [name for name, title in found.items() if "Audit" in title] == ["audit.rst"]


def rows_of_lists(text, title):
    """First cell, and the others, of the rows of the list table of a section."""
    section = text.split(f"\n{title}\n")[1]
    table = section.split(".. list-table::")[1]
    cells = re.findall(r"^   \* - (.+)\n((?:     - .+\n)+)", table, re.MULTILINE)[1:]
    return [(first, re.findall(r"- (.+)", others)) for first, others in cells]


def in_percent(table, column="value", **where):
    """A number of a table as the guide writes it."""
    rows = table.filter(**where)
    if len(rows) == 0:
        return "none"
    value = rows[column].item()
    return "0" if value == 0 else f"{100 * value:.1f}"


def test_the_guide_quotes_the_committed_run_of_given_probabilities():
    run = DOCS / "results" / "given-probabilities-label-noise-0" / "table.parquet"
    table = polars.read_parquet(run)
    text = (DOCS / "user_guide" / "audit_quality.rst").read_text("utf-8")
    lines = rows_of_lists(text, "By probabilities that are given")
    datasets = table["dataset"].unique(maintain_order=True).to_list()
    assert len(lines) == len(datasets) == 4
    audit = "audit, fdr 0.1"
    for (name, cells), dataset in zip(lines, datasets, strict=True):
        assert name.split(" (")[0].split(", ")[-1] in dataset
        estimate = {"dataset": dataset, "metric": "estimated_noise_share"}
        n_wrong, n_rows = table.filter(**estimate).select("n_poisons", "n").row(0)
        low, high = (
            in_percent(table, end, **estimate, detector=audit)
            for end in ("low", "high")
        )
        expected = [
            f"{100 * n_wrong / n_rows:.1f}",
            f"{low} to {high}",
        ]
        expected += [
            in_percent(table, dataset=dataset, metric=metric, detector=detector)
            for detector in (audit, "cleanlab")
            for metric in ("flipped_flagged", "false_discoveries")
        ]
        assert [cell.removesuffix(" %") for cell in cells] == expected


def test_the_guide_quotes_the_committed_run_of_flips():
    run = DOCS / "results" / "mnist-label-noise-quick-0" / "table.parquet"
    table = polars.read_parquet(run)
    text = (DOCS / "user_guide" / "audit_quality.rst").read_text("utf-8")
    lines = rows_of_lists(text, "Labels flipped at random")
    assert len(lines) == 8
    for name, cells in lines:
        share, kind = name.split(" %, ")
        where = {
            "dataset": "MNIST" + (", flips " + kind) * (kind != "evenly"),
            "share": float(share) / 100,
        }
        estimate = {**where, "metric": "estimated_noise_share"}
        low, high = (in_percent(table, end, **estimate) for end in ("low", "high"))
        flagged = [
            in_percent(table, **where, detector=detector, metric=metric)
            for detector, metric in (
                ("audit", "flipped_flagged"),
                ("audit", "false_discoveries"),
                ("audit, level 0.01", "clean_flagged"),
                ("cleanlab", "flipped_flagged"),
                ("cleanlab", "false_discoveries"),
            )
        ]
        areas = table.filter(**where, metric="auroc")
        ranked = [
            f"{areas.filter(detector=detector)['value'].item():.4f}"
            for detector in ("audit", "cleanlab")
        ]
        found = [cell.removesuffix(" %") for cell in cells]
        assert found == [f"{low} to {high}", *flagged, *ranked]


@pytest.mark.slow
def test_the_results_are_read_in_less_than_an_hour(site, parsed):
    pages = [page for path, page in parsed.items() if path.parent.name == "results"]
    assert len(pages) >= 5
    assert 2_000 < sum(len(page.article) for page in pages) < 10_000


@pytest.mark.slow
@pytest.mark.browser
def test_no_page_is_wider_than_a_phone(site, parsed):
    wide, foreign = {}, set()
    with running_chromium() as chromium:
        page = chromium.new_page(viewport={"width": WIDTH, "height": 844})
        page.on("request", lambda request: foreign.add(request.url))
        for path in parsed:
            page.goto(path.as_uri())
            cut = page.evaluate(CUT_OFF)
            if cut:
                wide[str(path.relative_to(site))] = cut
    assert wide == {}
    assert [url for url in foreign if not url.startswith(("file:", "data:"))] == []


# One page of each kind.
KINDS = [
    "index.html",
    "user_guide/certificates.html",
    "api.html",
    "api/sklgm.LGMClassifier.html",
    "auto_examples/index.html",
    "auto_examples/plot_07_clean_image_folder.html",
    "results/index.html",
]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, WIDTH], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_pages_of_each_kind(site, axe, width, scheme):
    found = {}
    with running_chromium() as chromium:
        page = chromium.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        for name in KINDS:
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            violations = serious_violations(page, axe)
            if violations:
                found[name] = violations
    assert found == {}
