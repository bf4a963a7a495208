"""The page of an audit."""

import base64
import dataclasses
import hashlib
import html
import io
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control

from sklgm.auditing._result import AuditResult
from sklgm.datasets import ImageFiles
from sklgm.report import _audit_figures, render_audit_report, write_audit_report
from sklgm.report._audit_payload import data_key

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
        monkeypatch.setattr(_audit_figures, "figure_svg", lambda figure, prefix: "")


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
        "power": 1.0,
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


def text_of(page):
    page = re.sub(r"<(style|title|script|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    return re.sub(r"\s+", " ", text)


def data_of(page):
    """What the script of the page reads."""
    found = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page
    )
    assert len(found) == 1
    return json.loads(found[0])


def decoded(uri):
    kind, data = uri.split(",", 1)
    assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(pillow.open(io.BytesIO(base64.b64decode(data))))


def images_of(page):
    """Embedded images by row."""
    images = data_of(page)["contents"]["images"]
    return {int(row): decoded(uri) for row, uri in images.items()}


def with_probabilities(**changes):
    """The audit with p_wrong: rows 7, 2 and 10 are suspects, row 4 is the next one."""
    p_wrong = np.full(N_ROWS, 0.01)
    p_wrong[[7, 2, 10, 4]] = [0.995, 0.9, 0.8, 0.2]
    order = np.argsort(-p_wrong, kind="stable")
    q_values = np.empty(N_ROWS)
    q_values[order] = np.cumsum(1 - p_wrong[order]) / np.arange(1, N_ROWS + 1)
    values = {"p_wrong": p_wrong, "q_values": q_values, "fdr": 0.15}
    return audit_result(**{"false_alarm_rate": None} | values | changes)


def test_the_verdict_comes_first_and_says_what_is_expected():
    text = text_of(rendered(with_probabilities(noise_share_interval=(0.05, 0.2))))
    assert text.strip().startswith("Skip to the suspects An audit 3 of 12 labels look")
    # 0.005 + 0.1 + 0.2 are right.
    assert "3 of 12 labels look wrong. That is 25 % of the rows, and hardly any" in text
    assert (
        "an estimated 12 % of the labels are wrong (data and model leave 5 % to" in text
    )
    many = with_probabilities(p_wrong=np.full(N_ROWS, 0.7), fdr=0.4)
    many = dataclasses.replace(many, q_values=np.full(N_ROWS, 0.3))
    assert "about 4 of them are expected to be right after all" in text_of(
        rendered(many)
    )


def test_rule_and_assumptions_without_trusted_rows():
    text = text_of(rendered())
    assert (
        "where its p-value is at most 0.01, so about 1 % of the rows with right" in text
    )
    assert "calibrated by temperature scaling (T = 1.5, estimated together" in text
    text = text_of(rendered(audit_result(power=0.72)))
    assert "(T = 1.5, of log odds to the power of 0.72, estimated together" in text
    assert "trusted row " not in text


def test_rule_and_assumptions_with_trusted_rows():
    result = audit_result(n_trusted=250, noise_share=None, temperature=None)
    text = text_of(rendered(result))
    assert "Judged against 250 trusted rows" in text
    assert "exchangeable with the right rows of the data" in text
    assert "each fold has its own threshold" in text.lower()
    assert "an estimated" not in text
    assert "temperature" not in text


def test_rows_are_listed_from_the_most_suspect():
    data = data_of(rendered())
    assert data["row"][:3] == SUSPECTS
    assert [data["classes"][k] for k in data["claimed"][:3]] == ["dog", "owl", "dog"]
    assert [data["classes"][k] for k in data["likely"][:3]] == ["cat", "dog", "owl"]
    assert data["p"][:3] == [0.0004, 0.001, 0.01]
    assert data["wrong"] is None
    assert data["reasons"][:3] == [1, 1, 1]


def test_rows_beyond_the_suspects_are_those_of_a_higher_rate():
    result = with_probabilities()
    data = data_of(rendered(result))
    near = [row for row in result.ranking.tolist() if result.q_values[row] <= 0.5]
    assert data["row"] == near
    assert len(near) > 3
    assert data["reasons"] == [1, 1, 1] + [0] * (len(near) - 3)
    assert data["wrong"] == [round(float(result.p_wrong[row]), 4) for row in near]
    assert data["rates"][data["audited"]] == 0.15
    assert data["rates"] == sorted(set(data["rates"]))


