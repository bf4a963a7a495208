"""The README: its code runs, and what it shows of the results is what was measured."""

import importlib.util
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def readme_module():
    folder = ROOT / "docs" / "_extensions"
    spec = importlib.util.spec_from_file_location("readme_parts", folder / "readme.py")
    module = importlib.util.module_from_spec(spec)
    before, known = list(sys.path), set(sys.modules)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    for name in {"pictures", "results_page", "results_tables"} - known:
        sys.modules.pop(name, None)


def test_the_two_commands_stand_as_they_are():
    blocks = re.findall(r"```shell\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert blocks[:2] == [
        'pip install ".[cli]" && sklgm reproduce digits\n',
        'pip install ".[test]" && pytest\n',
    ]


def test_the_code_prints_what_the_readme_says(capsys):
    text = README.read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (expected,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    # Other machines and numbers of threads round differently.
    words, said = printed.split(), expected.split()
    assert len(words) == len(said)
    for word, asked in zip(words, said, strict=True):
        if re.fullmatch(r"[\d.]+%?", asked):
            value = float(asked.rstrip("%"))
            assert float(word.rstrip("%")) == pytest.approx(value, rel=0.05)
        else:
            assert word == asked


@pytest.mark.slow
def test_the_table_is_that_of_the_committed_results(readme_module):
    text = README.read_text("utf-8")
    assert readme_module.updated(text) == text


def test_the_picture_shows_the_committed_curve(readme_module):
    pictures = sys.modules["pictures"]
    points = pictures.certified_points()
    assert set(points["metric"]) == {"certified_accuracy", "attacked_accuracy"}
    namespace = {"svg": "http://www.w3.org/2000/svg"}
    root = ElementTree.parse(readme_module.PICTURE).getroot()
    lines = root.findall(".//svg:g[@id]", namespace)
    drawn = [
        [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path.get("d"))]
        for group in lines
        if re.fullmatch(r"line2d_\d+", group.get("id"))
        for path in group.findall("svg:path", namespace)
    ]
    # Heights in the drawing fall as accuracies rise, by one factor for all curves.
    victims = ("lgm_median", "smoothed_softmax_median", "softmax_median")
    values, heights = [], []
    curves = [heights_of for heights_of in drawn if len(heights_of) == 5]
    for victim, curve in zip(victims, curves, strict=True):
        proved = points.filter(victim=victim, metric="certified_accuracy")
        values += proved["value"].to_list()
        heights += curve
    ends = sorted(zip(values, heights, strict=True))
    (low, a), (high, b) = ends[0], ends[-1]
    for value, height in zip(values, heights, strict=True):
        expected = a + (b - a) * (value - low) / (high - low)
        assert height == pytest.approx(expected, abs=0.1)


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
