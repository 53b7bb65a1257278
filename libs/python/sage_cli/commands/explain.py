"""``sage explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_client.jobs.job_views import JobExplanation
    from sage_client.management.views import Explanation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    explained_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a job, or of a request from the reply's x-request-id header; one of your own explains all that "
            "have it.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what was decided about a request or a job, and why.

    Of a request: queue, policy, engines considered, tries, times, why it was refused. Of a job: its tasks, where each
    runs, and which workers were considered.
    """
    from sage_cli.consoles import output, print_json
    from sage_cli.explanation_text import explanation_text
    from sage_cli.job_explanation import explanation_json, explanation_lines
    from sage_cli.running import run

    decisions, job = run(_explain(explained_id))
    if job is not None:
        if as_json:
            print_json(explanation_json(job))
        for line in [] if as_json else explanation_lines(job):
            typer.echo(line)
        return
    if as_json:
        print_json({"request_id": explained_id, "decisions": decisions})
        return
    console = output()
    for number, decision in enumerate(decisions):
        if number:
            console.print()
        console.print(explanation_text(decision, console.width))


async def _explain(explained_id: str) -> tuple[list[Explanation], JobExplanation | None]:
    """Return the decisions about a request, or else what is known of a job."""
    from sage_cli import dataflow
    from sage_cli.target import management
    from sage_common.errors import InvalidRequestError, NotFoundError, UnavailableError

    async with management() as mesh:
        try:
            return await mesh.explain(explained_id), None
        except (NotFoundError, UnavailableError) as error:
            no_request = error
        try:
            return [], await dataflow.ask(None, lambda jobs: jobs.explain(explained_id), says_mesh=False)
        except NotFoundError as error:
            raise NotFoundError(f"{no_request.message}; {error.message}", code=no_request.code) from None
        except (UnavailableError, InvalidRequestError):
            # Without a worker there are no jobs either.
            raise no_request from None
