"""The two consoles: results go to stdout, everything said about them to stderr."""

from __future__ import annotations

from rich.console import Console


def output() -> Console:
    """For results."""
    return Console(highlight=False)


def notes() -> Console:
    """For progress, hints and warnings, so that stdout can be piped."""
    return Console(stderr=True, highlight=False)
