"""``sage kb``: knowledge bases made, ingested into, searched, listed, exported and dropped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson, Url

if TYPE_CHECKING:
    from sage_middleware.knowledge.ingest_report import IngestReport
    from sage_middleware.knowledge.records import Passage

app = typer.Typer(help="Keep documents that can be searched and asked.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the knowledge base.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FIELD=VALUE", help="Only such documents, as `path=docs/*`; may be repeated."),
]


@app.command()
def create(
    name: Name,
    embed_model: Annotated[str | None, typer.Option(help="Embedding model; left out, the mesh's own.")] = None,
    chunk_tokens: Annotated[int, typer.Option(min=16, max=8192, help="Most tokens of a passage.")] = 120,
    index_above: Annotated[
        int, typer.Option(min=0, help="With more passages there is an approximate index; 0: all are always scanned.")
    ] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Make an empty knowledge base."""
    from sage_cli.consoles import output, print_json
    from sage_middleware.knowledge.library import Library

    with Library().create(name, model=embed_model, chunk_tokens=chunk_tokens, index_above=index_above) as made:
        if as_json:
            print_json({"name": name, "file": str(made.path)})
        else:
            output().print(f"{name} is made; `sage kb ingest {name} FOLDER` fills it", markup=False, soft_wrap=True)


@app.command()
def ingest(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Folder of documents, or one document.")],
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="FIELD=VALUE", help="Kept with each document stored; may be repeated."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Bring a knowledge base up to date with a folder. What has not changed is neither read nor embedded."""
    from collections import Counter
    from dataclasses import asdict

    from sage_cli.consoles import notes, output, print_json
    from sage_cli.knowledge import ingest_with_progress, with_models
    from sage_cli.running import run
    from sage_middleware.knowledge.library import Library

    tags = _pairs(tag)
    library = Library()
    opened = library.open(name) if name in library.names() else library.create(name)
    with opened as collection:

        async def ingested() -> IngestReport:
            async with with_models(url) as models:
                return await ingest_with_progress(collection, folder, models, tags)

        report = run(ingested())
    if as_json:
        print_json(asdict(report))
        return
    output().print(_summary(report), markup=False, soft_wrap=True)
    if report.index:
        notes().print(report.index, markup=False, soft_wrap=True)
    for item, reason in report.left_out:
        notes().print(f"left out: {item}: {reason}", markup=False, soft_wrap=True)
    if report.ignored:
        reasons = Counter(reason for _, reason in report.ignored)
        listed = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(5))
        notes().print(f"not read: {listed} (--json lists them)", markup=False, style="dim")


@app.command()
def search(
    name: Name,
    question: Annotated[str, typer.Argument(help="What is looked for.")],
    k: Annotated[int, typer.Option("--top", "-k", min=1, max=1000, help="Passages.")] = 4,
    mode: Annotated[str, typer.Option(help="hybrid, vectors or words.")] = "hybrid",
    where: Where = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Let a model order the first passages.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show the passages that answer a question best."""
    from dataclasses import asdict

    from sage_cli.consoles import print_json
    from sage_cli.knowledge import search_mode, with_models
    from sage_cli.running import run
    from sage_middleware.knowledge.library import Library

    chosen = search_mode(mode)
    filters = _pairs(where)
    with Library().open(name, read_only=True) as collection:

        async def find() -> list[Passage]:
            from sage_apps.knowledge_answers import find_passages

            async with with_models(url) as models:
                return await find_passages(collection, question, models, k, mode=chosen, filters=filters, rerank=rerank)

        found = run(find())
    if as_json:
        print_json([{**asdict(passage), "place": passage.place} for passage in found])
        return
    _show_passages(found)


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="Show the documents of this one.")] = None, as_json: AsJson = False
) -> None:
    """Show the knowledge bases, or the documents of one."""
    from dataclasses import asdict, astuple

    from sage_cli.consoles import notes, output, print_json
    from sage_cli.fitted_tables import Column, print_rows
    from sage_middleware.knowledge.library import Library

    library = Library()
    if name is not None:
        with library.open(name, read_only=True) as collection:
            documents = collection.documents()
        if as_json:
            print_json(
                [{**asdict(one), "file": {**asdict(one.file), "sha256": one.file.sha256.hex()}} for one in documents]
            )
            return
        columns = [Column("document"), Column("title", drop=1, wrap=True), Column("passages", right=True)]
        print_rows(output(), columns, [[one.file.path, one.title, str(one.chunks)] for one in documents])
        return
    rows = []
    for one in library.names():
        with library.open(one, read_only=True) as collection:
            documents_count, chunks = collection.counts()
            size = collection.path.stat().st_size
            status = collection.index_status()
            rows.append((one, documents_count, chunks, collection.model or "", size, *astuple(status)))
    if as_json:
        index = ("approximate", "recall", "indexed", "changed_since_index", "index_note")
        fields = ("name", "documents", "passages", "embedding_model", "bytes", *index)
        print_json([dict(zip(fields, row, strict=True)) for row in rows])
    elif not rows:
        notes().print("there is no knowledge base; `sage kb create NAME` makes one", markup=False)
    else:
        columns = [
            Column("name"),
            Column("documents", right=True),
            Column("passages", right=True),
            Column("embedding model", drop=2),
            Column("MB", right=True, drop=1),
            Column("search", drop=3),
        ]
        shown = [[*map(str, row[:4]), f"{row[4] / 1e6:.1f}", _searched(*row[5:7])] for row in rows]
        print_rows(output(), columns, shown)
        for row in rows:
            if row[9]:
                notes().print(f"{row[0]}: all vectors are scanned: {row[9]}", markup=False, soft_wrap=True)


