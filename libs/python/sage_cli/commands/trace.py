"""``sage trace``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_client.management.traces import SpanView


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(trace)


def trace(
    traced_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a request from the reply's x-request-id header, one of your own, a job's, or a trace id.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the way of a request or a job through the services, and where its time went.

    Requests are traced where `telemetry.sample_ratio` or `telemetry.otlp_endpoint` is set, or the caller's traceparent
    asks for it; each service keeps its latest spans.
    """
    from dataclasses import asdict

    from sage_cli.consoles import output, print_json
    from sage_cli.running import run
    from sage_cli.trace_waterfall import waterfall

    traces = run(_find(traced_id))
    if as_json:
        print_json([[asdict(span) for span in spans] for spans in traces])
        return
    console = output()
    for number, spans in enumerate(traces):
        if number:
            console.print()
        console.print(waterfall(spans, console.width))


async def _find(traced_id: str) -> list[list[SpanView]]:
    from sage_cli.target import trace_management

    async with trace_management() as traces:
        return await traces.find(traced_id)
