"""``sage ask``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_apps.rag import RagAnswer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    docs: Annotated[Path, typer.Option(help="Folder of md, rst, txt, html and pdf documents, or one document.")],
    passages: Annotated[int, typer.Option("--passages", "-k", min=1, max=100, help="Passages given to the model.")] = 4,
    model: Annotated[
        str | None,
        typer.Option(
            help="Chat model; left out, sage-extractive, which quotes. A small one that generates (smollm2-135m) "
            "invents when its context is long."
        ),
    ] = None,
    embed_model: Annotated[str | None, typer.Option(help="Embedding model.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    min_score: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Where no passage is as similar, nothing relevant was found.")
    ] = 0.2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Embed every document again.")] = False,
    as_json: AsJson = False,
    url: Annotated[str | None, typer.Option(help="Gateway (http://…) or ring (nats://…).")] = None,
) -> None:
    """Answer a question from a folder of documents, with the passages that the answer rests on."""
    from sage_cli.running import run

    answer = run(_ask(question, docs, passages, model, embed_model, max_tokens, min_score, fresh, url))
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
    max_tokens: int,
    min_score: float,
    fresh: bool,
    url: str | None,
) -> RagAnswer:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from sage_apps.client_models import ClientModels
    from sage_apps.rag import RagProgress, answer_question
    from sage_cli.consoles import notes
    from sage_cli.target import client_target
    from sage_cli.waiting import WaitLines
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_common import paths

    target = client_target(url)
    doing = TextColumn("{task.description}")
    columns = (SpinnerColumn(), doing, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=notes(), transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def show(state: RagProgress) -> None:
            description = "answering" if state.answering else f"{state.documents} documents, embedding passages"
            progress.update(task, description=description, completed=state.embedded, total=state.chunks or None)

        lines = WaitLines(progress.console)

        def show_wait(text: str) -> None:
            if progress.console.is_terminal:
                progress.update(task, description=text)
            else:
                lines.show(text)

        opening = AsyncUnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=show_wait)
        async with await opening as client:
            return await answer_question(
                question,
                docs,
                ClientModels(client, quotes=True),
                passages,
                show,
                chat_model=model,
                embedding_model=embed_model,
                max_tokens=max_tokens,
                min_score=min_score,
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
        headline = Text.assemble(
            (f"[{source.number}] ", "bold"), f"{source.score:.3f}  ", (source.place, "cyan"), title
        )
        console.print(headline)
        console.print(Padding(Text(source.excerpt, style="dim"), (0, 0, 0, 4), expand=False))
    total = answer.timings.get("total", 0.0)
    notes().print(f"{answer.model or 'no model was asked'}, {total:.1f} s", markup=False, style="dim")
    reasons = Counter(skipped.reason for skipped in answer.skipped)
    if reasons:
        listed = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(5))
        notes().print(f"left out: {listed} (--json lists them)", markup=False, style="dim")
    for warning in answer.warnings:
        notes().print(warning, markup=False, style="yellow")