def test_a_rule_of_p_values_has_its_place_among_the_rates():
    data = data_of(rendered())
    # The largest q-value of the three: 0.01 * 12 / 3.
    assert data["rates"][data["audited"]] == pytest.approx(0.04)
    assert data["rule"] == "p ≤ 0.01"


def test_rows_to_check_contradictions_and_rare_labels_are_listed():
    result = with_probabilities(
        rows_to_check=np.array([5, 7]),
        too_rare=np.array([8]),
        duplicate_pairs=np.array([[0, 1], [3, 6]]),
        is_exact_pair=np.array([True, False]),
    )
    data = data_of(rendered(result))
    reasons = dict(zip(data["row"], data["reasons"], strict=True))
    assert (reasons[7], reasons[5], reasons[8]) == (1 + 2, 2, 8)
    # Rows 0 and 1 claim cat and dog, rows 3 and 6 both claim cat.
    assert (reasons[0], reasons[1]) == (4, 4)
    assert reasons.get(3, 0) == reasons.get(6, 0) == 0
    assert "Deciding on 2 rows" in text_of(rendered(result))


def test_duplicates_are_listed_contradictions_first():
    result = audit_result(
        duplicate_pairs=np.array([[3, 6], [0, 1]]),
        is_exact_pair=np.array([False, True]),
    )
    text = rendered(result, images(), [f"{row}.png" for row in range(N_ROWS)])
    page = Page(text)
    (pairs,) = [
        table
        for table in range(len(page.tables))
        if len(page.cells(table)) == 3 and "How alike" in page.cells(table)[0]
    ]
    assert [row[-1] for row in page.cells(pairs)[1:]] == [
        "equal, different labels",
        "nearly equal",
    ]
    assert page.cells(pairs)[1][:2] == ["Row 00.png", "cat"]
    assert "2 pairs of rows that are equal, or nearly. 1 claims different" in text_of(
        text
    )
    assert {0, 1, 3, 6} <= set(images_of(text))


def test_most_probable_classes_are_told():
    log_proba = np.log(np.tile([0.7, 0.2, 0.1], (N_ROWS, 1)))
    data = data_of(rendered(with_probabilities(log_proba=log_proba)))
    assert data["top"][0] == [[0, 0.7], [1, 0.2], [2, 0.1]]


def test_classes_are_counted():
    # Four rows claim each class. Suspects: none of the cats; 7 and 10 of the dogs,
    # likelier a cat and an owl, of which the cat comes first; 2 of the owls.
    page = Page(rendered())
    assert page.cells(-1)[1:] == [
        ["cat", "4", "0", "0 %", "–"],
        ["dog", "4", "2", "50 %", "cat 1 of 2 suspects"],
        ["owl", "4", "1", "25 %", "dog 1 of 1 suspect"],
    ]


def test_a_suspect_whose_claim_is_likeliest_names_no_likelier_class():
    likely = audit_result().claimed_labels
    text = rendered(audit_result(likely_labels=likely), images())
    assert Page(text).cells(-1)[2] == ["dog", "4", "2", "50 %", "–"]


def test_names_of_rows_and_classes_are_shown():
    names = [f"folder/{row}.png" for row in range(N_ROWS)]
    classes = ["Cats", "Dogs", "Owls"]
    text = rendered(None, images(), names, class_names=classes)
    data = data_of(text)
    assert data["name"][:3] == [f"folder/{row}.png" for row in SUSPECTS]
    assert data["classes"] == classes
    # What decisions.csv calls them.
    assert data["labels"] == ["cat", "dog", "owl"]
    # Without scripts.
    assert Page(text).cells(1)[1][:4] == ["7", "folder/7.png", "Dogs", "Cats"]


