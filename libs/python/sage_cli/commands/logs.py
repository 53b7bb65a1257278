"""``sage logs``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(logs)


def logs(
    service: Annotated[str | None, typer.Argument(help="A process, e.g. gateway; all of them when left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines to show.")] = 40,
    raw: Annotated[bool, typer.Option("--raw", help="Print the lines as they are.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each line as an object: process, line, fields.")
    ] = False,
) -> None:
    """Show what the processes wrote."""
    from sage_cli.log_reader import LogReader, chosen_logs
    from sage_cli.running import run
    from sage_cli.target import say_local_mesh
    from sage_common import paths

    say_local_mesh()
    reader = LogReader(chosen_logs(paths.log_dir(), service), raw=raw, as_json=as_json)
    for line in reader.last(lines):
        typer.echo(line)
    if follow:
        run(reader.follow(typer.echo))
