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
    for setting in found.settings:
        was = "" if setting.value == setting.configured else f" (configured: {setting.configured:g})"
        typer.echo(f"{setting.name} = {setting.value:g}{was}  # {setting.meaning}", err=True)


@app.command(name="set")
def set_policy(
    name: Annotated[str, typer.Argument(help="Policy; `sage policy get` lists the names.")],
    pool: Annotated[str, typer.Option(help="Pool of engines; left out, every pool.")] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="A setting of it; those left out are as configured."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the policy and its settings; queued work is kept."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    change = run(_set(name, pool, _numbers(setting or [])))
    if as_json:
        print_json(change)
        return
    where = f"pool {change.pool}" if change.pool else "every pool"
    typer.echo(f"{where}: {change.previous} -> {change.policy}")


async def _get(pool: str) -> PolicyInForce:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.policy(pool)


async def _set(name: str, pool: str, settings: dict[str, float]) -> PolicyChange:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.set_policy(name, pool, settings)


def _numbers(given: list[str]) -> dict[str, float]:
    """Return settings by name. Raises InvalidRequestError for one that is not NAME=NUMBER."""
    from sage_common.errors import InvalidRequestError

    numbers = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            numbers[name.strip()] = float(value)
        except ValueError:
            raise InvalidRequestError(f"--set {text!r}: write NAME=NUMBER, for example --set margin=0.1") from None
    return numbers
