"""``sage app list``."""

from __future__ import annotations

import typer

from sage_cli.consoles import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="list")(list_applications)


def list_applications(as_json: AsJson = False) -> None:
    """List the applications."""
    from dataclasses import asdict

    from sage_apps.catalogue import APPLICATIONS
    from sage_cli.consoles import output, print_json
    from sage_cli.fitted_tables import Column, print_rows

    if as_json:
        print_json([asdict(one) for one in APPLICATIONS])
        return
    columns = [Column("application"), Column("what it does", wrap=True)]
    print_rows(output(), columns, [[one.name, one.summary] for one in APPLICATIONS])
