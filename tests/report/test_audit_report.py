"""The page of an audit."""

import base64
import dataclasses
import html
import io
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from sklgm.auditing._result import AuditResult
from sklgm.datasets import ImageFiles
from sklgm.report import _audit_page, render_audit_report, write_audit_report

pillow = pytest.importorskip("PIL.Image")

VOID = {"meta", "link", "img", "br", "input"}
HOSTILE = "</script><script>alert('x')</script>\" onload=\"y & {{ 7 * 7 }} $x$"
N_ROWS = 12
#: The suspects, the most suspect first.
SUSPECTS = [7, 2, 10]


@pytest.fixture(autouse=True)
def figures_stay_empty(request, monkeypatch):
    """Drawing takes most of the time of a page: only tests of figures do it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(_audit_page, "figure_png", lambda figure: b"")


@pytest.fixture
def drawn():
    """Asks for drawn figures."""


def audit_result(**changes):
    """Twelve rows of three classes; row 7, then 2, then 10 are suspects."""
    claimed = np.array(["cat", "dog", "owl"])[np.arange(N_ROWS) % 3]
    likely = claimed.copy()
    likely[[7, 2, 10]] = ["cat", "dog", "owl"]
    scores = -0.01 * np.arange(1.0, N_ROWS + 1)
    scores[SUSPECTS] = [-9.0, -7.0, -5.0]
    p_values = np.linspace(0.2, 1.0, N_ROWS)
    p_values[SUSPECTS] = [0.0004, 0.001, 0.01]
    features = np.column_stack([np.arange(4.0), [0.0, 1.0, 0.0, 2.0], np.ones(4)])
    values = {
        "claimed_labels": claimed,
        "likely_labels": likely,
        "scores": scores,
        "p_values": p_values,
        "q_values": false_discovery_control(p_values),
        "folds": np.arange(N_ROWS) // 4,
        "classes": np.array(["cat", "dog", "owl"]),
        "false_alarm_rate": 0.01,
        "threshold": -4.0,
        "score_kind": "posterior",
        "n_trusted": 0,
        "noise_share": 0.125,
        "temperature": 1.5,
        "map_rows": np.arange(4),
        "map_features": features,
        "typical_rows": np.array([[0, 3], [1, 4], [5, -1]]),
        "settings": {"cv": 3, "score_kind": "posterior"},
        "environment": {"python": "3.12", "packages": {"numpy": "2.0"}},
    }
    return AuditResult(**values | changes)


def images(n_channels=1, n_rows=N_ROWS, side=4):
    pixels = np.linspace(-0.2, 1.2, n_rows * n_channels * side**2)
    return pixels.reshape(n_rows, n_channels, side, side)


def rendered(result=None, *args, **options):
    result = audit_result() if result is None else result
    return render_audit_report(result, *args, **{"title": "An audit"} | options)


class Page(HTMLParser):
    """Elements, texts of table cells and of cards; refuses tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.tables, self.in_cell = [], [], [], False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def find(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def cells(self, table):
        return [[" ".join(cell.split()) for cell in row] for row in self.tables[table]]

    def cards(self):
        return [a for name, a in self.elements if name == "li" and "data-search" in a]


def text_of(page):
    page = re.sub(r"<(style|title|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    return re.sub(r"\s+", " ", text)


def decoded(uri):
    kind, data = uri.split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(pillow.open(io.BytesIO(base64.b64decode(data))))


def gallery_images(page):
    return [decoded(a["src"]) for a in page.find("img") if a["alt"].startswith("Row")]


def typical_images(text):
    found = re.findall(r'\.t(\d+) \{ background-image: url\("([^"]*)"\)', text)
    return {int(row): decoded(uri) for row, uri in found}


def test_facts_and_assumptions_without_trusted_rows():
    text = text_of(rendered())
    assert "Rows audited 12" in text
    assert "Suspects 3 25 % of the rows" in text
    assert "p ≤ 0.01 flags one in 100 right labels" in text
    assert "Wrong labels, estimated 12.5 % of all rows" in text
    assert "calibrated by temperature scaling (T = 1.5," in text
    assert "trusted row " not in text
    # The largest q-value of the three: 0.01 * 12 / 3.
    assert "Among all 3 suspects here it is 4 %." in text


def test_facts_and_assumptions_with_trusted_rows():
    result = audit_result(n_trusted=250, noise_share=None, temperature=None)
    text = text_of(rendered(result))
    assert "Compared with 250 trusted rows" in text
    assert "exchangeable with the right rows of the data" in text
    assert "each fold has its own threshold" in text.lower()
    assert "Wrong labels, estimated" not in text
    assert "temperature" not in text


def test_suspects_are_listed_from_the_most_suspect():
    page = Page(rendered())
    assert page.cells(0) == [
        ["Rank", "Row", "Claimed", "Likelier", "p-value", "q-value", "Score"],
        ["1", "7", "dog", "cat", "0.0004", "0.0048", "-9"],
        ["2", "2", "owl", "dog", "0.001", "0.006", "-7"],
        ["3", "10", "dog", "owl", "0.01", "0.04", "-5"],
    ]


def test_classes_are_counted():
    # Four rows claim each class. Suspects: none of the cats; 7 and 10 of the dogs,
    # likelier a cat and an owl, of which the cat comes first; 2 of the owls.
    page = Page(rendered())
    assert page.cells(1)[1:] == [
        ["cat", "4", "0", "0 %", "–"],
        ["dog", "4", "2", "50 %", "cat 1 of 2 suspects"],
        ["owl", "4", "1", "25 %", "dog 1 of 1 suspect"],
    ]


def test_a_suspect_whose_claim_is_likeliest_names_no_likelier_class():
    likely = audit_result().claimed_labels
    text = rendered(audit_result(likely_labels=likely), images())
    assert Page(text).cells(1)[2] == ["dog", "4", "2", "50 %", "–"]
    assert "claimed and likeliest, but unlike it:" in text_of(text)


def test_names_of_rows_and_classes_are_shown():
    names = [f"folder/{row}.png" for row in range(N_ROWS)]
    classes = ["Cats", "Dogs", "Owls"]
    page = Page(rendered(None, images(), names, class_names=classes))
    assert page.cells(0)[1][2:4] == ["Dogs", "Cats"]
    assert [row[-1] for row in page.cells(0)[1:]] == [
        f"folder/{row}.png" for row in SUSPECTS
    ]
    assert page.cards()[0]["data-search"] == "7 folder/7.png Dogs Cats"


def test_integer_labels_may_have_any_values():
    claimed = np.array([-1, 10, 300])[np.arange(N_ROWS) % 3]
    likely = claimed.copy()
    likely[[7, 2, 10]] = [-1, 10, 300]
    result = audit_result(
        claimed_labels=claimed, likely_labels=likely, classes=np.array([-1, 10, 300])
    )
    assert [row[2:4] for row in Page(rendered(result)).cells(0)[1:]] == [
        ["10", "-1"],
        ["300", "10"],
        ["10", "300"],
    ]


def test_gallery_shows_suspects_as_they_are():
    X = images()
    page = Page(rendered(None, X))
    shown = gallery_images(page)
    expected = np.rint(255 * X[SUSPECTS, 0].clip(0, 1))
    np.testing.assert_array_equal(shown, expected)
    assert [card["data-p"] for card in page.cards()] == ["0.0004", "0.001", "0.01"]


def test_gallery_shows_images_of_three_channels():
    X = images(n_channels=3)
    shown = gallery_images(Page(rendered(None, X)))
    expected = np.rint(255 * X[SUSPECTS].clip(0, 1)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(shown, expected)


def test_bytes_are_shown_as_bytes():
    X = np.arange(N_ROWS * 16, dtype=np.uint8).reshape(N_ROWS, 1, 4, 4)
    shown = gallery_images(Page(rendered(None, X)))
    np.testing.assert_array_equal(shown, X[SUSPECTS, 0])


def test_pixels_that_are_no_numbers_are_black():
    X = np.full((N_ROWS, 1, 2, 2), np.nan)
    assert not np.any(gallery_images(Page(rendered(None, X))))


def test_each_typical_image_is_embedded_once_and_missing_ones_are_left_out():
    X = images()
    text = rendered(None, X)
    typical = typical_images(text)
    assert sorted(typical) == [0, 1, 3, 4, 5]
    for row, image in typical.items():
        np.testing.assert_array_equal(image, np.rint(255 * X[row, 0].clip(0, 1)))
    uses = [
        a["class"] for a in Page(text).find("span") if a.get("class", "")[:1] == "t"
    ]
    # Claimed and likelier class of each: dog and cat, owl and dog, dog and owl.
    used = [name for name in uses if name != "typical"]
    assert used == "t1 t4 t0 t3 t5 t1 t4 t1 t4 t5".split()


def test_a_class_without_typical_rows_says_so():
    result = audit_result(typical_rows=np.full((3, 2), -1))
    text = rendered(result, images())
    assert typical_images(text) == {}
    assert text_of(text).count("no typical image") == 6


@pytest.mark.parametrize(
    ("side", "shown", "is_crisp"), [(8, 8, True), (300, 128, False)]
)
def test_large_images_are_made_smaller_and_small_ones_stay_sharp(side, shown, is_crisp):
    page = Page(rendered(None, images(side=side)))
    assert gallery_images(page)[0].shape == (shown, shown)
    galleries = [a["class"] for a in page.find("ul") if "gallery" in a.get("class", "")]
    assert galleries == ["gallery crisp" if is_crisp else "gallery"]


@pytest.mark.parametrize("X", [None, np.ones((N_ROWS, 3))], ids=["none", "table"])
def test_without_images_there_is_no_gallery(X):
    page = Page(rendered(None, X))
    assert gallery_images(page) == []
    assert page.cards() == []
    assert len(page.cells(0)) == 4
    assert "not shown" not in text_of(rendered(None, X))


def test_images_of_other_channels_are_announced_as_not_shown():
    text = rendered(None, images(n_channels=5))
    assert gallery_images(Page(text)) == []
    assert "only those of 1 or 3 channels are" in text_of(text)


def test_limits_are_kept_and_told():
    text = rendered(None, images(), max_rows=2, max_images=1)
    page = Page(text)
    assert [row[1] for row in page.cells(0)[1:]] == ["7", "2"]
    assert len(gallery_images(page)) == 1
    # Typical images of dogs and cats only.
    assert sorted(typical_images(text)) == [0, 1, 3, 4]
    text = text_of(text)
    assert "The first 2 of 3 suspects; 1 are not shown. suspects.csv has all" in text
    assert "The first 1 of 3 suspects." in text


def test_a_table_of_no_rows_is_left_out():
    page = Page(rendered(None, max_rows=0))
    assert len(page.tables) == 1


def test_nothing_suspect():
    result = audit_result(p_values=np.ones(N_ROWS), threshold=-np.inf)
    text = rendered(result, images())
    page = Page(text)
    assert gallery_images(page) == []
    assert page.find("input") == []
    assert [row[2:] for row in page.cells(0)[1:]] == [["0", "0 %", "–"]] * 3
    assert "No row is a suspect." in text_of(text)
    assert "There is no threshold" in text_of(text)


def test_everything_suspect():
    result = audit_result(p_values=np.zeros(N_ROWS), threshold=0.0)
    page = Page(rendered(result, images()))
    assert len(page.cells(0)) == 1 + N_ROWS
    assert len(gallery_images(page)) == N_ROWS
    assert [row[3] for row in page.cells(1)[1:]] == ["100 %"] * 3


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("threshold", "lowest"),
    [
        (-np.inf, -9.0),
        (np.inf, -9.0),
        (np.nan, -1e100),
        (-1e99, -1e100),
        (1e99, -np.inf),
        (0.0, -np.inf),
    ],
)
def test_extreme_scores_and_thresholds_are_drawn(threshold, lowest):
    scores = audit_result().scores
    scores[7] = lowest
    text = rendered(audit_result(scores=scores, threshold=threshold))
    row = Page(text).cells(0)[1]
    assert float(row[-1]) == lowest
    assert text.count("<figure>") == 2


def test_a_row_far_below_does_not_squeeze_the_histogram():
    scores = audit_result().scores
    scores[7] = -1e9
    text = text_of(rendered(audit_result(scores=scores)))
    # Threshold -4, highest scores about -0.01: four times their distance below it.
    assert "Rows below -20 (1 row) are drawn there." in text


def test_without_a_finite_score_there_is_no_histogram():
    text = rendered(audit_result(scores=np.full(N_ROWS, -np.inf)))
    assert text.count("<figure>") == 1
    assert "Map of the features" in text


@pytest.mark.parametrize(
    "features",
    [np.empty((4, 0)), np.ones((4, 1)), np.full((4, 3), np.nan)],
    ids=["none", "one-column", "not-finite"],
)
def test_no_map_where_features_have_no_plane(features):
    text = rendered(audit_result(map_features=features))
    assert text.count("<figure>") == 1
    assert "Map of the features" not in text


@pytest.mark.usefixtures("drawn")
def test_map_of_equal_features_is_drawn():
    text = rendered(audit_result(map_features=np.ones((4, 2))))
    assert "Map of the features" in text
    assert "projected" not in text


def big_result(n_rows, n_classes, n_suspects):
    rng = np.random.RandomState(0)
    classes = np.array([f"class {k:03d}" for k in range(n_classes)])
    p_values = np.linspace(0.02, 1, n_rows)
    p_values[:n_suspects] = 0.001
    return audit_result(
        claimed_labels=classes[np.arange(n_rows) % n_classes],
        likely_labels=classes[rng.randint(n_classes, size=n_rows)],
        scores=-rng.exponential(size=n_rows),
        p_values=p_values,
        q_values=p_values,
        folds=np.zeros(n_rows, int),
        classes=classes,
        map_rows=np.arange(n_rows),
        map_features=rng.normal(size=(n_rows, 2)),
        typical_rows=np.full((n_classes, 4), -1),
    )


@pytest.mark.parametrize(
    ("n_suspects", "told"),
    [
        (10, "4,000 of 5,000 rows are drawn, 10 of 10 suspects"),
        (2500, "4,000 of 5,000 rows are drawn, 2,000 of 2,500 suspects"),
        (4900, "4,000 of 5,000 rows are drawn, 3,900 of 4,900 suspects"),
        (5000, "4,000 of 5,000 rows are drawn, 4,000 of 5,000 suspects"),
    ],
)
def test_the_map_draws_a_part_of_many_rows_and_says_so(n_suspects, told):
    text = rendered(big_result(5000, 3, n_suspects), max_rows=0)
    assert told in text_of(text)


@pytest.mark.usefixtures("drawn")
def test_the_map_of_many_classes_has_no_legend():
    text = text_of(rendered(big_result(120, 60, 5)))
    assert "The colours of the 60 classes are not named." in text


def test_all_text_is_escaped():
    claimed = audit_result().claimed_labels.astype(object)
    claimed[claimed == "owl"] = HOSTILE
    likely = audit_result().likely_labels.astype(object)
    likely[likely == "owl"] = HOSTILE
    classes = np.array([HOSTILE, "cat", "dog"], dtype=object)
    result = audit_result(
        claimed_labels=claimed,
        likely_labels=likely,
        classes=classes,
        typical_rows=np.array([[5, -1], [0, 3], [1, 4]]),
        score_kind=HOSTILE,
        settings={HOSTILE: HOSTILE},
        environment={HOSTILE: [HOSTILE]},
    )
    names = [HOSTILE] * N_ROWS
    text = rendered(result, images(), names, title=HOSTILE, command=HOSTILE)
    page = Page(text)
    assert len(page.find("script")) == 1
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert text.count("{{ 7 * 7 }}") > 5
    assert page.cells(0)[2][2] == HOSTILE


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    "names",
    [["_cat", "_dog", "_owl"], ["$", r"$\nothing$", "_$"], ["", " ", "x" * 300]],
    ids=["underscore", "formula", "long"],
)
def test_any_class_name_can_be_drawn(names):
    result = audit_result(map_rows=np.array([2, 7, 10, 0]))
    assert rendered(result, class_names=names).count("<figure>") == 2


def test_page_loads_nothing_from_elsewhere():
    names = [f"https://example.org/{row}.png" for row in range(N_ROWS)]
    text = rendered(None, images(), names, command="sklgm audit https://example.org")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "#").startswith(("data:", "#")), tag
    assert [a["href"] for a in page.find("link")] == ["data:,"]
    assert "@import" not in text
    assert set(re.findall(r"url\(.{6}", text)) == {'url("data:'}
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|innerHTML)\b", text)
    (policy,) = [a for a in page.find("meta") if "http-equiv" in a]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'"
    )


