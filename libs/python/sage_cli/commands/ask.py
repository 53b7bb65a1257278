"""``sage ask``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson, Url

if TYPE_CHECKING:
    from sage_apps.knowledge_answers import KnowledgeAnswer
    from sage_middleware.knowledge.collection import Collection
    from sage_middleware.knowledge.library import Library


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    docs: Annotated[
        Path | None,
        typer.Option(help="Folder of documents, or one document; what is read of it is kept between questions."),
    ] = None,
    kb: Annotated[str | None, typer.Option(metavar="NAME", help="Knowledge base; see `sage kb`.")] = None,
    passages: Annotated[int, typer.Option("--passages", "-k", min=1, max=100, help="Passages given to the model.")] = 4,
    model: Annotated[
        str | None,
        typer.Option(
            help="Chat model; left out, one that you have registered, else sage-extractive, which quotes. A small one "
            "that generates (smollm2-135m) invents when its context is long."
        ),
    ] = None,
    embed_model: Annotated[str | None, typer.Option(help="Embedding model, with --docs.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    context_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of all passages.")] = 1000,
    min_score: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Where no passage is as similar, nothing relevant was found.")
    ] = 0.2,
    rerank: Annotated[bool, typer.Option("--rerank", help="Let a model order the first passages.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="With --docs: embed every document again.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Answer a question from documents, with the passages that the answer rests on."""
    from sage_apps.knowledge_answers import answer_from_knowledge, with_ingest
    from sage_cli.consoles import print_json
    from sage_cli.knowledge import ingest_with_progress, with_models
    from sage_cli.running import run
    from sage_common.errors import InvalidRequestError
    from sage_middleware.knowledge.library import Library

    if (docs is None) == (kb is None):
        raise InvalidRequestError("name what to answer from: either --docs FOLDER or --kb NAME")

    async def answered(collection: Collection) -> KnowledgeAnswer:
        async with with_models(url) as models:
            report = None
            if docs is not None:
                report = await ingest_with_progress(collection, docs, models, {})
                _require_documents(collection, docs, [*report.left_out, *report.ignored])
            answer = await answer_from_knowledge(
                collection,
                question,
                models,
                passages,
                chat_model=model,
                max_tokens=max_tokens,
                context_tokens=context_tokens,
                min_score=min_score,
                rerank=rerank,
            )
        return answer if report is None else with_ingest(answer, report.seconds, [*report.left_out, *report.ignored])

    library = Library()
    if kb is not None:
        opened = library.open(kb, read_only=True)
    else:
        assert docs is not None
        opened = _of_folder(library, docs, embed_model, fresh=fresh)
    with opened as collection:
        answer = run(answered(collection))
    if as_json:
        print_json(answer)
    else:
        _show(answer)


def _of_folder(library: Library, docs: Path, embed_model: str | None, *, fresh: bool) -> Collection:
    from sage_common.errors import NotFoundError
    from sage_middleware.knowledge.library import name_for_folder

    if not docs.exists():
        raise NotFoundError(f"{docs} is not there; name a document or a folder of them")
    name = name_for_folder(docs)
    if name in library.names():
        with library.open(name, read_only=True) as kept:
            is_other = embed_model is not None and embed_model not in (kept.model, kept.requested_model)
        # It can be made again from the folder at any time.
        if fresh or is_other:
            library.drop(name)
    return library.open(name) if name in library.names() else library.create(name, model=embed_model)


def _require_documents(collection: Collection, docs: Path, left_out: list[tuple[str, str]]) -> None:
    from sage_common.errors import UnprocessableError

    if collection.counts()[0]:
        return
    first = "; ".join(f"{item}: {reason}" for item, reason in left_out[:3])
    why = f", first {first}" if first else ""
    raise UnprocessableError(
        f"{docs} holds no document that can be read ({len(left_out)} entries left out{why}); "
        "put .md, .rst, .txt, .html, .pdf or office files there, or name another folder or document",
        code="no_documents",
    )


def _show(answer: KnowledgeAnswer) -> None:
    from collections import Counter

    from rich.padding import Padding
    from rich.text import Text

    from sage_cli.consoles import notes, output

    console = output()
    console.print(answer.text, markup=False)
    console.print()
    for source in answer.sources:
        score = f"{source.score:.3f}" if source.score is not None else "words"
        headline = Text.assemble((f"[{source.number}] ", "bold"), f"{score}  ", (source.place, "cyan"))
        if source.heading:
            headline.append(f"  {source.heading}")
        console.print(headline)
        console.print(Padding(Text(source.excerpt, style="dim"), (0, 0, 0, 4), expand=False))
    total = answer.timings.get("total", 0.0)
    notes().print(f"{answer.model or 'no model was asked'}, {total:.1f} s", markup=False, style="dim")
    reasons = Counter(reason for _, reason in answer.left_out)
    if reasons:
        listed = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(5))
        notes().print(f"left out: {listed} (--json lists them)", markup=False, style="dim")
