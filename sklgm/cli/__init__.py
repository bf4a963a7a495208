"""Command line: arguments to settings, run, write results."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        try:
            from sklgm.cli._app import app
        except ImportError as error:
            sys.exit(f"Error: {error}")
        except KeyboardInterrupt:  # before any command could say how to go on
            sys.exit(130)
        app()
    finally:
        # Where Ctrl-C comes inside an `exec` of text, as each dataclass has one, Python
        # ends by the signal and not by the exit code, whoever handled the exception;
        # until the next `exec`.
        exec("")


__all__ = ["main"]
