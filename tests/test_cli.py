import csv
import json
import re

import jsonschema
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import sklgm
import sklgm.cli._app
from sklgm.datasets import make_stripe_images
from sklgm.experiments import _run as run_module
from sklgm.experiments import stages_folder
from sklgm.results import results_schema


@pytest.fixture(scope="module")
def app():
    return sklgm.cli._app.make_app()


def invoke(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Unfinished runs of a test are not looked for in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def fast_presets(monkeypatch):
    """Presets that end in seconds; the command's own path is the real one."""
    real = sklgm.cli._app.preset_config

    def fast(dataset, preset, **overrides):
        overrides = {
            "n_pairs": 8,
            "feature_dim": 8,
            "warmup_epochs": 2,
            "finetune_epochs": 1,
            "refit_epochs": 1,
            "converged_epochs": 1,
            "max_iter": 5,
            "n_scatter": 60,
            "n_end_to_end_rows": 90,
            "end_to_end_epochs": 1,
            **{k: v for k, v in overrides.items() if v is not None},
        }
        return real(dataset, preset, **overrides)

    monkeypatch.setattr(sklgm.cli._app, "preset_config", fast)


@pytest.mark.usefixtures("fast_presets")
def test_reproduce_writes_results_report_and_figures(app, tmp_path):
    X, y = make_stripe_images(360, 3, (1, 8, 8), noise=0.2, random_state=0)
    np.savez(tmp_path / "stripes.npz", X=X, y=y)
    out = tmp_path / "out"
    outcome = invoke(
        app, "reproduce", tmp_path / "stripes.npz", "--out", out, "--n-targets", 3
    )
    assert outcome.exit_code == 0, outcome.output
    document = json.loads((out / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, results_schema())
    assert document["config"]["n_targets"] == 3
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"""(src|href)=["']https?:""", page)
    names = " ".join(path.name for path in (out / "figures").iterdir())
    for figure in ("poison", "success-rate", "features", "likelihood", "false-alarms"):
        assert figure in names
    assert "L-GM + trim" in outcome.output


@pytest.mark.slow
@pytest.mark.usefixtures("fast_presets")
def test_reproduce_runs_only_the_asked_protocol(app, tmp_path, monkeypatch):
    X, y = make_stripe_images(240, 3, (1, 8, 8), noise=0.2, random_state=0)
    np.savez(tmp_path / "stripes.npz", X=X, y=y)
    monkeypatch.chdir(tmp_path)
    outcome = invoke(
        app, "reproduce", "stripes.npz", "--protocol", "end-to-end", "--n-targets", 2
    )
    assert outcome.exit_code == 0, outcome.output
    (folder,) = (tmp_path / "sklgm-results").iterdir()
    assert folder.name == "stripes-end-to-end-quick-0"
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert {record["protocol"] for record in document["records"]} == {"end-to-end"}
    assert document["config"]["n_end_to_end_targets"] == 2
    assert "all layers" in (folder / "report.html").read_text(encoding="utf-8")
    assert "how often targets are misled" in outcome.output.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.usefixtures("fast_presets")
def test_numbers_of_poisons_and_bounds_are_those_asked_for(app, tmp_path):
    X, y = make_stripe_images(240, 3, (1, 8, 8), noise=0.2, random_state=0)
    np.savez(tmp_path / "stripes.npz", X=X, y=y)
    command = ["reproduce", tmp_path / "stripes.npz", "--out", tmp_path / "out"]
    command += ["--protocol", "transfer", "--n-targets", 2]
    command += ["--n-poisons", 2, "--linf", 51, "--linf", 0, "--n-jobs", 1]
    outcome = invoke(app, *command)
    assert outcome.exit_code == 0, outcome.output
    document = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    attacked = {(r["attack"], r["n_poisons"]) for r in document["records"]}
    assert attacked == {
        ("none", 0),
        ("flip_labels", 2),
        ("feature_collision", 2),
        ("feature_collision_linf_51_255", 2),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("fast_presets")
@pytest.mark.parametrize("restart", [False, True])
def test_an_interrupted_run_goes_on_unless_told_to_restart(
    app, tmp_path, monkeypatch, restart
):
    X, y = make_stripe_images(240, 3, (1, 8, 8), noise=0.2, random_state=0)
    np.savez(tmp_path / "stripes.npz", X=X, y=y)
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "stripes.npz", "--protocol", "transfer", "--out", "out"]
    command += ["--n-jobs", "1", "--n-targets", "2"]
    mine = tmp_path / "out" / "unfinished"  # a folder of the user's
    mine.mkdir(parents=True)
    trained = []
    train_backbones = run_module.train_backbones

    def counted(*arguments):
        trained.append(1)
        return train_backbones(*arguments)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "train_backbones", counted)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "run_transfer", interrupted)
        assert invoke(app, *command).exit_code != 0
    assert stages_folder("out").exists()
    outcome = invoke(app, *command, *(["--restart"] if restart else []))
    assert outcome.exit_code == 0, outcome.output
    assert len(trained) == 1 + restart
    assert not stages_folder("out").exists()
    assert mine.exists()
    assert (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    ("protocols", "name"),
    [
        (("white-box", "transfer"), "digits-quick-0"),
        (("transfer", "white-box"), "digits-quick-0"),
        (("transfer",), "digits-transfer-quick-0"),
        (("end-to-end", "transfer"), "digits-transfer-end-to-end-quick-0"),
    ],
)
def test_default_folder_names_protocols_that_are_not_the_default(protocols, name):
    config = sklgm.cli._app.preset_config("digits", "quick", protocols=protocols)
    assert sklgm.cli._app._default_folder(config).name == name