@app.command()
def index(
    name: Name,
    above: Annotated[
        int | None,
        typer.Option(min=0, help="From now on, with more passages than this there is an index; 0: never."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the index of a knowledge base from nothing, and measure what it finds. Ingest does so by itself."""
    from dataclasses import asdict

    from sage_cli.consoles import output, print_json
    from sage_cli.running import run
    from sage_middleware.knowledge.index_upkeep import make_index
    from sage_middleware.knowledge.library import Library

    with Library().open(name) as collection:
        status = run(make_index(collection, above))
        if as_json:
            print_json(asdict(status))
            return
        _, passages = collection.counts()
        limit = collection.index_above
    if status.approximate:
        words = f"{status.vectors} vectors in the index; recall@10 {status.recall:.2f}"
    else:
        why = status.note or (f"it has {passages} passages, an index is made above {limit}" if limit else "0 is set")
        words = f"all vectors are scanned: {why}"
    output().print(f"{name}: {words}", markup=False, soft_wrap=True)


@app.command()
def export(
    name: Name,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="File; left out, the standard output.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="With the vectors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which it does in any case.")] = True,
) -> None:
    """Write every passage as one line of JSON."""
    import sys

    from sage_middleware.knowledge.export import export_lines
    from sage_middleware.knowledge.library import Library

    with Library().open(name, read_only=True) as collection:
        if file is None:
            for line in export_lines(collection, vectors=vectors):
                sys.stdout.buffer.write(line)
        else:
            with file.open("wb") as target:
                target.writelines(export_lines(collection, vectors=vectors))


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a knowledge base; the documents that it was made of stay where they are."""
    from sage_middleware.knowledge.library import Library

    library = Library()
    with library.open(name, read_only=True) as collection:
        documents, _ = collection.counts()
    if not yes:
        typer.confirm(f"Remove {name} with its {documents} documents' text and vectors?", abort=True)
    library.drop(name)
    if as_json:
        from sage_cli.consoles import print_json

        print_json({"name": name, "documents": documents, "dropped": True})


def _searched(approximate: bool, recall: float | None) -> str:
    return f"index, recall {recall:.2f}" if approximate and recall is not None else "exact"


def _pairs(given: list[str] | None) -> dict[str, str]:
    from sage_common.errors import InvalidRequestError

    pairs = {}
    for one in given or []:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise InvalidRequestError(f"{one!r} is not FIELD=VALUE; write it as path=docs/* or team=billing")
        pairs[name] = value
    return pairs


def _summary(report: IngestReport) -> str:
    parts = [f"{report.stored} stored", f"{report.unchanged} unchanged"]
    if report.moved:
        parts.append(f"{report.moved} moved")
    if report.removed:
        parts.append(f"{report.removed} removed")
    rate = f"; {report.embedded} of {report.chunks} passages embedded" if report.chunks else ""
    return f"{report.files} documents: {', '.join(parts)}{rate}; {report.seconds:.1f} s"


def _show_passages(found: list[Passage]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from sage_cli.consoles import notes, output

    for number, passage in enumerate(found, start=1):
        score = f"{passage.score:.3f}" if passage.score is not None else "words"
        headline = Text.assemble((f"{number} ", "bold"), f"{score}  ", (passage.place, "cyan"))
        if passage.heading:
            headline.append(f"  {passage.heading}")
        output().print(headline)
        text = " ".join(passage.text.split())
        excerpt = text if len(text) <= 240 else f"{text[:239].rstrip()}…"
        output().print(Padding(Text(excerpt, style="dim"), (0, 0, 0, 2), expand=False))
    if not found:
        notes().print("nothing was found", markup=False)
    elif found[0].approximate and found[0].recall is not None:
        notes().print(f"found through the index, recall@10 {found[0].recall:.2f}", markup=False, style="dim")
