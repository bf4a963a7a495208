"""Command line: arguments to settings, run, write results."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from sklgm.cli._app import app
    except ImportError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:  # before any command could say how to go on
        sys.exit(130)
    app()


__all__ = ["main"]