def test_version_is_the_installed_one(app):
    outcome = invoke(app, "--version")
    assert outcome.output.strip() == f"sklgm {sklgm.__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "dataset must be one of .*'nowhere'"),
        (["digits", "--preset", "huge"], "preset must be one of .*'huge'"),
        (["digits", "--seed", "-1"], "seed must be in"),
        (["digits", "--linf", "-8"], "max_perturbations must hold finite floats > 0"),
        (["digits", "--n-poisons", "0"], "n_poisons must hold ints of at least 1"),
        (
            ["digits", "--noise-share", "1"],
            r"noise_shares must hold floats in \[0, 1\)",
        ),
        (["digits", "--share", "0.5"], "contamination_shares must hold floats in"),
        (["digits", "--protocol", "black-box"], "protocols must be some of"),
        (
            ["digits", "--n-targets", "0"],
            "n_targets must be an int of at least 1, got 0",
        ),
        (["digits", "--device", "quantum"], "device='quantum' is not a torch device"),
    ],
)
def test_bad_arguments_end_with_one_clear_line(app, tmp_path, arguments, message):
    outcome = invoke(app, "reproduce", *arguments, "--out", tmp_path / "out")
    assert outcome.exit_code == 1
    assert re.search(rf"^Error: .*{message}", outcome.output, re.MULTILINE)
    assert "Traceback" not in outcome.output


