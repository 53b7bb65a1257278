"""``sage studio``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(studio)


def studio(
    target: Annotated[
        str | None, typer.Option(help="Gateway of the mesh to show; left out, the one of this machine.", metavar="URL")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the page; 0 takes a free one.", min=0, max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind; others than loopback ask for a key.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask for no key on another address, where the mesh asks for none.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write its log as JSON, a line each; the first has the address.")
    ] = False,
) -> None:
    """Show a mesh as a web page, until Ctrl-C. `sage up` runs one by itself."""
    import os
    import sys

    from sage_cli.mesh.studio_process import is_installed
    from sage_common.errors import ConfigurationError

    if not is_installed():
        raise ConfigurationError(
            "the studio is not installed; `pip install 'sage-mesh[studio]'` brings it", code="studio_missing"
        )
    arguments = [sys.executable, "-m", "sage_studio"]
    for flag, value in (("--target", target), ("--port", port), ("--host", host)):
        arguments += [flag, str(value)] if value is not None else []
    arguments += ["--insecure"] if insecure else []
    if as_json:
        os.environ["SAGE_LOG_FORMAT"] = "json"
    elif sys.stderr.isatty():
        where = f"http://{host or 'localhost'}:{port}/" if port else "at the address that its first line names"
        typer.echo(f"studio {where}; Ctrl-C ends it", err=True)
    sys.stdout.flush()
    os.execv(sys.executable, arguments)
