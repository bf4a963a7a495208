import json
import re

import numpy as np
import polars as pl
import pytest

from sklgm.cli._reproduce_command import OPTIONS, default_folder, make_settings
from sklgm.datasets import make_stripe_images
from sklgm.experiments import PROTOCOLS, RunSettings, get_protocol, stages_folder
from sklgm.experiments import transfer as transfer_module
from sklgm.results import RunResult

OF_RUN = {
    "dataset": "digits",
    "preset": "quick",
    "device": "cpu",
    "seed": 0,
    "data_home": None,
}
FAST = ["--set", "run.max_epochs=4", "--set", "run.feature_dim=8", "--n-jobs", 1]
FAST_TRANSFER = [
    "--protocol", "transfer", "--set", "transfer.refit_epochs=1", "--set",
    "transfer.converged_epochs=1", "--set", "transfer.max_iter=5", "--n-targets", 2,
    *FAST,
]  # fmt: skip


@pytest.fixture
def stripes(tmp_path):
    X, y = make_stripe_images(360, 3, (1, 8, 8), noise=0.2, random_state=0)
    np.savez(tmp_path / "stripes.npz", X=X, y=y)
    return tmp_path / "stripes.npz"


def settings_of(protocols, given=(), assignments=()):
    return make_settings(protocols, OF_RUN, dict(given), assignments)[1]


@pytest.mark.slow
def test_reproduce_writes_tables_report_and_figures(invoke, stripes, tmp_path):
    out = tmp_path / "out"
    outcome = invoke(
        "reproduce", stripes, "--out", out, "--protocol", "white-box",
        "--set", "white-box.n_pairs=8", "--set", "white-box.n_scatter=60",
        *FAST_TRANSFER,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    result = RunResult.load(out)
    assert set(result.table["protocol"]) == {"white-box", "transfer"}
    assert result.settings["transfer"]["n_targets"] == 2
    assert result.settings["run"]["max_epochs"] == 4
    assert {path.name for path in out.iterdir()} == {
        "table.parquet", "trials.parquet", "run.json", "report.html", "figures",
    }  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"""(src|href)=["']https?:""", page)
    names = " ".join(path.name for path in (out / "figures").iterdir())
    for figure in ("poison", "success-rate", "features", "likelihood", "false-alarms"):
        assert figure in names
    assert "L-GM + trim" in outcome.stdout
    lines = outcome.stdout.splitlines()
    assert len(lines) < 30
    assert max(map(len, lines[:-1])) <= 80  # the last is the path of the report
    assert lines[-1] == f"Report: {out / 'report.html'}"


