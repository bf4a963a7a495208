"""The command ``sklgm doctor``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

from sklgm._running import (
    describe_environment,
    import_extra,
    installed_extras,
    user_cache,
)
from sklgm.cli._output import printable

if TYPE_CHECKING:
    import typer
else:
    typer = import_extra("typer", "cli")

_WIDTH = 16


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the same as JSON.")
    ] = False,
) -> None:
    """Show versions, devices, threads, data sets and optional extras.

    Ends with exit code 1 if torch or torchvision cannot be imported.
    """
    found = examine()
    typer.echo(json.dumps(found, indent=2) if as_json else _text(found))
    if found["problems"]:
        raise typer.Exit(code=1)


def examine() -> dict[str, Any]:
    """Look at what this machine has for sklgm.

    Returns
    -------
    dict
        ``"environment"`` (Python, platform, packages), ``"devices"``, ``"bfloat16"``
        (those that have instructions for it), ``"threads"``, ``"data"``, ``"extras"``,
        ``"cache"`` and ``"problems"``, a list of sentences.
    """
    problems: list[str] = []
    return {
        "environment": describe_environment(),
        **_compute(problems),
        "data": _data(),
        "extras": installed_extras(),
        "cache": str(user_cache()),
        "problems": problems,
    }


def _compute(problems: list[str]) -> dict[str, Any]:
    """Devices and threads; what cannot be imported is a problem."""
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:  # of a broken build
        problems.append(f"torch cannot be imported: {error}")
        return {"devices": [], "bfloat16": [], "threads": None}
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        problems.append(
            f"torchvision cannot be imported ({error}); install the build that "
            f"matches torch {torch.__version__}. Only image data sets and pretrained "
            "networks need it."
        )
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [
            f"cuda:{i} ({torch.cuda.get_device_name(i)})"
            for i in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    from sklgm._net import computes_bfloat16  # imports skorch, and torch

    kinds = ["cpu", *["cuda"] * torch.cuda.is_available()]
    threads = {
        "cores": os.cpu_count(),
        "torch": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }
    return {
        "devices": devices,
        "bfloat16": [kind for kind in kinds if computes_bfloat16(torch.device(kind))],
        "threads": threads,
    }


def _data() -> dict[str, Any]:
    from sklgm.datasets import get_data_home
    from sklgm.datasets._named import missing_files

    home = get_data_home()
    return {
        "home": str(home),
        "SKLGM_DATA": os.environ.get("SKLGM_DATA"),
        "missing_files": missing_files(home),
    }


def _text(found: dict[str, Any]) -> str:
    """Write what was found as lines of a name and a value."""
    environment, threads = found["environment"], found["threads"]
    lines = [("sklgm", environment["packages"]["sklgm"] or "unknown")]
    lines.append(("Python", f"{environment['python']}, {environment['platform']}"))
    for name, version in environment["packages"].items():
        if name != "sklgm" and version is not None:
            lines.append((name, version))
    lines.append(("devices", ", ".join(found["devices"]) or "none"))
    lines.append(("bfloat16", ", ".join(found["bfloat16"]) or "on no device"))
    if threads is not None:
        said = threads["OMP_NUM_THREADS"]
        text = f"{threads['torch']} of {threads['cores']} cores used by torch"
        text += f" (OMP_NUM_THREADS={said})" if said else ""
        lines.append(("threads", text))
    data = found["data"]
    origin = "SKLGM_DATA" if data["SKLGM_DATA"] else "set SKLGM_DATA to change it"
    lines.append(("data folder", f"{data['home']} ({origin})"))
    lines.append(("digits", "bundled with scikit-learn"))
    for name, missing in data["missing_files"].items():
        text = "found"
        if missing:
            text = f"lacks {', '.join(missing[:2])}"
            text += f" and {len(missing) - 2} more files" if len(missing) > 2 else ""
            text += "; downloaded when it is first used"
        lines.append((name, text))
    lines.append(("cache folder", found["cache"]))
    for extra, missing in found["extras"].items():
        text = "installed"
        if missing:
            text = f'lacks {", ".join(missing)}: pip install "sklgm[{extra}]"'
        lines.append((f"extra {extra}", text))
    written = [f"{name:<{_WIDTH}}{text}" for name, text in lines]
    written += [f"Problem: {problem}" for problem in found["problems"]]
    return printable("\n".join(written))
