"""``sage models``."""

from __future__ import annotations

import typer

from sage_cli.consoles import AsJson, Url


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(models)


def models(
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List the models that some engine serves, and the names that `sage model` gives them."""
    from sage_cli.running import run

    run(_models(as_json, url))


async def _models(as_json: bool, url: str | None) -> None:
    import time

    import orjson
    from rich.text import Text

    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_client.models import model_to_json

    target = client_target(url)
    with waiting() as display:
        opening = AsyncUnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=display.show)
        async with await opening as client:
            found = await client.models()
    if as_json:
        listed = [model_to_json(model, int(time.time())) for model in found]
        typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
        return
    routed = any(model.targets for model in found)
    columns = (
        Column("model"),
        Column("work", wrap=True),
        Column("context", right=True, drop=1),
        Column("dimensions", right=True, drop=2),
        Column("also called", wrap=True, drop=3),
        *([Column("leads to", wrap=True)] if routed else []),
    )
    rows = [
        (
            model.id,
            ", ".join(kind.name.lower().removeprefix("llm_") for kind in model.kinds),
            str(model.max_context_tokens or ""),
            str(model.dimensions or ""),
            ", ".join(model.aliases),
            *([", ".join(model.targets)] if routed else []),
        )
        for model in found
    ]
    console = output()
    print_rows(console, columns, rows)
    for model in found:
        if model.description:
            console.print(Text.assemble("\n", (f"{model.id}: ", "bold"), model.description))