def test_missing_data_say_where_they_should_be(app, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", offline)
    outcome = invoke(
        app, "reproduce", "mnist", "--data-home", tmp_path, "--out", tmp_path / "out"
    )
    assert outcome.exit_code == 1
    assert str(tmp_path) in outcome.output.replace("\n", "")
    assert "SKLGM_DATA" in outcome.output


def test_missing_extra_is_named(monkeypatch, capsys):
    def missing(module, extra):
        raise ImportError(f'{module} is needed here: pip install "sklgm[{extra}]"')

    monkeypatch.setattr(sklgm.cli._app, "import_extra", missing)
    with pytest.raises(SystemExit) as raised:
        sklgm.cli._app.main()
    assert 'pip install "sklgm[cli]"' in str(raised.value)


@pytest.mark.parametrize("command", [[], ["reproduce"]])
def test_help_names_every_option(app, command):
    outcome = invoke(app, *command, "--help")
    assert outcome.exit_code == 0
    expected = (
        ["reproduce", "--version"]
        if not command
        else ["--preset", "--device", "--seed", "--data-home", "--out", "--n-targets"]
        + [
            "--attack",
            "--n-poisons",
            "--noise-share",
            "--share",
            "--linf",
            "--protocol",
            "--n-jobs",
            "--restart",
        ]
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", outcome.output)
    assert all(word in plain for word in expected)


@pytest.fixture
def labelled_csv(tmp_path):
    """Two clouds of points; the first three rows claim the other one."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 3)) + 6 * y[:, None]
    claimed = np.where(np.arange(200) < 3, 1 - y, y)
    lines = ["a,b,c,label"]
    lines += [
        ",".join([*(f"{v:.4f}" for v in row), f"class {z}"])
        for row, z in zip(X, claimed, strict=True)
    ]
    path = tmp_path / "points.csv"
    path.write_text("\n".join(lines))
    return path


def test_audit_writes_lists_and_report(app, labelled_csv, tmp_path):
    out = tmp_path / "out"
    outcome = invoke(app, "audit", labelled_csv, "--out", out, "--max-epochs", 5)
    assert outcome.exit_code == 0, outcome.output
    with (out / "suspects.csv").open(newline="") as file:
        suspects = list(csv.DictReader(file))
    assert {int(line["row"]) for line in suspects} >= {0, 1, 2}
    assert suspects[0]["claimed_label"].startswith("class ")
    n_clean = len((out / "clean_index.csv").read_text().splitlines()) - 1
    assert n_clean + len(suspects) == 200
    summary = json.loads((out / "audit.json").read_text())
    assert summary["n_suspects"] == len(suspects)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "points" in page
    assert "Estimated share of wrong labels" in outcome.output
    assert not stages_folder(out).exists()


def test_audit_takes_trusted_rows(app, labelled_csv, tmp_path):
    lines = labelled_csv.read_text().splitlines()
    trusted = tmp_path / "trusted.csv"
    trusted.write_text("\n".join([lines[0], *lines[101:]]))
    labelled_csv.write_text("\n".join(lines[:101]))
    out = tmp_path / "out"
    outcome = invoke(
        app, "audit", labelled_csv, "--trusted", trusted, "--out", out, "--max-epochs",
        5, "--false-alarm-rate", 0.05, "--score-kind", "likelihood", "--cv", 3,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "Judged against 100 trusted rows" in outcome.output
    assert json.loads((out / "audit.json").read_text())["n_trusted"] == 100


@pytest.mark.slow
def test_audit_of_images_shows_them_by_file_name(app, tmp_path):
    X, y = make_stripe_images(60, 2, (1, 8, 8), noise=0.1, random_state=0)
    for index, (image, label) in enumerate(zip(X, y, strict=True)):
        claimed = 1 - label if index == 0 else label
        folder = tmp_path / "stripes" / f"class {claimed}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (255 * image[0].clip(0, 1)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    out = tmp_path / "out"
    outcome = invoke(
        app, "audit", tmp_path / "stripes", "--out", out, "--max-epochs", 60, "--cv", 3,
        "--false-alarm-rate", 0.05,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert "/000.png" in (out / "suspects.csv").read_text()
    assert "data:image/png;base64," in (out / "report.html").read_text()


def test_audit_prints_labels_as_they_are(app, labelled_csv, tmp_path):
    text = labelled_csv.read_text().replace("class 0", "[/cat]")
    labelled_csv.write_text(text.replace("class 1", "[red]dog"))
    outcome = invoke(
        app, "audit", labelled_csv, "--out", tmp_path / "o", "--max-epochs", 2
    )
    assert outcome.exit_code == 0, outcome.output
    assert "[/cat]" in outcome.output
    assert "[red]dog" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop-column", "d"], "no column 'd' of drop_columns"),
        (["--cv", "1"], "cv must be at least 2 folds"),
        (["--label-column", "kind"], "no label_column 'kind'"),
        (["--score-kind", "likelihood"], "needs trusted rows"),
        (["--trusted", "none.csv"], "none.csv does not exist"),
        (["--device", "gpu9"], "device"),
        (["--false-alarm-rate", "2"], "false_alarm_rate must be a float in (0, 1)"),
        (["--backbone", "vgg"], "backbone"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_audit_names_what_is_wrong(app, labelled_csv, tmp_path, arguments, message):
    outcome = invoke(app, "audit", labelled_csv, "--out", tmp_path / "o", *arguments)
    assert outcome.exit_code == 1
    assert "Error: " in outcome.stderr
    assert message in outcome.stderr
    assert not (tmp_path / "o" / "suspects.csv").exists()
