"""``sage rerank``."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.consoles import AsJson, Url


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rerank)


def rerank(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    documents: Annotated[list[str], typer.Argument(help="Documents; `-` reads one from each line of stdin.")],
    model: Annotated[str | None, typer.Option(help="Model; left out, the mesh's own choice.")] = None,
    top_n: Annotated[int | None, typer.Option("--top", "-n", min=1, help="Only the best N.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Order documents by their relevance to a query, the most relevant first."""
    from sage_cli.running import run

    run(_rerank(query, documents, model, top_n, as_json, url))


async def _rerank(
    query: str, documents: list[str], model: str | None, top_n: int | None, as_json: bool, url: str | None
) -> None:
    import sys

    from sage_cli.consoles import print_json
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_common.errors import InvalidRequestError

    if documents == ["-"]:
        documents = [line.rstrip("\n") for line in sys.stdin if line.strip()]
        if not documents:
            raise InvalidRequestError("the standard input has no line with text")
    target = client_target(url)
    with waiting() as display:
        opening = AsyncUnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=display.show)
        async with await opening as client:
            result = await client.rerank(query, documents, model, top_n)
    if as_json:
        ranked = [
            {"index": d.index, "relevance_score": d.relevance_score, "document": documents[d.index]}
            for d in result.results
        ]
        print_json({"model": result.model, "results": ranked})
        return
    for document in result.results:
        typer.echo(f"{document.relevance_score:.4f}  {documents[document.index]}")