def test_integer_labels_may_have_any_values():
    claimed = np.array([-1, 10, 300])[np.arange(N_ROWS) % 3]
    likely = claimed.copy()
    likely[[7, 2, 10]] = [-1, 10, 300]
    result = audit_result(
        claimed_labels=claimed, likely_labels=likely, classes=np.array([-1, 10, 300])
    )
    data = data_of(rendered(result))
    assert data["labels"] == data["classes"] == ["-1", "10", "300"]
    assert data["claimed"][:3] == [1, 2, 1]
    assert data["likely"][:3] == [0, 1, 2]


def test_decisions_are_kept_for_the_data_and_not_for_the_audit():
    X, names = images(), [str(row) for row in range(N_ROWS)]
    key = data_of(rendered(None, X, names))["key"]
    again = with_probabilities(scores=np.zeros(N_ROWS))
    assert data_of(rendered(again, X, names, title="Again"))["key"] == key
    relabelled = audit_result().claimed_labels
    relabelled[0] = "dog"
    others = [
        rendered(audit_result(claimed_labels=relabelled), X, names),
        rendered(None, X + 1e-9, names),
        rendered(None, X, [*names[:-1], "other"]),
    ]
    assert len({key, *(data_of(page)["key"] for page in others)}) == 4


@pytest.mark.parametrize(
    "container",
    [
        list,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: pl.DataFrame({"text": texts}),
        lambda texts: pd.DataFrame({"text": texts}),
        lambda texts: {"text": texts},
        lambda texts: sparse.csr_matrix([[float(len(text))] for text in texts]),
    ],
)
def test_decisions_on_other_texts_are_kept_apart(container):
    first, second = ([f"{a} {i:0{i + 1}d}" for i in range(4)] for a in ("one", "three"))
    result = audit_result()
    assert data_key(result, container(first), None) == data_key(
        result, container(list(first)), None
    )
    assert data_key(result, container(first), None) != data_key(
        result, container(second), None
    )


def test_decisions_name_classes_and_data_without_rows():
    result = audit_result()
    more = dataclasses.replace(result, classes=np.append(result.classes, "zebra"))
    assert data_key(result, None, None) != data_key(more, None, None)
    assert data_key(result, None, None, "a") != data_key(result, None, None, "b")
    assert data_key(result, np.eye(4), None, "a") == data_key(
        result, np.eye(4), None, "b"
    )


def test_images_are_shown_as_they_are():
    X = images()
    shown = images_of(rendered(None, X))
    for row in SUSPECTS:
        np.testing.assert_array_equal(shown[row], np.rint(255 * X[row, 0].clip(0, 1)))


def test_images_of_three_channels_are_shown():
    X = images(n_channels=3)
    shown = images_of(rendered(None, X))
    expected = np.rint(255 * X.clip(0, 1)).transpose(0, 2, 3, 1)
    for row in SUSPECTS:
        np.testing.assert_array_equal(shown[row], expected[row])


def test_bytes_are_shown_as_bytes():
    X = np.arange(N_ROWS * 16, dtype=np.uint8).reshape(N_ROWS, 1, 4, 4)
    shown = images_of(rendered(None, X))
    np.testing.assert_array_equal(shown[7], X[7, 0])


def test_pixels_that_are_no_numbers_are_black():
    X = np.full((N_ROWS, 1, 2, 2), np.nan)
    assert not np.any(list(images_of(rendered(None, X)).values()))


def test_each_typical_image_is_embedded_once_and_missing_ones_are_left_out():
    X = images()
    data = data_of(rendered(None, X))
    assert data["contents"]["typical"] == {"0": [0, 3], "1": [1, 4], "2": [5]}
    assert {"0", "1", "3", "4", "5"} <= set(data["contents"]["images"])


@pytest.mark.parametrize(
    ("side", "shown", "is_crisp"), [(8, 8, True), (300, 224, False)]
)
def test_large_images_are_made_smaller_and_small_ones_stay_sharp(side, shown, is_crisp):
    text = rendered(None, images(side=side))
    assert images_of(text)[7].shape == (shown, shown)
    assert data_of(text)["contents"]["isCrisp"] == is_crisp


def test_without_contents_there_is_nothing_to_show():
    text = rendered()
    assert data_of(text)["contents"] is None
    assert "What the rows hold is not shown" not in text_of(text)


