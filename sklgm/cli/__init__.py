"""Command line: arguments to settings, run, write results."""

from sklgm.cli._app import main, make_app

__all__ = ["main", "make_app"]
