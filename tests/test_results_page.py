"""The results page of the documentation, as its Sphinx extension writes it."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sklgm.metrics import mean_interval, paired_rate_difference, wilson_rate
from sklgm.results import Record, RunResult, Trial

EXTENSION = Path(__file__).parents[1] / "docs" / "_extensions" / "results_page.py"


@pytest.fixture(scope="module")
def page_module():
    spec = importlib.util.spec_from_file_location("results_page", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    sys.modules["results_page"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["results_page"]


def record(model, metric, value, arm="attack", **changes):
    values = {"protocol": "transfer", "dataset": "digits", "n_poisons": 25, "seed": 3}
    values |= {"attack": "bullseye_polytope_linf_8_255", "n": 50}
    values |= {"low": None, "high": None}
    values |= {"model": model, "metric": metric, "value": value, "arm": arm}
    return Record(**values | changes)


def rate(model, n_success, n=50, arm="attack", **changes):
    found = wilson_rate(n_success, n)
    ends = {"low": found.low, "high": found.high, "n": n}
    name = "attack_success_rate"
    return record(model, name, found.value, arm, **ends | changes)


def trial(attack, target_index, success, counted=True, **changes):
    values = {"protocol": "transfer", "dataset": "digits", "model": "lgm"}
    values |= {"n_poisons": 25, "seed": 3, "target_label": 1, "base_label": 2}
    values |= {"attack": attack, "target_index": target_index}
    return Trial(**values | {"success": success, "counted": counted} | changes)


def run_result(records=(), **changes):
    values = {
        "command": "sklgm reproduce digits --preset full",
        "config": {"preset": "full"},
        "environment": {"device": "cpu", "n_threads": 2},
        "records": tuple(records),
        "sklgm_version": "1.2.3",
    }
    return RunResult(**values | changes)


def frontier(score="posterior"):
    return [
        made
        for attack, n_success, tpr in [
            ("feature_collision_linf_8_255", 2, 0.1),
            ("feature_collision", 20, 0.7),
        ]
        for changes in [{"protocol": "frontier", "attack": attack}]
        for made in (
            rate("lgm", n_success, **changes),
            record("lgm", "tpr_at_1pct_fpr", tpr, score, **changes),
        )
    ]


TRANSFER = (
    rate("softmax", 14),
    rate("softmax", 13, 47, arm="common"),
    rate("softmax", 1, 54, arm="control"),
    rate("softmax", 20, arm="converged"),
    record("softmax", "clean_accuracy", 0.974, low=0.96, high=0.985, n=450),
    record("softmax", "auroc", 0.75, "posterior", low=0.7, high=0.8),
)


def render(page_module, *results):
    runs = [
        page_module.Run(f"run-{index}", result) for index, result in enumerate(results)
    ]
    return page_module.render_page(runs, page_module.draw_frontiers(runs))


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
    tables = list_tables(render(page_module, run_result(TRANSFER)))
    name = "digits, bullseye polytope, l-infinity 8/255"
    columns, softmax, converged = tables[f"{name}: how often targets are misled"]
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
    assert converged[:2] == [
        ["softmax (converged)"],
        ["40 %", "20 of 50", "28 to 54 %"],
    ]
    assert converged[2:] == [[], [], [], []]
    detection = tables[f"{name}: how well poisons are found"]
    assert detection[1] == [
        ["softmax", "score: posterior"],
        ["0.750", "0.700 to 0.800", "n = 50"],
    ]


def test_each_run_names_its_command_version_device_threads_preset_and_seed(page_module):
    page = render(page_module, run_result(TRANSFER))
    assert ".. code-block:: text\n\n   sklgm reproduce digits --preset full\n" in page
    assert "sklgm 1.2.3; device cpu; threads 2; preset full; date not recorded." in page
    assert "Full preset, seed 3\n~~~" in page
    assert ":download:`results.json <run-0/results.json>`" in page
    dated = run_result(TRANSFER, environment={"date": "2020-03-02"})
    assert (
        "device not recorded; threads not recorded; preset full; date 2020-03-02"
        in (render(page_module, dated))
    )


def test_the_full_preset_comes_first_and_every_run_is_shown(page_module, tmp_path):
    for folder, preset in [("a", "quick"), ("b", "full")]:
        result = run_result(TRANSFER, config={"preset": preset})
        result.save(tmp_path / folder / "results.json")
    runs = page_module.load_runs(tmp_path)
    assert [run.folder for run in runs] == ["b", "a"]
    page = page_module.render_page(runs, {})
    assert page.index("Full preset, seed 3\n") < page.index("Quick preset, seed 3\n")
    assert page.count(": how often targets are misled") == 2


def test_what_is_missing_is_said_in_words(page_module):
    page = render(page_module, run_result(TRANSFER))
    assert "No run on this data set is committed. ``sklgm reproduce mnist``" in page
    assert (
        "No committed run on digits holds the protocols white-box and end-to-end and "
        "frontier and contamination and label-noise and search and peers."
    ) in page
    assert "No committed run on this data set holds both attacks." in page
    nothing = page_module.render_page([], {})
    assert "No run is committed, so there is nothing to say." in nothing
    assert nothing.count("No run on this data set is committed.") == 3


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 1}', '{"schema_version": 9}'], ids=str
)
def test_a_damaged_file_is_an_error_that_names_it(page_module, tmp_path, text):
    from sphinx.errors import ExtensionError

    (tmp_path / "results" / "broken").mkdir(parents=True)
    (tmp_path / "results" / "broken" / "results.json").write_text(text)
    with pytest.raises(ExtensionError, match="results/broken/results.json is damaged"):
        page_module.load_runs(tmp_path / "results")


def test_records_that_are_no_records_are_an_error_that_names_the_file(
    page_module, tmp_path
):
    from sphinx.errors import ExtensionError

    path = run_result(TRANSFER).save(tmp_path / "broken" / "results.json")
    path.write_text(path.read_text().replace('"n": 50', '"n": "many"'))
    with pytest.raises(
        ExtensionError, match="broken/results.json is damaged: n='many'"
    ):
        page_module.load_runs(tmp_path)


# Paired differences


def paired_trials():
    first = [True, True, True, False, False, True, True]
    second = [False, True, False, False, False, True, True]
    bullseye, collision = (
        "bullseye_polytope_linf_8_255",
        "feature_collision_linf_8_255",
    )
    trials = [trial(bullseye, i, s, i != 6) for i, s in enumerate(first)]
    trials += [trial(collision, i, s) for i, s in enumerate(second)]
    trials += [trial(collision, 99, True), trial("feature_collision", 0, True)]
    trials.append(trial(bullseye, 0, None, None, protocol="white-box", n_poisons=1))
    return tuple(trials)


def test_paired_difference_takes_targets_that_count_in_both(page_module):
    page = render(page_module, run_result(TRANSFER, trials=paired_trials()))
    caption = (
        "digits: bullseye polytope, l-infinity 8/255, minus feature collision, "
        "transfer protocol"
    )
    expected = paired_rate_difference([1, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1])
    low, high = round(-100 * expected.low), round(100 * expected.high)
    assert list_tables(page)[caption] == [
        [["Model"], ["25 poisons"]],
        [["L-GM"], ["+33 points", f"−{low} to +{high}", "6 targets"]],
    ]


def test_attacks_with_different_bounds_are_no_pair(page_module):
    trials = [
        dataclasses.replace(t, attack=t.attack.removesuffix("_linf_8_255"))
        if t.attack.startswith("feature")
        else t
        for t in paired_trials()
    ]
    page = render(page_module, run_result(TRANSFER, trials=tuple(trials)))
    assert "No committed run on this data set holds both attacks." in page


def rival_trials(seed, misled, aurocs):
    """Trials of the two rivals, target by target: (defence, baseline)."""
    return tuple(
        trial("watermark", i, was[k], seed=seed, model=model, auroc=area[k])
        for k, model in enumerate(("lgm_trim", "softmax_trimmed_gaussians"))
        for i, (was, area) in enumerate(zip(misled, aurocs, strict=True))
    )


RIVALS_CAPTION = (
    "digits: L-GM + trim minus softmax + trimmed Gaussians, transfer protocol"
)


def test_rivals_are_compared_over_targets_and_seeds(page_module):
    areas = [(0.9, 0.8), (0.7, 0.8), (0.95, 0.75)]
    first = rival_trials(3, [(True, False), (False, False), (False, True)], areas)
    second = rival_trials(4, [(True, False), (True, False), (False, False)], areas)
    runs = [
        run_result(TRANSFER, trials=trials, config={"preset": "full", "seed": seed})
        for seed, trials in ((3, first), (4, second))
    ]
    page = render(page_module, *runs)
    # Target 0 of one seed is not that of the other.
    rate = paired_rate_difference([1, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0])
    low, high = round(-100 * rate.low), round(100 * rate.high)
    value, lowest, highest = mean_interval(2 * [0.1, -0.1, 0.2])
    assert list_tables(page)[f"{RIVALS_CAPTION}, 2 seeds"] == [
        [["Attack"], ["Misled"], ["AUROC"]],
        [
            ["watermark", "25 poisons"],
            ["+33 points", f"−{low} to +{high}", "6 targets"],
            [
                f"{value:+.3f}",
                f"{lowest:+.3f} to {highest:+.3f}".replace("-", "−"),
                "6 targets",
            ],
        ],
    ]


def test_rivals_of_runs_with_other_settings_are_apart(page_module):
    trials = rival_trials(3, [(True, False)], [(0.9, None)])
    runs = [
        run_result(TRANSFER, trials=trials, config={"preset": "full", "margin": m})
        for m in (0.1, 0.3)
    ]
    page = render(page_module, *runs)
    assert f"{RIVALS_CAPTION}, 2 seeds" not in page
    assert page.count(RIVALS_CAPTION) == 2
    assert list_tables(page)[RIVALS_CAPTION][1][2] == []  # one AUROC is no pair


def test_a_target_that_one_model_gets_wrong_without_poisons_is_no_pair(page_module):
    trials = rival_trials(3, [(True, False), (True, True)], [(0.9, 0.9), (0.9, 0.9)])
    trials = (dataclasses.replace(trials[0], counted=False), *trials[1:])
    page = render(page_module, run_result(TRANSFER, trials=trials))
    row = list_tables(page)[RIVALS_CAPTION][1]
    assert row[1][-1] == "1 target"
    assert row[2] == ["+0.000", "2 targets"]


# Frontier


def test_frontier_is_drawn_where_it_was_measured(page_module):
    runs = [page_module.Run("run-0", run_result(frontier()))]
    drawn = page_module.draw_frontiers(runs)
    (figure,) = drawn["run-0", "digits"]
    assert figure.name == "frontier-run-0-digits-25-posterior.png"
    assert figure.png().startswith(b"\x89PNG")
    assert len(figure.figure.axes[0].containers) == 2
    page = page_module.render_page(runs, drawn)
    assert f".. figure:: {figure.name}\n" in page
    rows = list_tables(page)["digits: attack against detection, 25 poisons"]
    assert [row[0] for row in rows[1:]] == [
        ["L-GM", "feature collision, l-infinity 8/255"],
        ["L-GM", "feature collision"],
    ]


def test_frontier_without_detection_is_said_not_drawn(page_module):
    records = [r for r in frontier() if r.metric == "attack_success_rate"]
    # The detection rate of another model makes no point of either.
    other = {"protocol": "frontier", "attack": "feature_collision"}
    records.append(record("softmax", "tpr_at_1pct_fpr", 0.5, "posterior", **other))
    page = render(page_module, run_result(records))
    assert "No model has both a success and a detection rate to draw." in page
    assert ".. figure::" not in page


# The page as a whole

HOSTILE = "`x` *y* |z| w_ \\ - 1. ::"


@pytest.mark.slow
def test_sphinx_builds_the_page_without_a_warning(tmp_path):
    records = [*TRANSFER, *frontier(), rate("lgm", 2, dataset=HOSTILE)]
    records.append(rate("softmax_trimmed_gaussians", 1, arm=HOSTILE))
    result = run_result(records, trials=paired_trials(), command="sklgm x\n*y `z")
    result.save(tmp_path / "results" / "one" / "results.json")
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
    assert (out / "_images" / "frontier-one-digits-25-posterior.png").is_file()


def test_an_unchanged_page_is_not_written_again(page_module, tmp_path):
    run_result(frontier()).save(tmp_path / "one" / "results.json")
    (tmp_path / "frontier-gone.png").write_bytes(b"old")
    page_module.write_page(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}
    assert {path.name for path in written} == {
        "index.rst",
        "frontier-one-digits-25-posterior.png",
    }
    page_module.write_page(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in written} == written
