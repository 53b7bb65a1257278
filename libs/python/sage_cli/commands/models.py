"""``sage models``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(models)


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Annotated[str | None, typer.Option(help="Gateway (http://…) or ring (nats://…).")] = None,
) -> None:
    """List the models that some engine serves."""
    from sage_cli.running import run

    run(_models(as_json, url))


async def _models(as_json: bool, url: str | None) -> None:
    import time

    import orjson
    from rich.table import Table
    from rich.text import Text

    from sage_cli.consoles import output
    from sage_cli.target import client_target
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_client.models import model_to_json

    async with await AsyncUnifiedInferenceClient.create(client_target(url)) as client:
        found = await client.models()
    if as_json:
        listed = [model_to_json(model, int(time.time())) for model in found]
        typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "work", "context", "dimensions", "also called"):
        table.add_column(name, overflow="fold", justify="right" if name in ("context", "dimensions") else "left")
    for model in found:
        table.add_row(
            model.id,
            ", ".join(kind.name.lower().removeprefix("llm_") for kind in model.kinds),
            str(model.max_context_tokens or ""),
            str(model.dimensions or ""),
            ", ".join(model.aliases),
        )
    console = output()
    console.print(table)
    for model in found:
        if model.description:
            console.print(Text.assemble("\n", (f"{model.id}: ", "bold"), model.description))
