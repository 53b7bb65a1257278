"""``sage embed``."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.consoles import Url


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(embed)


def embed(
    texts: Annotated[list[str], typer.Argument(help="Texts; `-` reads one from each line of the standard input.")],
    model: Annotated[str | None, typer.Option(help="Model; left out, the mesh's own choice.")] = None,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Cut vectors to this many dimensions.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the vectors as JSON, a line a text.")] = False,
    url: Url = None,
) -> None:
    """Turn texts into vectors; for several texts, show how similar they are."""
    from sage_cli.running import run

    run(_embed(texts, model, dimensions, as_json, url))


async def _embed(texts: list[str], model: str | None, dimensions: int | None, as_json: bool, url: str | None) -> None:
    import sys

    import orjson

    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_common.errors import InvalidRequestError

    if texts == ["-"]:
        texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
        if not texts:
            raise InvalidRequestError("the standard input has no line with text")
    target = client_target(url)
    with waiting() as display:
        opening = AsyncUnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=display.show)
        async with await opening as client:
            result = await client.embed(texts, model, dimensions)
    if as_json:
        for text, vector in zip(texts, result.vectors, strict=True):
            line = orjson.dumps({"text": text, "vector": vector}, option=orjson.OPT_SERIALIZE_NUMPY)
            sys.stdout.write(line.decode() + "\n")
        return
    console = output()
    console.print(f"{len(texts)} × {result.vectors.shape[1]} from {result.model}, {result.usage.prompt_tokens} tokens")
    # Vectors come normalised, but not after every engine: cosine needs the norms.
    unit = result.vectors / (result.vectors**2).sum(axis=1, keepdims=True) ** 0.5
    shown = len(texts) if 1 < len(texts) <= 8 else 0
    columns = [
        Column("#", right=True),
        Column("text", wrap=True),
        Column("first values", drop=1),
        *(Column(f"~{number + 1}", right=True, drop=2) for number in range(shown)),
    ]
    rows = []
    for number, text in enumerate(texts):
        values = " ".join(f"{value:+.3f}" for value in result.vectors[number][:4])
        similar = [f"{float(unit[number] @ unit[other]):.2f}" for other in range(shown)]
        rows.append([str(number + 1), text[:60], f"{values} …", *similar])
    print_rows(console, columns, rows)
