"""``sage app monitor``: near-duplicates and topics of articles as they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.applications.run_by_default import RunByDefault
from sage_cli.consoles import AsJson, Url

if TYPE_CHECKING:
    from sage_apps.monitor.monitor_board import DuplicatePair, MonitorBoard, TopicGroup
    from sage_kernel.runtime.progress import RunResult

app = typer.Typer(
    cls=RunByDefault,
    help="Find articles that tell the same, and the topics of a window, each with a label.",
)

Model = Annotated[str | None, typer.Option(help="Chat model that writes labels; left out, the mesh's default.")]


@app.command()
def run(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Articles with id, at, title and text: jsonl:FILE, or nats://SUBJECT, which has no end; left out, a "
            "day that it brings.",
        ),
    ] = None,
    runner: Annotated[
        str, typer.Option(help="Where it runs: local, or mesh as a job of the dataflow workers.")
    ] = "local",
    duplicate: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Least similarity of two articles that tell the same.")
    ] = 0.7,
    topic: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Least similarity of an article to the mean of its topic.")
    ] = 0.25,
    window: Annotated[str, typer.Option(help="By which topics are counted, in the time of the articles.")] = "6h",
    least: Annotated[int, typer.Option(min=1, help="A topic with fewer articles in a window is left out.")] = 2,
    model: Model = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Print duplicates and topics as they are found, and what it comes to."""
    from sage_apps.monitor.monitor_board import MonitorBoard
    from sage_apps.monitor.monitor_pipeline import MonitorOptions, monitor_pipeline
    from sage_cli.applications.pipeline_run import MOST_KEPT, run_application
    from sage_cli.consoles import print_json
    from sage_cli.running import run as run_async

    options = MonitorOptions(
        duplicate_similarity=duplicate, topic_similarity=topic, window=window, least_articles=least, model=model
    )
    board = MonitorBoard(None if as_json else MOST_KEPT)

    def take(collection: str, records: list[dict[str, Any]]) -> None:
        found = board.take(collection, records)
        if not as_json:
            _print_found(found)

    spec = monitor_pipeline(source or _articles(), options).build()
    result = run_async(run_application(spec, runner, url, take))
    if as_json:
        print_json(_document(board, result))
    else:
        _show(board, result)


@app.command()
def evaluate(model: Model = None, as_json: AsJson = False, url: Url = None) -> None:
    """Measure how many duplicates are found, how well articles fall into topics, and how many labels name theirs."""
    from sage_apps.client_models import ClientModels
    from sage_apps.evaluation_report import EvaluationReport
    from sage_apps.monitor.evaluation import evaluate as measure
    from sage_apps.monitor.monitor_pipeline import MonitorOptions
    from sage_cli.applications.mesh_access import open_mesh_access
    from sage_cli.applications.report_text import print_report
    from sage_cli.consoles import notes
    from sage_cli.running import run as run_async

    async def measured() -> EvaluationReport:
        async with open_mesh_access(url) as mesh:
            say = notes()
            return await measure(
                ClientModels(mesh.client),
                MonitorOptions(model=model),
                on_step=lambda step: say.print(step, markup=False, style="dim"),
            )

    print_report(run_async(measured()), as_json=as_json)


def _articles() -> list[dict[str, Any]]:
    from sage_apps.monitor.articles import article_records, day_of_articles

    return article_records(day_of_articles())


def _print_found(found: list[TopicGroup | DuplicatePair]) -> None:
    from rich.text import Text

    from sage_apps.monitor.monitor_board import TopicGroup
    from sage_cli.consoles import output

    console = output()
    for one in found:
        if isinstance(one, TopicGroup):
            line = Text.assemble(
                f"{one.first_seen:%H:%M}  topic {one.topic:>3}  ", (one.label or "(no label)", "bold cyan"),
                f"  {one.articles} articles, first: {one.titles[0]}",
            )  # fmt: skip
        else:
            line = Text.assemble(f"{one.at:%H:%M}  {one.similarity:.2f}  {one.title}  =  ", (one.earlier_title, "dim"))
        console.print(line, no_wrap=True, overflow="ellipsis")


def _show(board: MonitorBoard, result: RunResult) -> None:
    from sage_cli.applications.pipeline_run import counted, say_outcome
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    console = output()
    console.print()
    columns = [Column("topic", right=True), Column("label", wrap=True), Column("articles", right=True)]
    columns += [Column("first seen", drop=1), Column("last seen", drop=2)]
    rows = [
        [
            str(groups[0].topic),
            " / ".join(dict.fromkeys(one.label for one in groups)),
            str(sum(one.articles for one in groups)),
            f"{groups[0].first_seen:%d %b %H:%M}",
            f"{groups[-1].last_seen:%d %b %H:%M}",
        ]
        for groups in board.topics()
    ]
    print_rows(console, columns, rows)
    pairs = counted(board.pairs, "pair")
    say_outcome(result, f"{counted(board.articles, 'article')}, {pairs} of duplicates, {counted(len(rows), 'topic')}")


def _document(board: MonitorBoard, result: RunResult) -> dict[str, Any]:
    return {
        "articles": board.articles,
        "duplicates": board.duplicates,
        "groups": board.groups,
        "failed": [letter._asdict() for letter in result.dead_letters],
        "seconds": result.seconds,
    }
