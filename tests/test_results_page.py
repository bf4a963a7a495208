"""The results page of the documentation, as its Sphinx extension writes it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy_rows import (
    CLEAN,
    area,
    common,
    control,
    rate,
    result_of,
    row,
    trial,
)

EXTENSION = Path(__file__).parents[1] / "docs" / "_extensions" / "results_page.py"
BULLSEYE = {"attack": "bullseye_polytope", "bound": 8 / 255}


@pytest.fixture(scope="module")
def page_module():
    spec = importlib.util.spec_from_file_location("results_page", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    sys.modules["results_page"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["results_page"]


def frontier(score="posterior"):
    return [
        made
        for bound, n_success, tpr in [(8 / 255, 2, 0.1), (None, 20, 0.7)]
        for place in [{"protocol": "frontier", "bound": bound}]
        for made in (
            rate("lgm", n_success, **place),
            row("lgm", "tpr_at_1pct_fpr", tpr, score=score, **place),
        )
    ]


TRANSFER = [
    rate("softmax", 14),
    common("softmax", 13, 47),
    control("softmax", 1, 54),
    rate("softmax", 20, variant="converged"),
    row("softmax", value=0.974, low=0.96, high=0.985, n=450),
    area("softmax", 0.75, "posterior", 0.05),
]


def render(page_module, *results):
    runs = [
        page_module.Run(f"run-{index}", result) for index, result in enumerate(results)
    ]
    return page_module.render_page(runs, page_module.draw_figures(runs))


def list_tables(page):
    """Rows of cells of each list-table, by caption; a cell is its lines."""
    tables = {}
    for block in re.split(r"^\.\. list-table:: ", page, flags=re.MULTILINE)[1:]:
        caption, *lines = block.splitlines()
        rows = []
        for line in lines:
            if line.startswith(("   * -", "     -")):
                rows += [[]] if line.startswith("   * -") else []
                rows[-1].append([])
                line = line[6:]
            elif line and not line.startswith("   "):
                break
            if "| " in line:
                rows[-1][-1].append(line.split("| ", 1)[1])
        tables[caption] = rows
    return tables


def test_cells_hold_value_interval_and_n(page_module):
    tables = list_tables(render(page_module, result_of(TRANSFER)))
    columns, softmax, converged = tables[
        "digits, feature collision: how often targets are misled"
    ]
    assert columns == [
        ["Model"],
        ["Misled, 25 poisons"],
        ["Same targets for all, 25 poisons"],
        ["Control: no poisons"],
        ["Clean accuracy"],
        ["AUROC, 25 poisons"],
    ]
    assert softmax == [
        ["softmax"],
        ["28 %", "14 of 50", "17 to 42 %"],
        ["28 %", "13 of 47", "17 to 42 %"],
        ["2 %", "1 of 54", "0 to 10 %"],
        ["97.4 %", "with 25 poisons", "96.0 % to 98.5 %", "n = 450"],
        ["0.750", "posterior"],
    ]
    assert converged == [
        ["softmax (converged)"],
        ["40 %", "20 of 50", "28 to 54 %"],
        *4 * [[]],
    ]
    detection = tables["digits, feature collision: how well poisons are found"]
    assert detection[1] == [
        ["softmax", "score: posterior"],
        ["0.750", "0.700 to 0.800", "n = 50"],
    ]


def test_each_run_names_its_command_version_device_threads_preset_and_seed(page_module):
    result = result_of(TRANSFER)
    page = render(page_module, result)
    assert ".. code-block:: text\n\n   sklgm reproduce digits --preset full\n" in page
    version = re.escape(result.sklgm_version)
    facts = "; device cpu; threads 2; preset full; date not recorded."
    assert re.search(f"sklgm {version}{re.escape(facts)}", page)
    assert "Full preset, seed 0\n~~~" in page
    assert ":download:`table.parquet <run-0/table.parquet>`" in page
    assert "trials.parquet" not in page
    dated = result_of(TRANSFER, environment={"date": "2020-03-02"})
    assert (
        "device not recorded; threads not recorded; preset full; date 2020-03-02"
        in (render(page_module, dated))
    )


def test_the_full_preset_comes_first_and_every_run_is_shown(page_module, tmp_path):
    for folder, preset in [("a", "quick"), ("b", "full")]:
        settings = {"run": {"preset": preset}}
        result_of(TRANSFER, settings=settings).save(tmp_path / folder)
    runs = page_module.load_runs(tmp_path)
    assert [run.folder for run in runs] == ["b", "a"]
    page = page_module.render_page(runs, {})
    assert page.index("Full preset, seed 0\n") < page.index("Quick preset, seed 0\n")
    assert page.count(": how often targets are misled") == 2


def test_what_is_missing_is_said_in_words(page_module):
    page = render(page_module, result_of(TRANSFER))
    assert "No run on this data set is committed. ``sklgm reproduce mnist``" in page
    missing = [name for name in page_module.DESCRIPTIONS if name != "transfer"]
    assert (
        f"No committed run on digits holds the protocols {' and '.join(missing)}."
    ) in page
    assert "No committed run on this data set holds both." in page
    nothing = page_module.render_page([], {})
    assert "No run is committed, so there is nothing to say." in nothing
    assert nothing.count("No run on this data set is committed.") == 3


def test_rules_are_applied_to_each_run_but_for_choices_of_settings(page_module):
    misled = [rate("lgm", 3)]
    chosen = [rate("lgm", 9, protocol="search", dataset="MNIST")]
    page = render(page_module, result_of(misled), result_of(chosen))
    assert "**digits (full preset, seed 0)**: 1 of 1 comparisons." in page
    assert "* digits, transfer, feature collision, 25 poisons: L-GM 3 of 50" in page
    unseen = "**MNIST (full preset, seed 0)**: no number that the rule could be"
    assert page.count(unseen) == len(page_module.RULES)


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "{"), ("run.json", '{"schema_version": 9}'), ("table.parquet", "x")],
    ids=["no-json", "newer", "no-parquet"],
)
def test_a_damaged_file_is_an_error_that_names_it(page_module, tmp_path, name, text):
    from sphinx.errors import ExtensionError

    (result_of(TRANSFER).save(tmp_path / "broken") / name).write_text(text)
    with pytest.raises(ExtensionError, match=f"broken/{name} "):
        page_module.load_runs(tmp_path)


# Comparisons over the same targets


def attack_trials(bound=8 / 255):
    trials = [trial(i, i < 2, **BULLSEYE) for i in range(3)]
    return trials + [trial(i, False, bound=bound) for i in range(3)]


def test_attacks_are_compared_on_the_same_targets(page_module):
    page = render(page_module, result_of(TRANSFER, attack_trials()))
    caption = "digits: bullseye polytope minus feature collision, transfer protocol"
    assert list_tables(page)[caption][1][1][0] == "+67 points"
    other = render(page_module, result_of(TRANSFER, attack_trials(bound=None)))
    assert "No committed run on this data set holds both." in other


def rival_results(**settings):
    """One run per seed, each with one trial of both rivals."""
    return [
        result_of(
            TRANSFER,
            [trial(0, v == "lgm_trim", victim=v, seed=seed) for v in RIVALS],
            settings={
                "run": {"seed": seed} | {k: v[seed] for k, v in settings.items()}
            },
        )
        for seed in (0, 1)
    ]


RIVALS = ("lgm_trim", "softmax_trimmed_gaussians")
RIVALS_CAPTION = (
    "digits: L-GM + trim minus softmax + trimmed Gaussians, transfer protocol"
)


def test_rivals_of_runs_that_differ_in_their_seed_are_taken_together(page_module):
    tables = list_tables(render(page_module, *rival_results()))
    assert tables[f"{RIVALS_CAPTION}, 2 seeds"][1][1][-1] == "2 targets"
    assert RIVALS_CAPTION not in tables


def test_rivals_of_runs_with_other_settings_are_apart(page_module):
    page = render(page_module, *rival_results(margin=(0.1, 0.3)))
    assert f"{RIVALS_CAPTION}, 2 seeds" not in page
    assert page.count(RIVALS_CAPTION) == 2


# Frontier


def test_frontier_is_drawn_where_it_was_measured(page_module):
    runs = [page_module.Run("run-0", result_of(frontier()))]
    figures = page_module.draw_figures(runs)
    ((name, figure),) = figures["run-0", "digits", "frontier"].items()
    assert name == "figure-run-0-digits-frontier-0.png"
    assert len(figure.figure.axes[0].containers) == 2
    page = page_module.render_page(runs, figures)
    assert f".. figure:: {name}\n" in page
    rows = list_tables(page)["digits: attack against detection, 25 poisons"]
    assert [row[0] for row in rows[1:]] == [
        ["L-GM", "feature collision, l-infinity 8/255"],
        ["L-GM", "feature collision"],
    ]


def test_frontier_without_detection_is_said_not_drawn(page_module):
    rates = [row for row in frontier() if row.metric == "attack_success_rate"]
    page = render(page_module, result_of(rates))
    assert "Nothing was measured that could be drawn." in page
    assert ".. figure::" not in page


# The page as a whole

HOSTILE = "`x` *y* |z| w_ \\ - 1. ::"


@pytest.mark.slow
def test_sphinx_builds_the_page_without_a_warning(tmp_path):
    rows = [*TRANSFER, *frontier(), rate("lgm", 2, dataset=HOSTILE)]
    rows += [rate("lgm", 1, variant=HOSTILE), row("softmax", value=0.5, **CLEAN)]
    result = result_of(rows, attack_trials(), command="sklgm x\n*y `z")
    result.save(tmp_path / "results" / "one")
    (tmp_path / "user_guide").mkdir()
    reproduce = ":orphan:\n\nReproduce\n=========\n"
    (tmp_path / "user_guide" / "reproduce.rst").write_text(reproduce)
    (tmp_path / "index.rst").write_text("A\n=\n\n.. toctree::\n\n   results/index\n")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSION.parent)!r})\n"
        "extensions = ['results_page']\ndefault_role = 'obj'\n"
    )
    out = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(tmp_path), str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    page = (out / "results" / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "28 % 14 of 50 17 to 42 %" in text
    assert HOSTILE in text
    assert (out / "_images" / "figure-one-digits-frontier-0.png").is_file()


def test_an_unchanged_page_is_not_written_again(page_module, tmp_path):
    result_of(frontier()).save(tmp_path / "one")
    (tmp_path / "figure-gone.png").write_bytes(b"old")
    page_module.write_page(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}
    assert {path.name for path in written} == {
        "index.rst",
        "figure-one-digits-frontier-0.png",
    }
    page_module.write_page(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in written} == written


# What is committed


@pytest.mark.slow
def test_every_committed_run_is_read_and_shown(page_module):
    runs = page_module.load_runs(EXTENSION.parents[1] / "results")
    assert len(runs) > 0
    page = page_module.render_page(runs, {})
    assert all(f"<{run.folder}/table.parquet>" in page for run in runs)
    known = set(page_module.DESCRIPTIONS)
    assert all(set(run.rows()["protocol"]) <= known for run in runs)