@pytest.mark.slow
def test_reproduce_runs_only_the_asked_protocol(invoke, stripes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = invoke(
        "reproduce", "stripes.npz", "--protocol", "end-to-end", "--n-targets", 1,
        "--set", "end-to-end.n_rows=90", "--set", "end-to-end.max_epochs=1",
        "--linf", 0, "--details", *FAST,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    (folder,) = (tmp_path / "sklgm-results").iterdir()
    assert folder.name == "stripes-end-to-end-quick-0"
    result = RunResult.load(folder)
    assert set(result.table["protocol"]) == {"end-to-end"}
    assert result.settings["end-to-end"]["n_targets"] == 1
    assert "how often targets are misled" in outcome.output.replace("\n", " ")


@pytest.mark.slow
def test_numbers_of_poisons_and_bounds_are_those_asked_for(invoke, stripes, tmp_path):
    outcome = invoke(
        "reproduce", stripes, "--out", tmp_path / "out", *FAST_TRANSFER,
        "--n-poisons", 2, "--linf", 51, "--linf", 0, "--json", "--quiet",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stderr == ""
    printed = json.loads(outcome.stdout)
    assert printed["files"]["report.html"] == str(tmp_path / "out" / "report.html")
    table = pl.read_parquet(tmp_path / "out" / "table.parquet")
    assert [row["metric"] for row in printed["rows"]] == table["metric"].to_list()
    assert set(table.select("attack", "bound", "n_poisons").rows()) == {
        (None, None, 0),
        ("flip_labels", None, 2),
        ("feature_collision", None, 2),
        ("feature_collision", 0.2, 2),
    }


@pytest.mark.slow
@pytest.mark.parametrize("restart", [False, True])
def test_an_interrupted_run_goes_on_unless_told_to_restart(
    invoke, stripes, tmp_path, monkeypatch, restart
):
    from sklgm.experiments._protocol import Context

    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "stripes.npz", "--out", "out", "--linf", 0, *FAST_TRANSFER]
    mine = tmp_path / "out" / "unfinished"  # a folder of the user's
    mine.mkdir(parents=True)
    trained = []
    stage = Context.stage

    def counted(self, name, function):
        def carried_out():
            trained.append(name)
            return function()

        return stage(self, name, carried_out)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Context, "stage", counted)
    with monkeypatch.context() as patch:
        patch.setattr(transfer_module, "_flip_labels", interrupted)
        assert invoke(*command).exit_code != 0
    assert stages_folder("out").exists()
    outcome = invoke(*command, *(["--restart"] if restart else []))
    assert outcome.exit_code == 0, outcome.output
    assert trained.count("train lgm") == 1 + restart
    said = "Resuming the run that was interrupted."
    assert (said in outcome.stderr) is not restart
    assert not stages_folder("out").exists()
    assert mine.exists()
    assert (tmp_path / "out" / "table.parquet").exists()


@pytest.mark.parametrize(
    ("protocols", "name"),
    [
        (("certified", "white-box", "transfer"), "digits-quick-0"),
        (("transfer", "white-box", "certified"), "digits-quick-0"),
        (("white-box", "transfer"), "digits-transfer-white-box-quick-0"),
        (("transfer",), "digits-transfer-quick-0"),
        (("end-to-end", "transfer"), "digits-transfer-end-to-end-quick-0"),
    ],
)
def test_default_folder_names_protocols_that_are_not_the_default(protocols, name):
    assert default_folder(RunSettings(), protocols).name == name


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_a_setting_of_some_protocol(option):
    having = [
        name
        for name in PROTOCOLS
        if OPTIONS[option] in get_protocol(name).settings.model_fields
    ]
    assert having


def test_an_option_sets_the_setting_in_every_protocol_that_has_it():
    chosen = settings_of(
        ("transfer", "label-noise", "contamination"),
        {"--n-targets": 3, "--share": [0.1]},
    )
    assert chosen["transfer"].n_targets == chosen["contamination"].n_targets == 3
    assert chosen["label-noise"].shares == chosen["contamination"].shares == (0.1,)


def test_set_goes_to_one_protocol_and_before_other_options():
    chosen = settings_of(
        ("transfer", "frontier"),
        {"--n-poisons": [2]},
        ["frontier.n_poisons=[7, 9]", 'transfer.attacks=["watermark"]'],
    )
    assert chosen["transfer"].n_poisons == (2,)
    assert chosen["frontier"].n_poisons == (7, 9)
    assert chosen["transfer"].attacks == ("watermark",)


def test_set_changes_the_run_too():
    assignments = ["run.backbone=mlp", "run.n_backbone=null", "run.margin=0.5"]
    settings, _ = make_settings(("transfer",), OF_RUN, {}, assignments)
    assert (settings.backbone, settings.n_backbone, settings.margin) == (
        "mlp",
        None,
        0.5,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "DATASET: must be one of digits, .*'nowhere'"),
        (["digits", "--preset", "huge"], "--preset: .*'huge'"),
        (
            ["digits", "--seed", "-1"],
            "--seed: must be greater than or equal to 0, got -1",
        ),
        (["digits", "--n-poisons", "0"], "--n-poisons: .*got 0"),
        (["digits", "--n-targets", "0"], "--n-targets: .*got 0"),
        (["digits", "--attack", "frog"], "--attack: .*got 'frog'"),
        (
            ["digits", "--protocol", "contamination", "--share", "0.5"],
            r"--share: .*less than 0.5, got 0.5",
        ),
        (
            ["digits", "--protocol", "label-noise", "--share", "1"],
            "--share: .*less than 1, got 1",
        ),
        (
            ["digits", "--protocol", "transfer", "--share", "0.1"],
            "--share is not for transfer; it is for --protocol certified, "
            "end-to-end, contamination, label-noise",
        ),
        (
            ["digits", "--rival", "cleanlab"],
            "--rival is not for certified, white-box, transfer",
        ),
        (["digits", "--protocol", "black-box"], "--protocol must be one of"),
        (["digits", "--device", "quantum"], "--device 'quantum' is not a torch device"),
        (["digits", "--n-jobs", "0"], "--n-jobs must be an int but 0"),
        (["digits", "--set", "transfer"], "--set must be of the form PROTOCOL.NAME="),
        (
            ["digits", "--set", "peers.max_iter=1"],
            "--set peers.max_iter: 'peers' is none of the protocols of this run",
        ),
        (
            ["digits", "--set", "transfer.max_iters=1"],
            "--set transfer.max_iters: transfer has no setting 'max_iters'; it has ",
        ),
        (
            ["digits", "--set", "transfer.max_iter=0"],
            "--set transfer.max_iter: .*got 0",
        ),
        (["digits", "--set", "run.n_refit=5"], "--set run.n_refit 5 takes 0 rows"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_end_with_one_line_that_names_the_option(
    invoke, tmp_path, arguments, message
):
    outcome = invoke("reproduce", *arguments, "--out", tmp_path / "out")
    assert outcome.exit_code == 1
    assert re.search(rf"^Error: {message}", outcome.output, re.MULTILINE)
    assert "Traceback" not in outcome.output


def test_a_negative_bound_names_its_option(invoke, tmp_path):
    outcome = invoke("reproduce", "digits", "--linf", -8, "--out", tmp_path / "out")
    assert outcome.exit_code == 2
    assert "--linf" in outcome.output


def test_missing_data_say_where_they_should_be(invoke, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", offline)
    outcome = invoke(
        "reproduce", "mnist", "--data-home", tmp_path, "--out", tmp_path / "out"
    )
    assert outcome.exit_code == 1
    assert str(tmp_path) in outcome.output.replace("\n", "")
    assert "SKLGM_DATA" in outcome.output
