"""``sage bench kb``: what a knowledge base costs on this machine, and how often it finds the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson, Url

if TYPE_CHECKING:
    from sage_benchmark.knowledge.knowledge_result import KnowledgeResult


def kb(
    docs: Annotated[Path, typer.Option(help="Folder of documents to ingest.")] = Path(),
    questions: Annotated[
        Path | None,
        typer.Option(help="Labelled questions about them: tab-separated question, file, heading, sentence."),
    ] = None,
    sets: Annotated[
        Path | None,
        typer.Option(help="Folder of labelled sets, with documents of their own: sets.json and NAME.tsv for each."),
    ] = None,
    generating: Annotated[
        str | None,
        typer.Option("--generating", metavar="MODEL", help="Chat model whose answers are measured, too."),
    ] = None,
    vectors: Annotated[int, typer.Option("--vectors", min=100, help="Vectors to search.")] = 100_000,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Searches that are timed.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the vectors.")] = 7,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Measure ingest, search and how often the answer is found, with the embedder of the mesh that runs."""
    from sage_benchmark.knowledge.knowledge_benchmark import KnowledgePlan, run
    from sage_benchmark.knowledge.labelled_questions import read_questions
    from sage_benchmark.knowledge.labelled_sets import read_sets
    from sage_cli.consoles import notes, print_json
    from sage_cli.knowledge import with_models
    from sage_cli.running import run as run_async

    labelled = read_questions(questions) if questions is not None else []
    further = read_sets(sets) if sets is not None else []
    plan = KnowledgePlan(docs, labelled, further, generating, vectors, queries, seed)

    async def measured() -> KnowledgeResult:
        async with with_models(url) as models:
            return await run(plan, models, lambda step: notes().print(step, markup=False))

    result = run_async(measured())
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _print(result: KnowledgeResult) -> None:
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    verdicts = {True: "reached", False: "MISSED", None: ""}
    rows = []
    for one in result.figures:
        bar = "" if one.bar is None else f"{'≤' if one.at_most else '≥'} {one.bar:g} {one.unit}".strip()
        rows.append([one.name, f"{one.value:,.3g} {one.unit}".strip(), bar, verdicts[one.is_reached]])
    columns = [Column("figure", wrap=True), Column("measured", right=True), Column("bar", right=True), Column("")]
    print_rows(output(), columns, rows)
    if result.quality:
        output().print()
        names = [Column("search"), *(Column(name, right=True) for name in ("hit@1", "hit@4", "nDCG@10"))]
        print_rows(output(), names, [[mode, *(f"{one:.3f}" for one in q)] for mode, q in result.quality.items()])
    if result.answers:
        output().print()
        ways = list(dict.fromkeys(way for shares in result.answers.values() for way in shares))
        names = [Column("first sentence right", wrap=True), *(Column(split, right=True) for split in result.answers)]
        shares = result.answers.values()
        print_rows(
            output(), names, [[way, *(f"{one[way]:.3f}" if way in one else "" for one in shares)] for way in ways]
        )