def test_page_is_accessible_and_follows_the_color_scheme():
    text = rendered(None, images(), [str(row) for row in range(N_ROWS)])
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.find("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.find("img"))
    assert len(page.find("h1")) == len(page.find("main")) == 1
    assert "prefers-color-scheme: dark" in text
    regions = [a for a in page.find("div") if a.get("class") == "scroll"]
    assert len(regions) == len(page.find("table")) == 2
    assert all(region["tabindex"] == "0" for region in regions)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    pointed = [a["href"][1:] for a in page.find("a")]
    pointed += [
        a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a
    ]
    assert set(pointed) <= set(ids)


def test_settings_and_environment_can_be_read():
    text = text_of(rendered(command="sklgm audit digits"))
    assert "sklgm audit digits" in text
    assert "cv 3 score_kind posterior" in text
    assert "packages.numpy 2.0" in text


@pytest.mark.usefixtures("drawn")
def test_the_same_result_gives_the_same_page_and_stays_as_it_was():
    result = audit_result()
    before = {
        field.name: np.copy(getattr(result, field.name))
        for field in dataclasses.fields(result)
        if isinstance(getattr(result, field.name), np.ndarray)
    }
    X = images()
    page = rendered(result, X)
    assert page == rendered(audit_result(), X.copy())
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(result, name), array)


