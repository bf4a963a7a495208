"""The results pages of the documentation, as their Sphinx extension writes them."""

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.tidy_rows import area, control, rate, result_of, row, trial

EXTENSIONS = Path(__file__).parents[1] / "docs" / "_extensions"
RESULTS = EXTENSIONS.parent / "results"
VICTIMS = ("softmax", "softmax_trimmed_gaussians", "lgm_trim")


@pytest.fixture(scope="module")
def page_module():
    before = list(sys.path)
    sys.path.insert(0, str(EXTENSIONS))
    yield importlib.import_module("results_page")
    sys.path[:] = before
    for name in ("results_page", "results_tables"):
        sys.modules.pop(name, None)


def frontier():
    return [
        made
        for bound, n_success, tpr in [(8 / 255, 2, 0.1), (None, 20, 0.7)]
        for place in [{"protocol": "frontier", "bound": bound}]
        for made in (
            rate("lgm", n_success, **place),
            row("lgm", "tpr_at_1pct_fpr", tpr, score="posterior", **place),
        )
    ]


TRANSFER = [
    rate("softmax", 14),
    rate("softmax", 1, n_poisons=1),
    rate("softmax", 20, variant="converged"),
    control("softmax", 1, 54),
    area("softmax", 0.75, "posterior", 0.05),
]


def runs_of(page_module, *results):
    return [page_module.Run(f"run-{i}", result) for i, result in enumerate(results)]


def render(page_module, *results):
    return page_module.render_pages(runs_of(page_module, *results), {})


def list_tables(page):
    """Rows of cells of each list-table, by caption; a cell is its lines."""
    tables = {}
    for block in re.split(r"^ *\.\. list-table:: ", page, flags=re.MULTILINE)[1:]:
        caption, *lines = block.splitlines()
        rows = []
        for line in lines:
            mark = re.match(r" *(\* -|  -)(?= |$)", line)
            if mark:
                rows += [[]] if "*" in mark[1] else []
                rows[-1].append([])
            elif rows and not re.match(r" +\| ", line):
                break
            if "| " in line:
                rows[-1][-1].append(line.split("| ", 1)[1])
        tables[caption] = rows
    return tables


def cells_of(page_module, *results, page="digits.rst"):
    return list_tables(render(page_module, *results)[page])


# Tables


def test_a_cell_holds_value_counts_and_interval(page_module):
    tables = cells_of(page_module, result_of(TRANSFER))
    assert tables["Targets misled"] == [
        [[], ["softmax"]],
        [["feature collision"], ["28 %", "14/50, 17–42"]],
    ]
    assert tables["Area under the ROC curve: poisons found by the posterior"][1] == [
        ["feature collision"],
        ["0.750", "0.700–0.800"],
    ]


def test_variants_are_in_tables_of_their_own(page_module):
    tables = cells_of(page_module, result_of(TRANSFER))
    caption = "Targets misled, heads trained until nothing is left to gain"
    assert tables[caption][1] == [["feature collision"], ["40 %", "20/50, 28–54"]]


def test_the_control_arm_is_shown_without_poisons(page_module):
    tables = cells_of(page_module, result_of(TRANSFER))
    assert tables["Without poisons"] == [
        [[], ["misled"]],
        [["softmax"], ["1.9 %", "0.3–9.8"]],
    ]


def test_runs_that_differ_in_their_seed_are_pooled(page_module):
    results = [
        result_of([rate("softmax", k, seed=k)], settings={"run": {"seed": k}})
        for k in (10, 20)
    ]
    ((header, cell),) = cells_of(page_module, *results)["Targets misled"][1:]
    assert header == ["feature collision"]
    assert cell == ["30 %", "30/100, 22–40"]


def test_runs_with_other_settings_are_apart(page_module):
    results = [
        result_of([rate("softmax", 10)], settings={"run": {"margin": margin}})
        for margin in (0.1, 0.3)
    ]
    assert render(page_module, *results)["digits.rst"].count(":: Targets misled") == 2


def test_a_rate_of_no_target_is_said_in_words(page_module):
    tables = cells_of(page_module, result_of([rate("softmax", 0, 0)]))
    assert tables["Targets misled"][1][1] == ["none"]


def test_certified_accuracy_stands_by_number_of_poisons(page_module):
    place = {"protocol": "certified", "attack": None}
    rows = [
        row("lgm_median", "certified_accuracy", v, low=v - 0.01, high=v, n_poisons=n,
            **place)
        for n, v in [(0, 0.99), (25, 0.98)]
    ]  # fmt: skip
    # Other locations and fewer rows are in the files of the run.
    others = [replace(known, victim="lgm_trimmed_mean", value=0.5) for known in rows]
    others += [replace(known, variant="10 rows per class", value=0.5) for known in rows]
    novel = [replace(known, variant="5 novel classes", value=0.8) for known in rows]
    tables = cells_of(page_module, result_of([*rows, *others, *novel]))
    header = [[], ["0 poisons"], ["25 poisons"]]
    assert tables["Right and proved to stay so, by poisons of one class"] == [
        header,
        [["L-GM, median"], ["99.00 %", "98.00–99.00"], ["98.00 %", "97.00–98.00"]],
    ]
    of_novel = tables["The same, of five classes that networks were not trained on"]
    assert of_novel[0] == header
    assert [cell[0] for cell in of_novel[1][1:]] == ["80.00 %", "80.00 %"]


