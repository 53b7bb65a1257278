"""``sage app``: the applications that come with SAGE."""

from __future__ import annotations

import typer

from sage_apps.catalogue import APPLICATIONS
from sage_cli.commands_on_use import group_of

_MODULES = {
    "list": "sage_cli.applications.listing",
    **{one.name: f"sage_cli.applications.{one.name}" for one in APPLICATIONS},
}
app = typer.Typer(cls=group_of(_MODULES), help="Applications on top of the mesh.", no_args_is_help=True)
