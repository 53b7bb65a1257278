"""``sage engine lora``: adapters that a vLLM server loads while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.management.views import EngineView

app = typer.Typer(help="Load and unload LoRA adapters of a running engine.", no_args_is_help=True)

EngineId = Annotated[str, typer.Argument(metavar="ENGINE", help="Name or id; `sage engine list` shows them.")]
Name = Annotated[str, typer.Argument(help="What callers call the adapted model.")]


@app.command()
def load(
    engine: EngineId,
    name: Name,
    path: Annotated[str, typer.Argument(help="The adapter: a folder on the server's machine, or a name on the hub.")],
    as_json: AsJson = False,
) -> None:
    """Load an adapter; it is a model of the engine from then on, until its server ends."""
    from sage_cli.running import run

    _show(run(_load(engine, name, path)), as_json)


@app.command()
def unload(engine: EngineId, name: Name, as_json: AsJson = False) -> None:
    """Unload an adapter."""
    from sage_cli.running import run

    _show(run(_unload(engine, name)), as_json)


def _show(engine: EngineView, as_json: bool) -> None:
    from sage_cli.consoles import print_json

    if as_json:
        print_json(engine)
        return
    typer.echo(f"{engine.name or engine.engine_id} serves {', '.join(engine.models)}")


async def _load(engine_id: str, name: str, path: str) -> EngineView:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.load_lora(engine_id, name, path)


async def _unload(engine_id: str, name: str) -> EngineView:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.unload_lora(engine_id, name)
