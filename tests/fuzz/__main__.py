"""``python -m tests.fuzz COMMAND``: count, print, and keep the counts."""

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

# One thread, and the same sums on all machines; before anything is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

#: Command to how many there are of it, at most so many minutes, and what it does.
COMMANDS = {
    "kills": (80, 60, "SIGKILL and SIGINT while commands and trainings run"),
    "files": (10_000, 60, "altered model and cache files"),
    "inputs": (500, 60, "hostile images, archives, tables, arrays and names"),
    "threads": (100, 30, "seeded fits in four threads"),
    "loaders": (0, 4, "coverage-guided fuzzing by atheris"),
    "order": (3, 120, "the tests in random order, with branch coverage"),
    "mutants": (400, 240, "faults in the code that the tests must notice"),
}


def main(arguments=None):
    """Run one command; the exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (n, minutes, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--n", type=int, default=n, help=f"how many ({n})")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--minutes", type=float, default=minutes)
        command.add_argument("--out", type=Path, help="another file of counts")
        if name == "mutants":
            command.add_argument("--only", action="append", help="name of a fault")
    options = vars(parser.parse_args(arguments))
    name, out = options.pop("command"), options.pop("out")
    typed = " ".join(sys.argv[1:] if arguments is None else arguments)
    begun = time.monotonic()
    result = importlib.import_module(f"tests.fuzz.{name}").run(**options)
    from tests.fuzz._record import PATH, keep

    command = f"python -m tests.fuzz {typed}"
    kept = keep(name, command, begun, {"seed": options["seed"], **result}, out or PATH)
    print(json.dumps({k: v for k, v in kept.items() if k != "environment"}, indent=1))
    return int(kept["n_wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
