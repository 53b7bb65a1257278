"""``sage status``."""

from __future__ import annotations

import typer

from sage_cli.consoles import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    as_json: AsJson = False,
) -> None:
    """Show what runs where: processes, ports, memory, engines, NATS.

    Exit code 0: all is well; 1: something is not; 3: nothing runs.
    """
    from sage_cli.consoles import notes, output
    from sage_cli.exit_codes import EXIT_NOT_RUNNING
    from sage_cli.mesh.inspection import inspect_mesh
    from sage_cli.mesh.tables import mesh_tables
    from sage_cli.running import run
    from sage_cli.target import say_local_mesh
    from sage_cli.waiting import waiting

    say_local_mesh()
    with waiting("asking the registry, the services' health and the engines"):
        view = run(inspect_mesh())
    if as_json:
        import orjson

        typer.echo(orjson.dumps(view.to_json(), option=orjson.OPT_INDENT_2).decode())
    elif view.processes:
        console = output()
        console.print(mesh_tables(view, console.width))
        if view.message and view.message not in view.problems:
            notes().print(f"{view.phase}: {view.message}", markup=False)
        for warning in view.warnings:
            notes().print(warning, markup=False, style="yellow")
        for problem in view.problems:
            notes().print(problem, markup=False, style="red")
    else:
        notes().print("nothing is running; `sage up` starts it")
    if not view.processes:
        raise typer.Exit(EXIT_NOT_RUNNING)
    if not view.healthy:
        raise typer.Exit(1)