# Verdicts


def trials_of(successes, n=40, **changes):
    """Trials in which the first so many targets are misled, by victim."""
    return [
        trial(i, i < n_success, victim=victim, **changes)
        for victim, n_success in zip(VICTIMS, successes, strict=True)
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("successes", "softmax", "rival"),
    [
        ((30, 0, 0), "better", "tied"),
        ((30, 20, 0), "better", "better"),
        ((0, 0, 30), "worse", "worse"),
        ((2, 1, 1), "tied", "tied"),
        ((0, 0, 0), "no test", "no test"),
    ],
    ids=["tie-with-rival", "wins", "loses", "all-tie", "nothing-happened"],
)
def test_outcomes_follow_from_paired_intervals(page_module, successes, softmax, rival):
    result = result_of(TRANSFER, trials_of(successes))
    (summary,) = page_module.summarize_runs(runs_of(page_module, result))
    found = [[name for name, n in counts.items() if n] for counts in summary.against]
    assert found == [[softmax], [rival]]
    assert summary.numbers[0] == f"{100 * successes[0] / 40:.0f} % of 40"


def test_targets_that_do_not_count_are_left_out(page_module):
    trials = trials_of((0, 0, 0)) + trials_of((40, 40, 40), counted=False)
    (summary,) = page_module.summarize_runs(
        runs_of(page_module, result_of(TRANSFER, trials))
    )
    assert summary.against[0]["no test"] == 1


def test_the_strongest_attack_is_shown_and_all_are_counted(page_module):
    trials = trials_of((4, 0, 0)) + trials_of((36, 0, 0), attack="bullseye_polytope")
    page = render(page_module, result_of(TRANSFER, trials))["index.rst"]
    assert "targets misled by bullseye polytope, 25 poisons, the strongest of 2" in page
    assert "90 % of 40" in page


def test_sentences_count_all_comparisons(page_module):
    trials = trials_of((30, 0, 0)) + trials_of((0, 0, 0), attack="bullseye_polytope")
    summaries = page_module.summarize_runs(
        runs_of(page_module, result_of(TRANSFER, trials))
    )
    assert page_module.sentences_of(summaries) == [
        "L-GM + trim is misled less often than softmax in 1 of 1 comparisons, ties in "
        "0, is misled more often in 0; 1 more mislead nobody.",
        "L-GM + trim is misled less often than the cheap rival in 0 of 1 comparisons, "
        "ties in 1, is misled more often in 0; 1 more mislead nobody.",
    ]


def test_settings_that_were_searched_are_no_results(page_module):
    result = result_of(TRANSFER, trials_of((30, 0, 0), protocol="search"))
    assert page_module.summarize_runs(runs_of(page_module, result)) == []


# Pages


def test_each_data_set_has_a_page_and_missing_ones_are_named(page_module):
    pages = render(page_module, result_of(TRANSFER))
    assert set(pages) == {"index.rst", "digits.rst"}
    assert (
        "No run on MNIST is committed. ``sklgm reproduce mnist``" in pages["index.rst"]
    )
    assert "\n   digits\n" in pages["index.rst"]


def test_no_run_at_all_is_said(page_module):
    pages = page_module.render_pages([], {})
    assert set(pages) == {"index.rst"}
    assert "No run is committed, so there is nothing to say." in pages["index.rst"]


def test_each_run_names_its_command_version_preset_seed_and_files(page_module):
    result = result_of(TRANSFER)
    page = render(page_module, result)["digits.rst"]
    assert ".. dropdown:: Full preset, seed 0: tables\n" in page
    assert "      sklgm reproduce digits --preset full\n" in page
    assert f"sklgm {result.sklgm_version}".replace("_", r"\_") in page
    assert ":download:`table.parquet <run-0/table.parquet>`" in page
    assert "trials.parquet" not in page


def test_the_full_preset_comes_first(page_module, tmp_path):
    for folder, preset in [("a", "quick"), ("b", "full")]:
        settings = {"run": {"preset": preset}}
        result_of(TRANSFER, settings=settings).save(tmp_path / folder)
    runs = page_module.load_runs(tmp_path)
    assert [run.folder for run in runs] == ["b", "a"]
    page = page_module.render_pages(runs, {})["digits.rst"]
    assert page.index("Full preset") < page.index("Quick preset")


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


