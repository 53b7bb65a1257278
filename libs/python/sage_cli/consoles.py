"""Where output goes: results to stdout, everything said about them to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

# Of every command: what it prints, for programs.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
# Of a command that speaks to a mesh, by either way.
Url = Annotated[str | None, typer.Option(help="Gateway (http://…) or ring (nats://…).")]
# What reads a pipe wants a line a record, however long.
PIPE_COLUMNS = 100_000


def output() -> Console:
    """For results: as wide as the terminal, and without line breaks of its own where something reads them."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def notes() -> Console:
    """For progress, hints and warnings, so that stdout can be piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: object) -> None:
    """Print dataclasses, lists and plain values to stdout as indented JSON."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def print_json_line(value: object) -> None:
    """Print a value to stdout as one line of JSON, for what comes bit by bit."""
    import orjson

    typer.echo(orjson.dumps(value, default=str).decode())