@pytest.mark.parametrize(
    "X", [images(n_channels=5), sparse.csr_array(np.ones((N_ROWS, 3)))], ids=str
)
def test_what_cannot_be_shown_is_announced(X):
    text = rendered(None, X)
    assert data_of(text)["contents"] is None
    assert "What the rows hold is not shown" in text_of(text)


def cells_of(contents, data, row):
    """Values of a row by column, and the columns that are marked as unusual."""
    cells = contents["cells"][data["row"].index(row)]
    named = [(contents["columns"][j]["name"], value, mark) for j, value, mark in cells]
    return {name: value for name, value, _ in named}, {
        n for n, _, mark in named if mark
    }


def test_values_outside_of_what_is_usual_for_the_claim_are_marked():
    # Dogs are rows 1, 4, 7, 10, of which 7 and 10 are suspects: 1 and 4 say what is
    # usual. Their middle 95 % in the first column is 10.05 to 11.95.
    X = np.zeros((N_ROWS, 3))
    X[[1, 4], 0] = [10.0, 12.0]
    X[7] = [11.0, 5.0, np.nan]
    X[10] = [11.99, 0.0, -np.inf]
    data = data_of(rendered(None, X, feature_names=["size", "legs", "age"]))
    contents = data["contents"]
    assert contents["kind"] == "table"
    assert contents["usual"]["1"][0] == [10.05, 11.95]
    assert cells_of(contents, data, 7) == (
        {"size": 11.0, "legs": 5.0, "age": None},
        {"legs"},
    )
    assert cells_of(contents, data, 10) == (
        {"size": 11.99, "legs": 0.0, "age": "-inf"},
        {"size", "age"},
    )


def test_of_wide_rows_the_most_unusual_values_are_shown():
    X = np.zeros((N_ROWS, 200))
    X[7, [150, 3]] = [9.0, 4.0]
    data = data_of(rendered(None, X))
    cells = data["contents"]["cells"][0]
    assert len(cells) == 16
    assert cells[:2] == [[150, 9.0, 1], [3, 4.0, 1]]


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, dict])
def test_columns_of_frames_are_shown_by_their_kind(frame):
    colour = ["red"] * N_ROWS
    colour[7] = "blue"
    age = [None, *map(float, range(1, N_ROWS))]
    comment = [f"a long comment {row} " * 3 for row in range(N_ROWS)]
    X = frame({"age": age, "colour": colour, "comment": comment})
    data = data_of(rendered(None, X))
    contents = data["contents"]
    kinds = {column["name"]: column["kind"] for column in contents["columns"]}
    assert kinds["age"] == "number"
    assert kinds["colour"] == "category"
    assert contents["usual"]["1"][1] == {"red": 1.0}
    values, unusual = cells_of(contents, data, 7)
    assert (values["age"], values["colour"]) == (7.0, "blue")
    assert values["comment"] == comment[7]
    assert "colour" in unusual


def test_texts_are_shown_as_texts():
    texts = [f"text {row} <b>" for row in range(N_ROWS - 1)] + ["x" * 5000]
    page = rendered(None, texts)
    contents = data_of(page)["contents"]
    assert contents["kind"] == "texts"
    assert contents["texts"][:3] == [texts[row] for row in SUSPECTS]
    assert contents["typical"]["2"] == [texts[5]]
    assert "<b>" not in page


def test_a_frame_with_one_column_of_texts_is_shown_as_texts():
    result = big_result(60, 3, 5)
    frame = pl.DataFrame({"comment": [f"comment {row}" for row in range(60)]})
    contents = data_of(rendered(result, frame))["contents"]
    assert contents["kind"] == "texts"
    assert contents["texts"][0] == f"comment {result.suspects[0]}"


def test_limits_are_kept_and_told():
    text = rendered(None, images(), max_rows=2, max_images=1)
    data = data_of(text)
    assert data["row"] == [7, 2]
    # The first suspect, and typical images of the classes of both.
    assert set(data["contents"]["images"]) == {"7", "0", "3", "1", "4", "5"}
    assert "1 suspect more is only in suspects.csv" in text_of(text)
    assert data_of(rendered(None, images(), max_images=0))["contents"]["images"] == {}


def test_a_list_of_no_rows_is_left_out():
    text = rendered(None, max_rows=0)
    assert Page(text).find("script") == []
    assert "3 of 12 labels look wrong." in text_of(text)


