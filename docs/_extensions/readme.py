"""What the README shows of the committed results: its picture and its table.

``python docs/_extensions/readme.py`` writes both; a test holds them in step.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pictures import RESULTS, ROOT, write_svg
from results_page import load_runs, sentences_of, summarize_runs

PICTURE = ROOT / "docs" / "_static" / "certified-mnist.svg"
README = ROOT / "README.md"
START = "<!-- written by docs/_extensions/readme.py -->"
END = "<!-- end -->"
#: Rows of the table: data set, protocol, and what it is called.
SHOWN = (
    ("MNIST", "transfer", "new last layer, misled"),
    ("MNIST", "end-to-end", "all layers trained, misled"),
    ("MNIST", "certified", "proved right"),
    ("MNIST", "certified, 5 novel classes", "classes new to the network, proved right"),
    ("CIFAR-10 (JPEG)", "certified", "proved right"),
    ("CIFAR-10 (JPEG)", "transfer", "new last layer, misled"),
    ("digits", "end-to-end", "all layers trained, misled"),
)


def render_table() -> str:
    """The table of the README, of the first run of each data set and protocol."""
    summaries = summarize_runs(load_runs(RESULTS))
    lines = [
        "| | softmax | cheap rival | L-GM | against the rival |",
        "|---|---|---|---|---|",
    ]
    for dataset, protocol, name in SHOWN:
        own = [s for s in summaries if (s.dataset, s.protocol) == (dataset, protocol)]
        if not own:
            raise SystemExit(f"no committed run holds {protocol} on {dataset}")
        counts = ", ".join(f"{n} {what}" for what, n in own[0].against[1].items() if n)
        cells = [f"{dataset}: {name}", *own[0].numbers, counts]
        lines.append(f"| {' | '.join(cells)} |")
    sentences = [f"* {text}" for text in sentences_of(summaries)]
    return "\n".join([*lines, "", "Over all committed runs:", "", *sentences])


def updated(text: str) -> str:
    """The README with its table written anew."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{render_table()}\n\n{END}{after}"


if __name__ == "__main__":
    write_svg("certified-mnist", PICTURE)
    README.write_text(updated(README.read_text("utf-8")), "utf-8")