def test_the_frontier_is_drawn_where_it_was_measured(page_module):
    runs = runs_of(page_module, result_of(frontier()))
    figures = page_module.draw_figures(runs)
    ((name, figure),) = figures["run-0", "digits", "frontier"].items()
    assert name == "figure-run-0-digits-frontier-0.svg"
    assert len(figure.figure.axes[0].containers) == 2
    page = page_module.render_pages(runs, figures)["digits.rst"]
    assert f".. figure:: {name}\n" in page


HOSTILE = "`x` *y* |z| w_ \\ - 1. ::"


@pytest.mark.slow
def test_sphinx_builds_the_pages_without_a_warning(tmp_path):
    rows = [*TRANSFER, *frontier(), rate("lgm", 2, dataset=HOSTILE)]
    trials = trials_of((3, 1, 0))
    result = result_of(rows, trials, command="sklgm x\n*y `z")
    result.save(tmp_path / "results" / "one")
    (tmp_path / "user_guide").mkdir()
    reproduce = ":orphan:\n\nReproduce\n=========\n"
    (tmp_path / "user_guide" / "reproduce.rst").write_text(reproduce)
    for name in ("Robustness", "Speed"):
        page = tmp_path / "results" / f"{name.lower()}.rst"
        page.write_text(f"{name}\n{len(name) * '='}\n")
    (tmp_path / "index.rst").write_text("A\n=\n\n.. toctree::\n\n   results/index\n")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\n"
        "extensions = ['sphinx_design', 'results_page']\ndefault_role = 'obj'\n"
    )
    out = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(tmp_path), str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    page = (out / "results" / "digits.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "28 % 14/50, 17–42" in text
    assert (out / "_images" / "figure-one-digits-frontier-0.svg").is_file()
    (hostile,) = (out / "results").glob("x-y-z-w-1.html")
    assert HOSTILE in re.sub(r"<[^>]*>", "", hostile.read_text(encoding="utf-8"))


def test_unchanged_pages_are_not_written_again(page_module, tmp_path):
    result_of(frontier()).save(tmp_path / "one")
    (tmp_path / "figure-gone.svg").write_bytes(b"old")
    (tmp_path / "gone.rst").write_bytes(b"old")
    page_module.write_pages(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}
    assert {path.name for path in written} == {
        "index.rst",
        "digits.rst",
        "figure-one-digits-frontier-0.svg",
    }
    page_module.write_pages(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in written} == written


# What is committed


@pytest.fixture(scope="module")
def committed(page_module):
    runs = page_module.load_runs(RESULTS)
    assert runs
    return runs


@pytest.mark.slow
def test_every_committed_run_is_read_and_shown(page_module, committed):
    pages = "".join(page_module.render_pages(committed, {}).values())
    assert all(f"<{run.folder}/table.parquet>" in pages for run in committed)
    known = set(page_module.DESCRIPTIONS)
    assert all(set(run.rows()["protocol"]) <= known for run in committed)


@pytest.mark.slow
def test_the_short_answer_is_what_the_committed_runs_say(page_module, committed):
    """Prose of the results page and the home page that numbers must carry."""
    from results_tables import total

    summaries = page_module.summarize_runs(committed)
    softmax, rival = (total(summaries, "misled", which) for which in (0, 1))
    assert softmax["better"] > softmax["tied"] > softmax["worse"] == 0
    assert rival["tied"] > 0.8 * (rival["better"] + rival["tied"] + rival["worse"])
    found = total(summaries, "found", 0)
    assert found["better"] == 0
    mnist, cifar10 = (
        total([s for s in summaries if s.dataset == name], "certified", 1)
        for name in ("MNIST", "CIFAR-10 (JPEG)")
    )
    assert mnist["better"] > 0 < mnist["tied"]
    assert mnist["worse"] == 0
    assert cifar10["better"] == 0 < cifar10["worse"]
    novel = [s for s in summaries if s.metric == "certified_novel"]
    assert {s.dataset for s in novel} == {"MNIST"}
    against_smoothed = total(novel, "certified_novel", 1)
    assert against_smoothed["better"] == 0 < against_smoothed["worse"]


@pytest.mark.slow
def test_networks_themselves_are_ahead_of_proofs(committed):
    """Where they know the classes, at a fifth of a class: the results page says so."""
    n_runs = 0
    for run in committed:
        own = run.rows(protocol="certified").filter(pl.col("variant").is_null())
        if own.is_empty():
            continue
        n_runs += 1
        proved = own.filter(pl.col("share") >= 0.2, metric="certified_accuracy")
        assert len(proved) > 0
        networks = own.filter(metric="backbone_accuracy")
        assert networks["value"].min() > proved["value"].max()
    assert n_runs >= 4
