import json
import re
import subprocess
import sys

import pytest

import sklgm
from sklgm import cli
from sklgm.cli._output import in_options

HEAVY = ("numpy", "torch", "sklearn", "matplotlib", "scipy", "polars", "joblib")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["reproduce", "--help"],
        ["audit", "--help"],
        ["apply", "--help"],
        ["doctor", "--help"],
    ],
)
def test_help_is_shown_without_importing_what_computes(arguments):
    code = (
        "import json, sys\n"
        f"sys.argv = ['sklgm', *{arguments!r}]\n"
        "from sklgm.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "print(json.dumps(loaded), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stderr) == []


def test_version_is_the_installed_one(invoke):
    assert invoke("--version").output.strip() == f"sklgm {sklgm.__version__}"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            [],
            [
                "reproduce", "audit", "apply", "attack", "doctor", "--version",
                "completion",
            ],
        ),
        (["doctor"], ["--json"]),
        (
            ["reproduce"],
            [
                "--preset", "--device", "--seed", "--data-home", "--out", "--protocol",
                "--n-targets", "--attack", "--n-poisons", "--share", "--linf",
                "--labels", "--rival", "--set", "--n-jobs", "--restart",
                "--details", "--quiet",
                "contamination",
            ],
        ),
        (
            ["audit"],
            ["--trusted", "--label-column", "--drop-column", "--cv", "--restart"],
        ),
        (
            ["apply"],
            ["--to", "--index", "--label-column", "--drop-column", "--json", "--quiet"],
        ),
        (
            ["attack"],
            ["--estimator", "--surrogate", "--budget", "--linf", "--flat", "--n-jobs"],
        ),
    ],
    ids=["sklgm", "doctor", "reproduce", "audit", "apply", "attack"],
)  # fmt: skip
def test_help_names_every_option(invoke, command, words):
    outcome = invoke(*command, "--help")
    assert outcome.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", outcome.output)
    assert all(word in plain for word in words)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "typer", None)
    for name in [n for n in sys.modules if n.startswith("sklgm.cli._")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert 'pip install "sklgm[cli]"' in str(raised.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("cv must be at least 2", "--cv must be at least 2"),
        ("device='x' is none", "--device 'x' is none"),
        ("set score_kind, or cv=3", "set --score-kind, or --cv 3"),
        ("a cv of rows and every_score_kind", "a cv of rows and every_score_kind"),
    ],
)
def test_messages_name_options(message, expected):
    options = {"cv": "--cv", "device": "--device", "score_kind": "--score-kind"}
    assert in_options(message, options) == expected
