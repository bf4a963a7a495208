"""The page of an audit in a browser: ``pytest -m browser``."""

import importlib
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from sklgm.auditing._result import AuditResult
from sklgm.report import write_audit_report

pytestmark = pytest.mark.browser

# Names of selenium, which the extra "browser" brings: tests that are not asked for
# are deselected without it.
ENTER, SPACE, TAB = "\ue007", "\ue00d", "\ue004"

SIZES = {"wide": (1280, 900, False), "phone": (360, 740, True)}
N_ROWS, N_SUSPECTS, BATCH = 300, 40, 24
HOSTILE = "<img src=x onerror='window.hacked = 1'></script><script>hacked = 1</script>"
LONG = "a_label_without_any_space_that_is_far_wider_than_a_phone" * 2


def select(element):
    """A list of choices."""
    return importlib.import_module("selenium.webdriver.support.select").Select(element)


def audit_result(n_suspects=N_SUSPECTS, class_names=("cat", "dog", "owl")):
    """Rows 0, 3, 6, ... are suspects, the last one the most suspect."""
    rng = np.random.RandomState(0)
    classes = np.array(sorted(class_names))
    claimed = np.arange(N_ROWS) // 3 % len(classes)
    likely = claimed.copy()
    suspects = 3 * np.arange(n_suspects)
    likely[suspects] = rng.randint(len(classes), size=n_suspects)
    p_values = rng.uniform(0.02, 1, N_ROWS)
    p_values[suspects] = 0.01 * np.linspace(1, 0.001, n_suspects)
    return AuditResult(
        claimed_labels=classes[claimed],
        likely_labels=classes[likely],
        scores=np.log(p_values),
        p_values=p_values,
        q_values=false_discovery_control(p_values),
        folds=np.zeros(N_ROWS, int),
        classes=classes,
        false_alarm_rate=0.01,
        threshold=-4.6,
        score_kind="posterior",
        n_trusted=0,
        noise_share=0.1,
        temperature=1.2,
        map_rows=np.arange(N_ROWS),
        map_features=rng.normal(size=(N_ROWS, 5)),
        typical_rows=np.flatnonzero(likely == claimed)[: 4 * len(classes)].reshape(
            len(classes), 4
        ),
        settings={"estimator": "LGMClassifier" * 30},
        environment={"python": "3.12"},
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Addresses of pages, by name."""
    folder = tmp_path_factory.mktemp("pages")
    X = np.random.RandomState(0).uniform(size=(N_ROWS, 3, 8, 8))
    names = [f"folder/{row:04d}_{LONG}.png" for row in range(N_ROWS)]
    wide = [HOSTILE, LONG, *(f"class {k}" for k in range(58))]
    arguments = {
        "images": (audit_result(), X, names),
        "table": (audit_result(), X.reshape(N_ROWS, -1)),
        "nothing": (audit_result(n_suspects=0), X),
        "hostile": (audit_result(class_names=wide), X, [HOSTILE] * N_ROWS),
    }
    return {
        name: write_audit_report(folder / f"{name}.html", *given, title=name).as_uri()
        for name, given in arguments.items()
    }


@pytest.fixture(scope="module")
def driver():
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    executable = shutil.which("chromedriver")
    if browser is None or executable is None:
        pytest.skip("needs Chromium and its chromedriver")
    webdriver = importlib.import_module("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = importlib.import_module("selenium.webdriver.chrome.service").Service
    driver = webdriver.Chrome(options=options, service=service(executable))
    driver.set_page_load_timeout(120)
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(params=SIZES)
def open_page(request, driver, pages):
    """Function that opens a page, once at each size; no error may be logged."""
    width, height, is_mobile = SIZES[request.param]
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile},
    )

    def opened(name="images"):
        driver.get(pages[name])
        assert driver.execute_script("return innerWidth") == width
        return driver

    yield opened
    assert driver.get_log("browser") == []


@pytest.fixture
def page(open_page):
    return open_page()


def shown(page, selector):
    """Row numbers of the elements that are displayed, in their order."""
    return page.execute_script(
        """return [...document.querySelectorAll(arguments[0])]
        .filter((e) => e.offsetParent !== null)
        .map((e) => Number(e.dataset.search.split(" ")[0]))""",
        selector,
    )


def rows_of(page):
    return shown(page, "#suspect-table tbody tr")


def cards_of(page):
    return shown(page, ".gallery > li")


def count_of(page):
    return page.find_element("id", "count").text


def fill(page, name, text):
    control = page.find_element("id", f"filter-{name}")
    control.clear()
    control.send_keys(text)


def header(page, name):
    path = f"//table[@id='suspect-table']//th[button[text()='{name}']]"
    return page.find_element("xpath", path)


def column(page, name):
    """Texts of a column of the table of suspects."""
    return page.execute_script(
        """const index = arguments[0].cellIndex;
        return [...document.querySelectorAll("#suspect-table tbody tr")]
        .map((row) => row.cells[index].textContent)""",
        header(page, name),
    )


@pytest.mark.parametrize("name", ["images", "table", "nothing", "hostile"])
def test_page_is_not_wider_than_the_window(open_page, name):
    page = open_page(name)
    widths = "[document.documentElement.scrollWidth, innerWidth]"
    for details in page.find_elements("tag name", "summary"):
        details.click()
    found, allowed = page.execute_script(f"return {widths}")
    assert found <= allowed


def test_text_of_the_data_is_not_run(open_page):
    page = open_page("hostile")
    assert page.execute_script("return window.hacked") is None
    assert page.title == "hostile"
    assert HOSTILE in column(page, "Name")


def test_nothing_is_loaded_from_elsewhere(page):
    loaded = page.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_all_images_are_decoded(page):
    broken = page.execute_script(
        "return [...document.images].filter((image) => !image.naturalWidth).length"
    )
    assert broken == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_follow_the_scheme_and_can_be_read(page, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    for selector in ("body", "thead button", ".note", ".count", ".role", ".button"):
        colors = page.execute_script(
            """let element = document.querySelector(arguments[0]);
            const ink = getComputedStyle(element).color;
            const paper = (e) => getComputedStyle(e).backgroundColor;
            while (paper(element) === "rgba(0, 0, 0, 0)")
              element = element.parentElement;
            return [ink, paper(element)].map((color) =>
              color.match(/[\\d.]+/g).slice(0, 3).map(Number))""",
            selector,
        )
        ink, paper = (luminance(color) for color in colors)
        assert (paper > ink) == (scheme == "light")
        # Level AA of the Web Content Accessibility Guidelines.
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, selector


def luminance(color):
    """Relative luminance of an sRGB color of values up to 255, in [0, 1]."""
    share = np.array(color) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_without_scripts_table_and_gallery_are_there(driver, pages):
    toggle = "Emulation.setScriptExecutionDisabled"
    driver.execute_cdp_cmd(toggle, {"value": True})
    try:
        driver.get(pages["images"])
        # What is displayed, asked without a script.
        nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    finally:
        driver.execute_cdp_cmd(toggle, {"value": False})
    nodes = [node for node in nodes if not node["ignored"]]
    roles = Counter(node["role"]["value"] for node in nodes)
    n_classes = 3
    assert roles["row"] == 1 + N_SUSPECTS + 1 + n_classes
    assert roles["button"] == roles["searchbox"] == 0
    names = [node["name"]["value"] for node in nodes if "name" in node]
    images = [name for name in names if re.fullmatch(r"Row \d+, claimed \w+", name)]
    assert len(images) == N_SUSPECTS


def test_suspects_come_in_order_and_images_in_batches(page):
    suspects = audit_result().suspects.tolist()
    assert rows_of(page) == suspects
    assert cards_of(page) == suspects[:BATCH]
    assert count_of(page) == "40 of 40 images and 40 of 40 rows of the table match."
    assert header(page, "Rank").get_attribute("aria-sort") == "ascending"


def test_more_images_are_shown_on_demand_and_get_the_focus(page):
    more = page.find_element("id", "more")
    assert more.text == "Show 16 more of 16 images"
    more.send_keys(ENTER)
    assert cards_of(page) == audit_result().suspects.tolist()
    assert not more.is_displayed()
    focused = page.switch_to.active_element.get_attribute("data-search")
    assert int(focused.split(" ")[0]) == audit_result().suspects[BATCH]


@pytest.mark.parametrize("keys", [None, ENTER, SPACE], ids=["click", "enter", "space"])
def test_columns_are_sorted_by_click_and_by_key(page, keys):
    result = audit_result()

    def press(name):
        button = header(page, name).find_element("tag name", "button")
        if keys is None:
            scroll = "arguments[0].scrollIntoView({block: 'center', inline: 'center'})"
            page.execute_script(scroll, button)
            button.click()
        else:
            button.send_keys(keys)
            assert page.switch_to.active_element == button

    suspects = result.suspects
    press("Row")
    assert rows_of(page) == sorted(suspects)
    assert header(page, "Row").get_attribute("aria-sort") == "ascending"
    assert header(page, "Rank").get_attribute("aria-sort") is None
    press("Row")
    assert rows_of(page) == sorted(suspects, reverse=True)
    assert header(page, "Row").get_attribute("aria-sort") == "descending"
    press("p-value")
    assert rows_of(page) == suspects.tolist()
    press("Score")
    press("Score")
    assert rows_of(page) == suspects[np.argsort(-result.scores[suspects])].tolist()
    press("Claimed")
    labels = column(page, "Claimed")
    assert labels == sorted(labels)
    press("Name")
    names = column(page, "Name")
    assert names == sorted(names)


def test_the_table_of_classes_is_sorted_too(page):
    button = page.find_element("xpath", "//button[text()='Suspects']")
    button.click()
    button.click()
    cells = page.find_elements("css selector", "#overview tbody tr td:nth-child(3)")
    counts = [int(cell.text) for cell in cells]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == N_SUSPECTS


def test_text_filters_table_and_gallery(page):
    fill(page, "text", "FOLDER/0003_")
    assert rows_of(page) == cards_of(page) == [3]
    assert count_of(page) == "1 of 40 images and 1 of 40 rows of the table match."
    fill(page, "text", "no such row")
    assert rows_of(page) == cards_of(page) == []
    assert count_of(page) == "0 of 40 images and 0 of 40 rows of the table match."


@pytest.mark.parametrize("kind", ["claimed", "likely"])
def test_classes_filter_table_and_gallery(page, kind):
    result = audit_result()
    control = select(page.find_element("id", f"filter-{kind}"))
    label = control.options[1].text
    control.select_by_visible_text(label)
    labels = {"claimed": result.claimed_labels, "likely": result.likely_labels}[kind]
    expected = [row for row in result.suspects.tolist() if labels[row] == label]
    assert 0 < len(expected) < N_SUSPECTS
    assert rows_of(page) == expected
    assert cards_of(page) == expected[:BATCH]


def test_largest_p_value_filters_table_and_gallery(page):
    result = audit_result()
    fill(page, "p", "0.005")
    expected = [row for row in result.suspects if result.p_values[row] <= 0.005]
    assert 0 < len(expected) < BATCH
    assert rows_of(page) == cards_of(page) == expected


def test_a_p_value_as_shown_keeps_its_row(page):
    text = column(page, "p-value")[4]
    fill(page, "p", text)
    assert len(rows_of(page)) == 5


def test_filters_are_joined_kept_while_sorting_and_reset(page):
    result = audit_result()
    select(page.find_element("id", "filter-claimed")).select_by_index(1)
    fill(page, "p", "0.008")
    joined = rows_of(page)
    assert 0 < len(joined) < N_SUSPECTS
    header(page, "Row").find_element("tag name", "button").click()
    assert rows_of(page) == sorted(joined)
    page.find_element("id", "filter-reset").click()
    assert rows_of(page) == sorted(result.suspects)
    assert cards_of(page) == result.suspects[:BATCH].tolist()
    for control in page.find_elements("css selector", ".filter input"):
        assert control.get_attribute("value") == ""


def test_the_count_is_announced(page):
    assert page.find_element("id", "count").get_attribute("role") == "status"


def test_the_tabulator_reaches_all_controls_in_order(page):
    """Skip link, contents, filter, images, list, classes, settings."""
    visited = []
    for _ in range(40):
        page.switch_to.active_element.send_keys(TAB)
        found = page.switch_to.active_element
        if found.tag_name == "body":
            break
        outline = page.execute_script(
            "return getComputedStyle(arguments[0]).outlineStyle", found
        )
        assert outline == "solid"
        name = found.get_attribute("id") or found.get_attribute("aria-labelledby")
        visited.append(name or found.text)
    columns = "Rank Row Claimed Likelier p-value q-value Score Name".split()
    of_classes = ["Claimed", "Rows", "Suspects", "Share", "Most often likelier"]
    contents = ["What this says", "Suspects", "Scores and classes", "How it was made"]
    controls = [
        f"filter-{name}" for name in ("text", "claimed", "likely", "p", "reset")
    ]
    assert visited == [
        "Skip to the suspects",
        *contents,
        *controls,
        "more",
        "list",
        *columns,
        "by-class",
        *of_classes,
        "Settings and environment",
    ]


def test_the_skip_link_leads_to_the_suspects(page):
    link = page.find_element("class name", "skip")
    link.send_keys(ENTER)
    page.switch_to.active_element.send_keys(TAB)
    assert page.switch_to.active_element.get_attribute("id") == "filter-text"
