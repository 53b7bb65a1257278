"""``sage policy``: the scheduling policy while the mesh runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_client.management.views import PolicyChange, PolicyInForce

app = typer.Typer(help="Show and change the scheduling policy while the mesh runs.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="get")
def get_policy(
    pool: Annotated[str, typer.Argument(help="Pool of engines; left out, the default one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the policy in force and those that may be set."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    found = run(_get(pool))
    if as_json:
        print_json(found)
        return
    typer.echo(found.policy)
    typer.echo(f"pool {found.pool}; available: {', '.join(found.available)}", err=True)


@app.command(name="set")
def set_policy(
    name: Annotated[str, typer.Argument(help="Policy; `sage policy get` lists the names.")],
    pool: Annotated[str, typer.Option(help="Pool of engines; left out, every pool.")] = "",
    as_json: AsJson = False,
) -> None:
    """Change the policy; queued work is kept."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    change = run(_set(name, pool))
    if as_json:
        print_json(change)
        return
    where = f"pool {change.pool}" if change.pool else "every pool"
    typer.echo(f"{where}: {change.previous} -> {change.policy}")


async def _get(pool: str) -> PolicyInForce:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.policy(pool)


async def _set(name: str, pool: str) -> PolicyChange:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.set_policy(name, pool)
