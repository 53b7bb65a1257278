"""``sage down``."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(down)


def down() -> None:
    """Stop the mesh of this machine; no process is left. Running it again does no harm."""
    from sage_cli.consoles import notes
    from sage_cli.mesh.shutdown import stop_mesh
    from sage_common import paths

    console = notes()
    with console.status("stopping"):
        stopped = stop_mesh(paths.state_dir())
    if not stopped:
        console.print("nothing is running")
    for process in stopped:
        console.print(f"stopped {process.name} (pid {process.pid}{', killed' if process.killed else ''})")
