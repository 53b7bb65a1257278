"""``sage down``."""

from __future__ import annotations

import typer

from sage_cli.consoles import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(down)


def down(as_json: AsJson = False) -> None:
    """Stop the mesh of this machine; no process is left. Running it again does no harm."""
    from dataclasses import asdict

    from sage_cli.consoles import notes, print_json
    from sage_cli.mesh.shutdown import stop_mesh
    from sage_cli.target import say_local_mesh
    from sage_common import paths

    say_local_mesh()
    console = notes()
    with console.status("stopping"):
        stopped = stop_mesh(paths.state_dir())
    if as_json:
        print_json([asdict(process) for process in stopped])
        return
    if not stopped:
        console.print("nothing is running")
    for process in stopped:
        console.print(f"stopped {process.name} (pid {process.pid}{', killed' if process.killed else ''})")
