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
        # If Ctrl-C comes inside an `exec` of text (every dataclass runs one), Python
        # exits by the signal instead of the exit code, even if the exception was
        # handled. The next `exec` clears that flag.
        exec("")


__all__ = ["main"]
