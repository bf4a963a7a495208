"""The page of an audit in Chromium: ``pytest -n 0 -m browser``."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from sklgm.auditing import audit, read_decisions
from sklgm.auditing._result import AuditResult
from sklgm.poisoning import flip_labels
from sklgm.report import write_audit_report
from tests.chromium import fetch_axe, running_chromium, serious_violations

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
N_ROWS, N_SUSPECTS = 300, 120
HOSTILE = "<img src=x onerror='window.hacked = 1'></script><script>hacked = 1</script>"
LONG = "a_label_without_any_space_that_is_far_wider_than_a_phone" * 2


@pytest.fixture(scope="module")
def chromium():
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def axe_source(tmp_path_factory):
    """The script of axe-core, from npm."""
    return fetch_axe(tmp_path_factory.mktemp("axe"))


def audit_result(n_suspects=N_SUSPECTS, class_names=("cat", "dog", "owl"), **changes):
    """Rows 0, 2, 4, ... are suspects, the last of them the most suspect."""
    n_rows = max(N_ROWS, 2 * n_suspects)
    rng = np.random.RandomState(0)
    classes = np.array(sorted(class_names))
    claimed = np.arange(n_rows) // 3 % len(classes)
    likely = claimed.copy()
    suspects = 2 * np.arange(n_suspects)
    likely[suspects] = (claimed[suspects] + 1 + rng.randint(2, size=n_suspects)) % len(
        classes
    )
    p_wrong = rng.uniform(0.001, 0.4, n_rows)
    p_wrong[suspects] = np.linspace(0.75, 0.999, n_suspects)
    order = np.argsort(-p_wrong, kind="stable")
    q_values = np.empty(n_rows)
    q_values[order] = np.cumsum(1 - p_wrong[order]) / np.arange(1, n_rows + 1)
    near = float(q_values[order[n_suspects]]) if n_suspects else 0.02
    last = float(q_values[order[n_suspects - 1]]) if n_suspects else 0.0
    values = {
        "claimed_labels": classes[claimed],
        "likely_labels": classes[likely],
        "scores": np.log(1 - p_wrong) - np.log(p_wrong),
        "p_values": 1 - p_wrong,
        "q_values": q_values,
        "p_wrong": p_wrong,
        "folds": np.zeros(n_rows, int),
        "classes": classes,
        "false_alarm_rate": None,
        "fdr": round((near + last) / 2, 4),
        "threshold": -1.0,
        "score_kind": "posterior",
        "n_trusted": 0,
        "noise_share": 0.1,
        "temperature": 1.2,
        "power": 1.0,
        "map_rows": np.arange(N_ROWS),
        "map_features": rng.normal(size=(N_ROWS, 5)),
        "typical_rows": np.flatnonzero(likely == claimed)[: 2 * len(classes)].reshape(
            len(classes), 2
        ),
        "settings": {"estimator": "LGMClassifier" * 30},
        "environment": {"python": "3.12"},
        "rows_to_check": np.array([1, 5, 8]),
        "duplicate_pairs": np.array([[1, 4], [7, 8]]),
        "is_exact_pair": np.array([True, False]),
    }
    return AuditResult(**values | changes)


RESULT = audit_result()
SUSPECTS = RESULT.suspects.tolist()
NAMES = [f"folder/{row:04d}_{LONG}.png" for row in range(N_ROWS)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Addresses of pages, by name."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(N_ROWS, 3, 8, 8))
    values = rng.normal(size=(N_ROWS, 3))
    values[SUSPECTS[0], 1] = 99.0
    texts = [f"Text {row}, {'which goes on and on, ' * 8}" for row in range(N_ROWS)]
    # Its drawing takes most of the time of a page.
    no_map = {"map_features": np.empty((N_ROWS, 0))}
    wide = [HOSTILE, LONG, *(f"class {k}" for k in range(58))]
    hostile = audit_result(class_names=wide, notes=(HOSTILE,), **no_map)
    arguments = {
        "images": (RESULT, X, NAMES),
        "table": (audit_result(**no_map), values),
        "texts": (audit_result(**no_map), texts),
        "nothing": (audit_result(n_suspects=0, **no_map), X),
        "hostile": (hostile, [HOSTILE] * N_ROWS, [HOSTILE] * N_ROWS),
        "trusted": (
            audit_result(p_wrong=None, n_trusted=99, noise_share=None, **no_map),
            X,
        ),
        "unlike": (audit_result(likely_labels=RESULT.claimed_labels, **no_map), X),
        "many": (audit_result(n_suspects=10_000, **no_map), None),
    }
    return {
        name: write_audit_report(folder / f"{name}.html", *given, title=name).as_uri()
        for name, given in arguments.items()
    }


@pytest.fixture
def open_page(chromium, pages):
    """Function that opens a page; no error may be logged, nothing be asked for."""
    said, asked, contexts = [], [], []

    def opened(name="images", size="desktop", context=None, **options):
        if context is None:
            width, height = SIZES[size]
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                is_mobile=size == "phone",
                **options,
            )
            contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages.get(name, name))
        return page

    opened.said, opened.asked = said, asked
    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert {address.split(":")[0] for address in asked} <= {"file", "data", "blob"}
    files = [address for address in asked if address.startswith("file")]
    assert all(address.endswith(".html") for address in files)


@pytest.fixture
def page(open_page):
    return open_page()


def shown_rows(page):
    """Numbers of all rows of the list, by going through it."""
    return page.evaluate(
        """async () => {
          const list = document.getElementById("list");
          const rows = new Map();
          for (let top = 0; ; top += list.clientHeight / 2) {
            list.scrollTop = top;
            await new Promise((done) => requestAnimationFrame(() =>
              requestAnimationFrame(done)));
            for (const item of list.querySelectorAll(".item")) {
              const text = item.querySelector("strong").textContent;
              rows.set(item.place, Number(text.split(" ")[1]));
            }
            if (top > list.scrollHeight) break;
          }
          return [...rows].sort((a, b) => a[0] - b[0]).map(([, row]) => row);
        }"""
    )


def selected(page):
    return int(page.locator("#detail-row").inner_text().split(" ")[1])


def stored(page):
    """Decisions that the browser keeps, by row."""
    text = page.evaluate("JSON.stringify(Object.values({...localStorage})[0] ?? '[]')")
    return {row: decision for row, decision, *_ in json.loads(json.loads(text))}


def downloaded(page, button="#download"):
    with page.expect_download() as waiting:
        page.locator(button).click()
    return waiting.value


@pytest.mark.parametrize("size", SIZES)
def test_no_page_is_wider_than_the_window(open_page, pages, size):
    page = open_page(size=size)
    for name in ("images", "table", "texts", "nothing", "hostile", "trusted"):
        page.goto(pages[name])
        page.evaluate(
            "document.querySelectorAll('details').forEach((e) => e.open = true)"
        )
        found = page.evaluate("document.documentElement.scrollWidth")
        assert found <= SIZES[size][0], name


@pytest.mark.parametrize("size", SIZES)
def test_verdict_and_suspects_are_on_the_first_screen(open_page, size):
    page = open_page(size=size)
    height = SIZES[size][1]
    assert (
        page.locator(".verdict strong").inner_text() == "120 of 300 labels look wrong."
    )
    for selector in (".verdict", "#item-0", "#item-1", ".actions", "#progress"):
        box = page.locator(selector).bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= height, selector


def test_text_of_the_data_is_not_run(open_page):
    page = open_page("hostile")
    page.keyboard.press("r")
    page.locator("#clear").evaluate("(button) => button.click()")
    assert page.evaluate("window.hacked") is None
    assert page.title() == "hostile"
    assert HOSTILE in page.locator("#filter-claimed").inner_text()
    assert HOSTILE in page.locator("#item-0 .name").inner_text()


def test_no_other_script_can_run(open_page):
    page = open_page()
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.hacked = 2");
          image.src = "https://example.org/x.png";
          document.body.append(image);
        }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    refused = [text for text in open_page.said if "Content Security Policy" in text]
    assert len(refused) == len(open_page.said) == 3
    open_page.said.clear()
    open_page.asked.remove("https://example.org/x.png")


def test_a_hundred_decisions_by_keyboard_come_back_from_the_file(open_page, tmp_path):
    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    claimed = np.array([f"digit {k}" for k in flip_labels(y, 0.08, random_state=0)])
    model = LogisticRegression(max_iter=300)
    P = cross_val_predict(model, X / 16, claimed, cv=3, method="predict_proba")
    result = audit(None, claimed, pred_probs=P)
    names = [f'{label}/{row}, "new".png' for row, label in enumerate(claimed)]
    path = write_audit_report(
        tmp_path / "page.html",
        result,
        X.reshape(-1, 1, 8, 8) / 16,
        names,
        title="Round",
    )
    page = open_page(path.as_uri())
    rows = result.suspects[:100].tolist()
    assert len(set(rows)) == 100
    page.locator("#list").focus()
    expected = {}
    for step, row in enumerate(rows):
        assert selected(page) == row
        decision = rng.choice(["keep", "relabel", "drop", "unsure"])
        label = ""
        if decision == "relabel":
            label = str(result.likely_labels[row])
            if step % 3 == 0:
                label = str(
                    rng.choice([k for k in result.classes if k != claimed[row]])
                )
                page.locator("#new-label").select_option(label=label)
                page.locator("#new-label").press("Enter")
                expected[row] = (decision, label)
                continue
        page.keyboard.press(decision[0])
        expected[row] = (decision, label)
    assert page.locator("#progress-text").inner_text().startswith("100 of")
    path = tmp_path / "decisions.csv"
    download = downloaded(page)
    assert download.suggested_filename == "decisions.csv"
    download.save_as(path)
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["row", "name", "claimed_label", "decision", "new_label"]
    assert [int(line["row"]) for line in lines] == sorted(rows)
    for line in lines:
        row = int(line["row"])
        assert (line["decision"], line["new_label"]) == expected[row]
        assert (line["name"], line["claimed_label"]) == (names[row], claimed[row])
    decisions = read_decisions(path)
    assert decisions == {row: decision for row, (decision, _) in expected.items()}
    review = audit(None, claimed, pred_probs=P, decisions=decisions).review
    counts = {d: list(decisions.values()).count(d) for d in decisions.values()}
    assert review.n_checked == 100 - counts["unsure"]
    assert review.n_wrong == counts["relabel"] + counts["drop"]


@pytest.mark.parametrize("size", SIZES)
def test_decisions_are_made_by_click_and_go_on_to_the_next_row(open_page, size):
    page = open_page(size=size)
    for decision in ("keep", "relabel", "drop", "unsure"):
        page.locator(f"[data-decision={decision}].button").click()
    assert selected(page) == SUSPECTS[4]
    assert stored(page) == dict(
        zip(SUSPECTS[:4], ("keep", "relabel", "drop", "unsure"), strict=True)
    )
    assert page.locator("#progress-text").inner_text() == "4 of 120 decided"
    likely = RESULT.likely_labels[SUSPECTS[1]]
    assert page.locator("#item-1 .decision").inner_text() == f"relabel as {likely}"
    assert "(4)" in page.locator("#download").inner_text()


def test_relabelling_takes_the_likelier_label_unless_another_is_chosen(page):
    first = SUSPECTS[0]
    chosen = page.locator("#new-label option:checked")
    assert chosen.inner_text() == RESULT.likely_labels[first]
    other = next(
        k
        for k in ("cat", "dog", "owl")
        if k not in (RESULT.likely_labels[first], RESULT.claimed_labels[first])
    )
    page.locator("#new-label").select_option(label=other)
    page.locator("[data-decision=relabel].button").click()
    assert page.locator("#item-0 .decision").inner_text() == f"relabel as {other}"
    assert chosen.inner_text() == RESULT.likely_labels[SUSPECTS[1]]


def test_a_row_is_never_relabelled_as_what_it_is(open_page):
    page = open_page("unlike")
    row = selected(page)
    chosen = page.locator("#new-label option:checked").inner_text()
    assert chosen != RESULT.claimed_labels[row]
    page.locator("#new-label").select_option(label=str(RESULT.claimed_labels[row]))
    page.locator("#new-label").press("Enter")
    assert stored(page) == {row: "keep"}


def test_decisions_are_undone_in_turn(page):
    page.locator("#list").focus()
    for key in "kdu":
        page.keyboard.press(key)
    page.keyboard.press("Control+z")
    assert (selected(page), len(stored(page))) == (SUSPECTS[2], 2)
    page.keyboard.press("z")
    page.locator("#undo").click()
    assert (selected(page), stored(page)) == (SUSPECTS[0], {})
    assert page.locator("#undo").is_disabled()
    assert page.locator("#said").inner_text() == f"Undone: row {SUSPECTS[0]}."


def test_the_same_decision_again_takes_it_back(page):
    page.keyboard.press("k")
    page.keyboard.press("ArrowUp")
    keep = page.locator("[data-decision=keep].button")
    assert keep.get_attribute("aria-pressed") == "true"
    page.keyboard.press("k")
    assert keep.get_attribute("aria-pressed") == "false"
    assert (selected(page), stored(page)) == (SUSPECTS[0], {})


def test_arrows_and_other_keys_go_through_the_list(page):
    visited = []
    for key in ("ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft", "End", "Home"):
        page.keyboard.press(key)
        visited.append(SUSPECTS.index(selected(page)))
    assert visited == [1, 2, 1, 0, 119, 0]
    page.locator("#list").focus()
    page.keyboard.press("PageDown")
    assert 3 <= SUSPECTS.index(selected(page)) <= 12
    active = page.locator("#list").get_attribute("aria-activedescendant")
    option = page.locator(f"#{active}")
    assert option.get_attribute("aria-selected") == "true"
    row = selected(page)
    said = " ".join(option.text_content().split())
    assert f"claimed {RESULT.claimed_labels[row]}" in said
    assert f", likelier {RESULT.likely_labels[row]}" in said


def test_letters_decide_on_nothing_where_text_is_written(page):
    page.locator("#filter-text").focus()
    page.keyboard.type("duk")
    page.locator("#new-label").focus()
    page.keyboard.press("k")
    assert stored(page) == {}


def test_keys_can_be_switched_off(page):
    page.locator(".menu summary").click()
    page.locator("#keys").uncheck()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    page.locator("#list").focus()
    for key in "krduz":
        page.keyboard.press(key)
    assert stored(page) == {}
    page.keyboard.press("ArrowDown")
    assert selected(page) == SUSPECTS[1]


def test_decisions_wait_in_the_browser_for_the_same_data(open_page):
    page = open_page()
    page.keyboard.press("k")
    page.keyboard.press("d")
    page.reload()
    assert page.locator("#progress-text").inner_text() == "2 of 120 decided"
    assert page.locator("#item-1 .decision").inner_text() == "drop"
    other = open_page("table", context=page.context)
    assert other.locator("#progress-text").inner_text() == "0 of 120 decided"
    # A second tab of the same data follows.
    second = open_page(context=page.context)
    second.keyboard.press("ArrowDown")
    second.keyboard.press("u")
    # No wait_for_function: its eval is what the page forbids.
    page.locator("#item-1 .decision", has_text="unsure").wait_for()


def test_where_nothing_is_kept_the_page_says_so(open_page):
    page = open_page()
    assert page.locator("#storage").is_hidden()
    page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw Error('full'); }; }"
    )
    page.keyboard.press("k")
    assert "download them before you close" in page.locator("#storage").inner_text()


def expected_right(rows):
    return f"{np.sum(1 - RESULT.p_wrong[rows]):.0f} with right labels expected"


def test_the_slider_shows_rows_up_to_a_rate_and_what_is_expected_of_them(page):
    assert page.locator("#expected").inner_text() == (
        f"120 rows; about {expected_right(SUSPECTS)} among them."
    )
    assert "as audited: q ≤" in page.locator("#rate-text").inner_text()
    slider = page.locator("#filter-rate")
    assert slider.get_attribute("aria-valuetext").endswith(f"q ≤ {RESULT.fdr:.3g})")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    rate = float(page.locator("#rate-text").inner_text().split()[0]) / 100
    assert rate > RESULT.fdr
    near = [r for r in RESULT.ranking.tolist() if RESULT.q_values[r] <= rate]
    assert len(near) > 120
    assert shown_rows(page) == near
    assert expected_right(near) in page.locator("#expected").inner_text()
    page.locator("#filter-reset").click()
    assert shown_rows(page) == SUSPECTS


def test_text_filters_the_list(page):
    page.locator("#filter-text").fill("FOLDER/0004_")
    assert shown_rows(page) == [4]
    page.locator("#filter-text").fill("no such row")
    assert page.locator(".item").count() == 0
    assert page.locator("#detail-row").inner_text() == "No row"
    assert page.locator("[data-decision=keep].button").is_hidden()


@pytest.mark.parametrize("kind", ["claimed", "likely"])
def test_labels_filter_the_list(page, kind):
    labels = getattr(RESULT, f"{kind}_labels")
    page.locator(f"#filter-{kind}").select_option(label="dog")
    assert shown_rows(page) == [row for row in SUSPECTS if labels[row] == "dog"]


def test_decisions_filter_the_list_and_decided_rows_leave_it(page):
    page.locator("#filter-decision").select_option("none")
    page.locator("#list").focus()
    for key in "kd":
        page.keyboard.press(key)
    assert selected(page) == SUSPECTS[2]
    assert shown_rows(page) == SUSPECTS[2:]
    page.locator("#filter-decision").select_option("drop")
    assert shown_rows(page) == [SUSPECTS[1]]


@pytest.mark.parametrize(
    ("reason", "rows"), [("toCheck", {1, 5, 8}), ("duplicate", {1, 4, 7, 8})]
)
def test_other_rows_than_suspects_can_be_listed(page, reason, rows):
    labels = RESULT.claimed_labels
    pairs = [pair for pair in ([1, 4], [7, 8]) if labels[pair[0]] != labels[pair[1]]]
    if reason == "duplicate":
        rows = {row for pair in pairs for row in pair}
    page.locator("#filter-reason").select_option(reason)
    assert set(shown_rows(page)) == rows
    assert page.locator("#filter-rate").is_disabled()


def test_without_suspects_what_else_there_is_to_check_is_listed(open_page):
    page = open_page("nothing")
    assert page.locator(".verdict strong").inner_text() == (
        "None of 300 labels looks wrong."
    )
    assert page.locator("#filter-reason").input_value() == "toCheck"
    assert set(shown_rows(page)) == {1, 5, 8}


def test_a_number_of_the_matrix_filters_and_gives_back(page):
    claimed, likely = RESULT.claimed_labels, RESULT.likely_labels
    rows = [r for r in SUSPECTS if (claimed[r], likely[r]) == ("cat", "owl")]
    button = page.get_by_role(
        "button", name=f"{len(rows)} rows: claimed cat, likelier owl", exact=True
    )
    assert button.inner_text() == str(len(rows))
    button.press("Enter")
    assert shown_rows(page) == rows
    page.locator("[aria-pressed=true]:focus").wait_for()
    page.keyboard.press("Enter")
    assert shown_rows(page) == SUSPECTS


def test_a_row_of_a_pair_leads_to_the_list(page):
    page.get_by_role("button", name="Row 4", exact=True).click()
    assert selected(page) == 4
    assert page.locator("#list").evaluate("(list) => list === document.activeElement")


def test_images_stand_beside_typical_ones(page):
    broken = page.evaluate(
        "() => [...document.images].filter((image) => !image.naturalWidth).length"
    )
    assert broken == 0
    first = SUSPECTS[0]
    claimed, likely = RESULT.claimed_labels[first], RESULT.likely_labels[first]
    assert page.locator("img.large").get_attribute("alt") == (
        f"Row {first}, claimed {claimed}"
    )
    headings = page.locator(".of-class h3").all_inner_texts()
    assert headings == [f"claimed {claimed}", f"likelier {likely}"]
    assert page.locator(".typical img").count() == 4


def test_unusual_values_of_a_table_are_marked(open_page):
    page = open_page("table")
    marked = page.locator(".values .unusual").all_inner_texts()
    assert any("column 1" in text and "99" in text for text in marked)
    assert page.locator(".values tbody tr").count() == 3
    cell = page.get_by_role("cell", name="unusually high: 99")
    assert cell.count() == 1


def test_texts_are_shown_and_found(open_page):
    page = open_page("texts")
    assert page.locator("blockquote").inner_text().startswith(f"Text {SUSPECTS[0]},")
    page.locator("#filter-text").fill("text 100,")
    assert shown_rows(page) == [100]


def test_against_trusted_rows_p_values_stand_for_probabilities(open_page):
    page = open_page("trusted")
    assert page.locator("#item-0 .suspicion").inner_text().startswith("p\u00a0=")
    assert "at most about" in page.locator("#expected").inner_text()


def test_tasks_of_label_studio_hold_the_likelier_label_and_the_decision(page):
    page.keyboard.press("k")
    page.keyboard.press("r")
    page.keyboard.press("d")
    page.locator(".menu summary").click()
    download = downloaded(page, "#label-studio")
    tasks = json.loads(Path(download.path()).read_text(encoding="utf-8"))
    assert [task["data"]["row"] for task in tasks] == SUSPECTS
    first = tasks[0]
    assert first["data"]["image"] == f"/data/local-files/?d={NAMES[SUSPECTS[0]]}"
    assert first["data"]["claimed_label"] == RESULT.claimed_labels[SUSPECTS[0]]
    (prediction,) = first["predictions"]
    assert prediction["score"] == pytest.approx(RESULT.p_wrong[SUSPECTS[0]], rel=1e-3)
    assert prediction["result"] == [
        {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [RESULT.likely_labels[SUSPECTS[0]]]},
        }
    ]
    made = [
        task["annotations"][0]["result"][0]["value"]["choices"][0] for task in tasks[:2]
    ]
    assert made == [
        RESULT.claimed_labels[SUSPECTS[0]],
        RESULT.likely_labels[SUSPECTS[1]],
    ]
    assert "annotations" not in tasks[2]
    config = page.locator("#label-config").input_value()
    assert '<Image name="image" value="$image"/>' in config
    assert re.findall(r'Choice value="(\w+)"', config) == ["cat", "dog", "owl"]


def test_a_file_of_decisions_is_loaded_and_what_does_not_fit_is_told(page, tmp_path):
    claimed = RESULT.claimed_labels
    wrong = next(k for k in ("cat", "dog", "owl") if k != claimed[2])
    lines = [
        ["row", "name", "claimed_label", "decision", "new_label"],
        [0, NAMES[0], claimed[0], "relabel", "owl"],
        [2, NAMES[2], wrong, "keep", ""],
        [4, NAMES[4], claimed[4], "drop", ""],
        [6, NAMES[6], claimed[6], "nonsense", ""],
        [100_000, "x", "cat", "keep", ""],
    ]
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    path = tmp_path / "decisions.csv"
    path.write_text(text.getvalue(), encoding="utf-8-sig")
    page.keyboard.press("k")
    page.locator("#load").set_input_files(path)
    page.locator("#said", has_text="loaded").wait_for(state="attached")
    assert page.locator("#said").inner_text() == (
        "2 decisions loaded. 3 lines did not fit these data and were left out."
    )
    assert stored(page) == {SUSPECTS[0]: "keep", 0: "relabel", 4: "drop"}
    page.locator("#undo").click()
    assert stored(page) == {SUSPECTS[0]: "keep"}


def test_files_of_spreadsheets_are_read_as_sklgm_reads_them(page, tmp_path):
    claimed = RESULT.claimed_labels
    other = next(k for k in ("cat", "dog", "owl") if k != claimed[0])
    path = tmp_path / "decisions.csv"

    def load(*lines):
        path.write_text("\r\n".join(lines), encoding="utf-8")
        page.evaluate("document.querySelector('#said').textContent = ''")
        page.locator("#load").set_input_files(path)
        page.locator("#said", has_text="loaded").wait_for(state="attached")
        return page.locator("#said").inner_text()

    # Semicolons, another case, and the likelier label of the list itself.
    said = load(
        "Row;Claimed_Label;Decision;likely_label",
        f"0;{claimed[0]};relabel;{other}",
        f"4;{claimed[4]};relabel;{claimed[4]}",
    )
    assert said == (
        "1 decision loaded. 1 line did not fit these data and was left out."
    )
    assert stored(page) == {0: "relabel"}
    (entry,) = json.loads(page.evaluate("Object.values({...localStorage})[0]"))
    assert entry[2] == sorted(set(claimed.tolist())).index(other)
    assert "0 decisions loaded. 1 line did not fit" in load("number,what", "0,keep")


def test_names_that_are_formulas_are_written_as_text(open_page, tmp_path):
    names = ["=HYPERLINK(1)", "-1", "@x", 'a "b", c\nd'] * (N_ROWS // 4)
    path = write_audit_report(tmp_path / "p.html", RESULT, None, names, title="F")
    page = open_page(path.as_uri())
    for _ in range(8):
        page.keyboard.press("k")
    target = tmp_path / "decisions.csv"
    downloaded(page).save_as(target)
    RESULT.save(tmp_path / "lists", names)
    with (tmp_path / "lists" / "suspects.csv").open(newline="") as file:
        expected = {line["row"]: line["name"] for line in csv.DictReader(file)}
    with target.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 8
    for line in found:
        assert line["name"] == expected[line["row"]]
    assert len(read_decisions(target)) == 8


def test_of_ten_thousand_rows_only_those_in_view_are_elements(open_page):
    page = open_page("many")
    assert page.locator(".item").count() < 40
    page.keyboard.press("End")
    last = page.locator("[aria-posinset='10000']")
    assert last.get_attribute("aria-selected") == "true"
    assert last.get_attribute("aria-setsize") == "10000"
    assert page.locator(".item").count() < 40
    page.evaluate("document.getElementById('list').scrollTop = 300000")
    page.locator(f"#item-{300_000 // 60}").wait_for(state="attached")
    assert page.locator("#detail-place").inner_text() == "10,000 of 10,000"


AXE_VIEWS = [
    ("images", "desktop", "light"),
    ("images", "phone", "dark"),
    ("table", "desktop", "dark"),
    ("texts", "phone", "light"),
    ("hostile", "desktop", "light"),
]


@pytest.mark.parametrize(("name", "size", "scheme"), AXE_VIEWS)
def test_axe_finds_nothing_serious(open_page, axe_source, name, size, scheme):
    page = open_page(name, size, color_scheme=scheme, bypass_csp=True)
    for key in "krdu":
        page.keyboard.press(key)
    page.evaluate("document.querySelectorAll('details').forEach((e) => e.open = true)")
    page.keyboard.press("ArrowUp")
    assert serious_violations(page, axe_source) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_follow_the_scheme(open_page, scheme):
    page = open_page(color_scheme=scheme)
    colors = page.evaluate(
        """() => [
          getComputedStyle(document.body).backgroundColor,
          getComputedStyle(document.querySelector(".pictures svg text")).fill,
        ].map((color) => Number(color.match(/\\d+/)[0]))"""
    )
    paper, ink = colors
    assert (paper > 200 > 100 > ink) == (scheme == "light")
    assert (paper < 60 < 180 < ink) == (scheme == "dark")


def test_nothing_moves_where_motion_is_unwelcome(open_page):
    page = open_page(reduced_motion="reduce")
    durations = page.evaluate(
        """() => [...document.querySelectorAll("*")].flatMap((element) => {
          const style = getComputedStyle(element);
          return [style.transitionDuration, style.animationDuration];
        }).filter((text) => !/^(0s(, )?)+$/.test(text) && text !== "auto")"""
    )
    assert durations == []


def test_on_paper_all_rows_of_the_list_are_printed(page):
    page.keyboard.press("d")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    lines = page.locator("#print-list tbody tr")
    assert lines.count() == 120
    assert lines.first.inner_text().split("\t")[0] == str(SUSPECTS[0])
    assert lines.first.inner_text().endswith("drop")
    assert page.locator("#list").is_hidden()
    assert page.locator("#download").is_hidden()


def test_without_scripts_suspects_are_listed(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator(".plain tbody tr").count() == 100
    assert page.locator("#list").is_hidden()
    assert "JavaScript, which is off" in page.locator(".plain").inner_text()


def test_the_tabulator_reaches_all_controls_in_order(page):
    visited = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
              const found = document.activeElement;
              const name = found.id || found.dataset.decision || found.tagName;
              return [name, getComputedStyle(found).outlineStyle];
            }"""
        )
        if name == "new-label":
            visited.append(name)
            continue
        if name == "matrix" or visited[-1:] == ["BODY"] or len(visited) > 22:
            break
        assert outline == "solid", name
        visited.append(name)
    assert visited[:14] == [
        "A",
        "SUMMARY",
        "filter-rate",
        "filter-reason",
        "filter-decision",
        "filter-claimed",
        "filter-likely",
        "filter-text",
        "filter-reset",
        "list",
        "detail",
        "keep",
        "relabel",
        "new-label",
    ]
    assert visited[14:16] == ["drop", "unsure"]


def test_the_skip_link_leads_to_the_list(page):
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert selected(page) == SUSPECTS[1]
