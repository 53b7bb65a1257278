"""Where output goes: results to stdout, everything said about them to stderr."""

from __future__ import annotations

import typer
from rich.console import Console


def output() -> Console:
    """For results."""
    return Console(highlight=False)


def notes() -> Console:
    """For progress, hints and warnings, so that stdout can be piped."""
    return Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Print dataclasses, lists and plain values to stdout as indented JSON."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
