"""Printing results as JSON."""

from __future__ import annotations

import typer


def print_json(value: object) -> None:
    """Print dataclasses, lists and plain values as indented JSON."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
