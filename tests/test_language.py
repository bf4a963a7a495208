"""Texts that people read keep to the replaced patterns of the contributing guide."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "contributing.rst"
_UNITS = (
    "batch bin box channel class cluster column core device dimension epoch feature "
    "file fold folder group image iteration job label line member minute model network "
    "page partition pixel point poison process protocol row run step target tree value "
    "victim week worker"
).replace(" ", "|")
_COUNTED = (
    "bits|columns?|entry|entries|epochs?|files?|folds?|gaussian|images|labels|lines?|"
    "means?|medians?|models|names?|numbers?|objectives?|offsets?|one|passes|poisons|"
    "processes|rows|scores?|seconds|seeds?|shares?|steps|targets|thresholds?|threads?|"
    "values?|variance|votes?"
)
#: What a text must not say, by the entry of the guide's table that stands for it.
PATTERNS = {
    "a variance a dimension, targets a model": rf"\b(?:{_COUNTED}) an? (?:{_UNITS})\b"
    # Not "whatever label a row claims" and "name another .csv a .csv file".
    r"(?! (?:as|claims|file|may|or|twice)\b)",
    "Default: the preset's.": r"\b(?:default:|instead of|of) the preset's\b",
    "Seed of everything.": r"\bseed of everything\b",
    "Else SKLGM_DATA, else a cache.": r"\belse `*sklgm_data|, else a cache\b",
    "0 is no bound": r"\b0 is no\b",
    "Begin anew where a run was interrupted.": r"\bbegin anew\b",
    "a column that is no feature": r"(?<!there )\b(?:is|are|was|were) no "
    r"(?!attack\b|better\b|fewer\b|larger\b|less\b|longer\b|more\b|other\b|such\b|value\b"
    r"|worse\b)\w",
    "right labels, wrong among the flagged": r"\bwrong among the flagged\b",
    "Estimators trained side by side.": r"\bestimators trained side by side\b",
    "input should be greater than 0": r"\binput should be (?:greater|less)\b",
    "wrong labels with a pattern pass for right": r"\bpass(?:es)? for right\b",
    "a metaphor for a concept that has a term (sieve)": r"\bsieves?\b",
    "Any classifier will do.": r"\bwill do\b",
    "Wrong choices of a search are its own.": r"\bare its own\b",
    "How files are read is said in ...": r"\bis (?:said|warned of)\b",
    "the ranks of rows some of which are wrong": r"\brows (?:some|most) of which\b",
}  # fmt: skip


def guide_entries():
    """Left column of the table in the guide."""
    _, _, table = GUIDE.read_text("utf-8").partition("\nNot   ")
    body = table.split("\n=====")[1].split("\n", 1)[1]
    lines = [re.split(r"\s{2,}", line)[0] for line in body.splitlines()]
    return [line for line in lines if line]


def texts():
    """Prose of each file by its path: pages, docstrings, messages and help."""
    docs = ROOT / "docs"
    pages = [*docs.glob("*.rst"), *docs.glob("user_guide/*.rst"), ROOT / "README.md"]
    for path in pages:
        text = path.read_text("utf-8")
        if path == GUIDE:  # its table quotes what is replaced
            text = re.sub(r"\n=+  =+\nNot .*\n=+  =+\n", "", text, flags=re.DOTALL)
        if path.name != "changes.rst":
            yield path, text
    for path in [*ROOT.glob("sklgm/**/*.py"), *ROOT.glob("examples/*.py")]:
        source = path.read_text("utf-8")
        strings = [
            "".join(
                part.value if isinstance(part, ast.Constant) else "{}"
                for part in (node.values if isinstance(node, ast.JoinedStr) else [node])
            )
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.JoinedStr)
            or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        ]
        if path.parent.name == "examples":
            comments = re.findall(r"^# ?(.*)$", source, re.MULTILINE)
            strings.append("\n".join(comments))
        yield path, "\n\n".join(strings)


@pytest.fixture(scope="module")
def prose():
    return {path: " ".join(text.split()) for path, text in texts()}


def test_the_guide_lists_every_pattern():
    assert guide_entries() == list(PATTERNS)


@pytest.mark.parametrize("entry", PATTERNS)
def test_no_text_uses_a_replaced_pattern(prose, entry):
    pattern = re.compile(PATTERNS[entry], re.IGNORECASE)
    assert pattern.search(entry)
    assert len(prose) > 200
    found = [
        f"{path.relative_to(ROOT)}: ...{text[max(0, m.start() - 40) : m.end() + 30]}..."
        for path, text in prose.items()
        for m in pattern.finditer(text)
    ]
    assert found == []