def test_nothing_suspect():
    result = audit_result(
        p_values=np.ones(N_ROWS), q_values=np.ones(N_ROWS), threshold=-np.inf
    )
    text = rendered(result, images())
    page = Page(text)
    assert page.find("input") == page.find("script") == []
    assert [row[2:] for row in page.cells(-1)[1:]] == [["0", "0 %", "–"]] * 3
    assert "None of 12 labels looks wrong." in text_of(text)
    assert "There is no threshold" in text_of(text)


def test_everything_suspect():
    result = audit_result(p_values=np.zeros(N_ROWS), threshold=0.0)
    text = rendered(result, images())
    assert sorted(data_of(text)["row"]) == list(range(N_ROWS))
    assert len(images_of(text)) == N_ROWS
    assert [row[3] for row in Page(text).cells(-1)[1:]] == ["100 %"] * 3


def test_a_histogram_of_probabilities_is_drawn_where_there_are_some():
    text = text_of(rendered(with_probabilities()))
    assert "How sure the audit is" in text
    # 0.2 and 0.8; neither 0.9 nor 0.995 nor the others.
    assert "2 rows lie between 10 and 90 %" in text


@pytest.mark.usefixtures("drawn")
def test_figures_take_the_colors_of_the_page_and_share_no_identifiers():
    text = rendered(with_probabilities())
    assert text.count("<svg ") == 2
    assert "currentColor" in text
    svg = "".join(re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL))
    assert not re.search(r": (#000000|black|#ffffff|white)\b", svg)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    pointed = re.findall(r'(?:xlink:href="#|url\(#)([^")]*)', svg)
    assert pointed
    assert set(pointed) <= set(ids)


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
    assert data_of(text)["row"][0] == 7
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
        (10, "2,000 of 5,000 rows are drawn, 10 of 10 suspects"),
        (2500, "2,000 of 5,000 rows are drawn, 1,000 of 2,500 suspects"),
        (4900, "2,000 of 5,000 rows are drawn, 1,900 of 4,900 suspects"),
        (5000, "2,000 of 5,000 rows are drawn, 2,000 of 5,000 suspects"),
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
    frame = pd.DataFrame({HOSTILE: [HOSTILE] * N_ROWS})
    for X in (images(), [HOSTILE] * N_ROWS, frame):
        text = rendered(result, X, names, title=HOSTILE, command=HOSTILE)
        page = Page(text)
        data, script = page.find("script")
        assert data == {"type": "application/json", "id": "data"}
        assert script == {}
        assert not any("onload" in attributes for _, attributes in page.elements)
        assert text.count("{{ 7 * 7 }}") > 5
        assert page.cells(1)[2][2] == HOSTILE
        assert data_of(text)["labels"] == [HOSTILE, "cat", "dog"]


def test_only_the_script_of_the_page_may_run():
    text = rendered(None, images())
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a for a in Page(text).find("meta") if "http-equiv" in a]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"] == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


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
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|innerHTML)\b", text)


def test_page_is_accessible_and_follows_the_color_scheme():
    text = rendered(None, images(), [str(row) for row in range(N_ROWS)])
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.find("html") == [{"lang": "en"}]
    assert len(page.find("h1")) == len(page.find("main")) == 1
    assert "prefers-color-scheme: dark" in text
    regions = [a for a in page.find("div") if a.get("class") == "scroll"]
    assert len(regions) == len(page.find("table")) == 3
    assert all(region["tabindex"] == "0" for region in regions)
    for tag in ("input", "select", "textarea", "button"):
        assert all("id" in a or "data-decision" in a for a in page.find(tag))
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
        ({"X": ["a text"]}, "X has 1 rows, but 12 were audited"),
        ({"X": {"a": [1.0]}}, "X has 1 rows, but 12 were audited"),
        (
            {"X": np.ones((N_ROWS, 2)), "feature_names": ["a"]},
            "feature_names has 1 entries for 2 columns",
        ),
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
    shown_images = images_of(page)
    assert set(shown_images) == shown
    for row, picture in shown_images.items():
        assert max(picture.shape) == 224
        # As near as JPEG comes.
        assert abs(int(picture[0, 0, 0]) - row) <= 2