def test_no_figure_stays_open():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    numbers = pyplot.get_fignums()
    rendered()
    assert pyplot.get_fignums() == numbers


def test_write_audit_report_writes_the_page(tmp_path):
    options = {"title": "Prüfung", "max_rows": 2, "max_images": 1, "command": "x"}
    options["class_names"] = ["a", "b", "c"]
    names = [f"row {row}" for row in range(N_ROWS)]
    arguments = (audit_result(), images(), names)
    path = write_audit_report(tmp_path / "new" / "audit.html", *arguments, **options)
    assert path == tmp_path / "new" / "audit.html"
    assert path.read_text(encoding="utf-8") == rendered(*arguments, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": np.ones((5, 2))}, "X has 5 rows, but 12 were audited"),
        ({"X": np.ones(N_ROWS)}, r"X of shape \(12,\) must have the shape"),
        ({"X": np.ones((N_ROWS, 4, 4))}, r"X of shape \(12, 4, 4\) must have the"),
        ({"X": images(n_rows=11)}, "X has 11 rows, but 12 were audited"),
        ({"row_names": ["a"]}, "row_names has 1 entries for 12 audited rows"),
        ({"class_names": ["a"]}, "class_names has 1 entries for 3 classes"),
        ({"max_rows": -1}, "max_rows=-1 must be at least 0"),
        ({"max_images": -2}, "max_images=-2 must be at least 0"),
    ],
)
def test_input_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rendered(**options)


@pytest.mark.parametrize("module", ["jinja2", "matplotlib", "PIL.Image"])
def test_missing_packages_name_the_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "sklgm\[cli\]"'):
        rendered(None, images())


def test_files_of_images_are_read_where_they_are_shown(tmp_path):
    shown = {*SUSPECTS, 0, 3, 1, 4, 5}  # and the typical ones
    for row in range(N_ROWS):
        image = pillow.new("RGB", (300, 200 + row), (row, 0, 255))
        path = tmp_path / f"{row}.png"
        image.save(path) if row in shown else path.write_bytes(b"no image")
    files = ImageFiles([f"{row}.png" for row in range(N_ROWS)], tmp_path)
    page = render_audit_report(audit_result(), files, files.names, title="Photos")
    encoded = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    pictures = [pillow.open(io.BytesIO(base64.b64decode(text))) for text in encoded]
    assert {picture.getpixel((0, 0))[0] for picture in pictures} == shown
    assert {picture.width for picture in pictures} == {128}
