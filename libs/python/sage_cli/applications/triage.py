"""``sage app triage``: support tickets sorted, counted and watched as they come in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.applications.run_by_default import RunByDefault
from sage_cli.consoles import AsJson, Url

if TYPE_CHECKING:
    from sage_apps.triage.triage_board import SortedTicket, TriageBoard
    from sage_kernel.runtime.progress import RunResult

app = typer.Typer(
    cls=RunByDefault,
    help="Sort support tickets, count them by window, and give an alert where a category surges.",
)

Model = Annotated[str | None, typer.Option(help="Chat model; left out, the mesh's default.")]


@app.command()
def run(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Tickets with id, at and text: jsonl:FILE, or nats://SUBJECT, which has no end; left out, a morning "
            "that it brings.",
        ),
    ] = None,
    resolved: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Tickets of yours that were resolved, JSON Lines with category and text, and urgency and resolution "
            "where they are known; left out, those that it brings.",
        ),
    ] = None,
    runner: Annotated[
        str, typer.Option(help="Where it runs: local, or mesh as a job of the dataflow workers.")
    ] = "local",
    classifier: Annotated[
        str, typer.Option(help="What sorts: neighbours, model or model-with-neighbours.")
    ] = "neighbours",
    alert: Annotated[int, typer.Option(min=1, help="How many tickets of a category within a window are an alert.")] = 6,
    window: Annotated[str, typer.Option(help="Length of a window, in the time of the tickets.")] = "10m",
    slide: Annotated[str, typer.Option(help="From the start of one window to that of the next.")] = "2m",
    model: Model = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Print each ticket as it is sorted, alerts as they arise, and what it comes to."""
    from typing import cast

    from sage_apps.triage.tickets import categories_of, read_resolved, resolved_tickets
    from sage_apps.triage.triage_board import TriageBoard
    from sage_apps.triage.triage_pipeline import Classifier, TriageOptions, triage_pipeline
    from sage_cli.applications.pipeline_run import MOST_KEPT, run_application
    from sage_cli.consoles import print_json
    from sage_cli.running import run as run_async

    options = TriageOptions(cast(Classifier, classifier), window, slide, alert, model)
    known = resolved_tickets() if resolved is None else read_resolved(resolved)
    spec = triage_pipeline(source or _tickets(), options, resolved=known).build()
    board = TriageBoard(categories_of(known), None if as_json else MOST_KEPT)
    shown = TriageRows(board, quiet=as_json)
    result = run_async(run_application(spec, runner, url, shown.take))
    if as_json:
        print_json(_document(board, result))
    else:
        _show(board, result)


@app.command()
def evaluate(
    classifier: Annotated[
        list[str] | None,
        typer.Option(help="What sorts: neighbours, model or model-with-neighbours; may be repeated. Left out: all."),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Measure how well each classifier sorts the morning's tickets, and how soon it notices the incident."""
    from typing import cast

    from sage_apps.client_models import ClientModels
    from sage_apps.evaluation_report import EvaluationReport
    from sage_apps.triage.evaluation import evaluate as measure
    from sage_apps.triage.triage_pipeline import CLASSIFIERS, Classifier
    from sage_cli.applications.mesh_access import open_mesh_access
    from sage_cli.applications.report_text import print_report
    from sage_cli.consoles import notes
    from sage_cli.running import run as run_async

    async def measured() -> EvaluationReport:
        async with open_mesh_access(url) as mesh:
            say = notes()
            return await measure(
                ClientModels(mesh.client),
                cast("list[Classifier]", classifier or list(CLASSIFIERS)),
                chat_model=model,
                on_step=lambda step: say.print(step, markup=False, style="dim"),
            )

    print_report(run_async(measured()), as_json=as_json)


def _tickets() -> list[dict[str, Any]]:
    from sage_apps.triage.tickets import incoming_tickets
    from sage_apps.triage.triage_pipeline import ticket_records

    return ticket_records(incoming_tickets())


class TriageRows:
    """Prints tickets and new incidents as they come."""

    def __init__(self, board: TriageBoard, *, quiet: bool) -> None:
        self._board = board
        self._quiet = quiet
        self._raised: set[tuple[str, str]] = set()

    def take(self, collection: str, records: list[dict[str, Any]]) -> None:
        """Take up records, and print what is new of them."""
        from sage_apps.triage.triage_pipeline import ALERTS
        from sage_cli.consoles import output

        tickets = self._board.take(collection, records)
        if self._quiet:
            return
        console = output()
        for one in tickets:
            console.print(_ticket_line(one), no_wrap=True, overflow="ellipsis")
        for incident in self._board.incidents if collection == ALERTS else ():
            known = (incident.category, incident.started_at.isoformat())
            if known not in self._raised:
                self._raised.add(known)
                line = f"{incident.raised_at:%H:%M}     ALERT {incident.category}: too many tickets since "
                console.print(f"{line}{incident.started_at:%H:%M}", markup=False, style="bold red")


def _ticket_line(ticket: SortedTicket) -> Any:
    from rich.text import Text

    urgent = ("! ", "bold red") if ticket.urgency == "high" else "  "
    return Text.assemble(f"{ticket.at:%H:%M:%S}  ", (f"{ticket.category:<9}", "cyan"), urgent, ticket.text)


def _show(board: TriageBoard, result: RunResult) -> None:
    from sage_cli.applications.pipeline_run import counted, say_outcome
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    console = output()
    console.print()
    columns = [Column("category"), Column("tickets", right=True), Column("urgent", right=True)]
    print_rows(console, columns, [[name, str(count), str(urgent)] for name, count, urgent in board.totals()])
    console.print()
    for one in board.incidents:
        console.print(
            f"incident: {one.category}, {one.started_at:%H:%M} to {one.ended_at:%H:%M}, noticed at "
            f"{one.raised_at:%H:%M}, at most {one.most} tickets in a window: {one.example}",
            markup=False,
        )
    if not board.incidents:
        console.print("no incident", markup=False)
    say_outcome(result, counted(board.count, "ticket"))


def _document(board: TriageBoard, result: RunResult) -> dict[str, Any]:
    return {
        "tickets": board.tickets,
        "categories": [
            {"category": name, "tickets": count, "urgent": urgent} for name, count, urgent in board.totals()
        ],
        "incidents": board.incidents,
        "failed": [letter._asdict() for letter in result.dead_letters],
        "seconds": result.seconds,
    }
