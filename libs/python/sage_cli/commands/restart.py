"""``sage restart``."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.consoles import AsJson

DRAIN_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(restart)


def restart(
    services: Annotated[
        list[str] | None, typer.Argument(help="Services to restart; all without any.", metavar="[SERVICE]...")
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            help="Longest wait for what an old process has under way; then it is stopped.", metavar="SECONDS", min=0
        ),
    ] = DRAIN_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Restart the services of this machine's mesh, one process at a time, while it goes on answering.

    A new process is ready before the old one leaves, and the old one finishes what it has under way. Settings are read
    anew, addresses excepted. The NATS server is not restarted.
    """
    from sage_cli.consoles import notes, print_json
    from sage_cli.mesh.rolling_restart import chosen_services
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.supervisor_orders import RestartOrder, give_order
    from sage_cli.running import run
    from sage_cli.target import say_local_mesh
    from sage_common.errors import UnavailableError

    say_local_mesh()
    order = RestartOrder(tuple(chosen_services(services or [])), drain)
    if local_state() is None:
        raise UnavailableError("no mesh runs on this machine; `sage up` starts one", code="not_running")
    console = notes()

    async def follow() -> list[str]:
        restarted: list[str] = []
        async for text, names in give_order(order):
            restarted = names
            if text:
                console.print(text, markup=False, highlight=False)
        return restarted

    try:
        restarted = run(follow())
    except KeyboardInterrupt:
        console.print("the restart goes on; `sage status` shows it")
        raise
    if as_json:
        print_json({"restarted": restarted})
    else:
        console.print(f"restarted {len(restarted)} processes")
