"""``sage ask``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_apps.rag import RagAnswer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    docs: Annotated[Path, typer.Option(help="Folder of md, txt, html and pdf documents, or one document.")],
    passages: Annotated[int, typer.Option("--passages", "-k", min=1, help="Passages given to the model.")] = 4,
    model: Annotated[
        str | None,
        typer.Option(
            help="Chat model; left out, sage-extractive, which quotes. A small one that generates (smollm2-135m) "
            "invents when its context is long."
        ),
    ] = None,
    embed_model: Annotated[str | None, typer.Option(help="Embedding model.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Embed every document again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Annotated[str | None, typer.Option(help="Gateway (http://…) or ring (nats://…).")] = None,
) -> None:
    """Answer a question from a folder of documents, with the passages that the answer rests on."""
    from sage_cli.running import run

    answer = run(_ask(question, docs, passages, model, embed_model, max_tokens, fresh, url))
    if as_json:
        typer.echo(_as_json(answer))
    else:
        _show(answer)


def _as_json(answer: RagAnswer) -> str:
    from dataclasses import asdict

    import orjson

    # orjson takes no named tuples.
    skipped = [left_out._asdict() for left_out in answer.skipped]
    return orjson.dumps({**asdict(answer), "skipped": skipped}, option=orjson.OPT_INDENT_2).decode()


async def _ask(
    question: str,
    docs: Path,
    passages: int,
    model: str | None,
    embed_model: str | None,
    max_tokens: int | None,
    fresh: bool,
    url: str | None,
) -> RagAnswer:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from sage_apps.client_models import ClientModels
    from sage_apps.rag import RagProgress, answer_question
    from sage_cli.consoles import notes
    from sage_cli.target import client_target
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_common import paths

    doing = TextColumn("{task.description}")
    columns = (SpinnerColumn(), doing, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=notes(), transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def show(state: RagProgress) -> None:
            description = "answering" if state.answering else f"{state.documents} documents, embedding passages"
            progress.update(task, description=description, completed=state.embedded, total=state.chunks or None)

        async with await AsyncUnifiedInferenceClient.create(client_target(url)) as client:
            return await answer_question(
                question,
                docs,
                ClientModels(client, quotes=True),
                passages,
                show,
                chat_model=model,
                embedding_model=embed_model,
                max_tokens=max_tokens,
                cache_dir=None if fresh else paths.private_dir(paths.cache_dir() / "vectors"),
            )


def _show(answer: RagAnswer) -> None:
    from collections import Counter

    from rich.padding import Padding
    from rich.text import Text

    from sage_cli.consoles import notes, output

    console = output()
    console.print(answer.text, markup=False)
    console.print()
    for source in answer.sources:
        title = f"  {source.title}" if source.title else ""
        where = f"{source.path}:{source.start}-{source.end}"
        console.print(Text.assemble((f"[{source.number}] ", "bold"), f"{source.score:.3f}  ", (where, "cyan"), title))
        console.print(Padding(Text(source.excerpt, style="dim"), (0, 0, 0, 4)))
    total = answer.timings.get("total", 0.0)
    notes().print(f"[dim]{answer.model}, {total:.1f} s[/dim]")
    reasons = Counter(skipped.reason for skipped in answer.skipped)
    if reasons:
        listed = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(5))
        notes().print(f"left out: {listed} (--json lists them)", markup=False, style="dim")
    for warning in answer.warnings:
        notes().print(warning, markup=False, style="yellow")
