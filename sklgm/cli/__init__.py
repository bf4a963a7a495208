"""Command line: arguments to settings, run, write results."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from sklgm.cli._app import app
    except ImportError as error:
        sys.exit(f"Error: {error}")
    app()


__all__ = ["main"]
