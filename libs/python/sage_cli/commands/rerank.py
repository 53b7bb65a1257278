"""``sage rerank``: order lines by their relevance to a query."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def rerank(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    documents: Annotated[list[str] | None, typer.Argument(help="Documents; none reads lines from stdin.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model; default any that ranks.")] = None,
    top_n: Annotated[int | None, typer.Option("--top", "-n", min=1, help="Only the best so many.")] = None,
) -> None:
    """Order documents by their relevance to a query, the most relevant first."""
    from sage_cli.target import with_client

    given = documents or [line.strip() for line in sys.stdin if line.strip()]
    result = with_client(lambda client: client.rerank(query, given, model, top_n))
    for document in result.results:
        typer.echo(f"{document.relevance_score:.4f}  {given[document.index]}")
