"""``sage batch``: files of requests, answered when there is room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.batches.rest_batches import BatchView, RestBatches

app = typer.Typer(help="Have files of requests answered when there is room (OpenAI's batches).", no_args_is_help=True)

LOOK_SECONDS = 1.0
BatchId = Annotated[str, typer.Argument(metavar="ID", help="Id of the batch; `sage batch list` shows it.")]
Url = Annotated[str | None, typer.Option(help="Gateway (http://…).")]


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="Requests, one a line: custom_id, method, url, body.")],
    endpoint: Annotated[str, typer.Option(help="What all of them ask for.")] = "/v1/chat/completions",
    window: Annotated[str, typer.Option(metavar="TIME", help="24h, 90m: what is not done by then expires.")] = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Return when the batch has ended.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Upload a file of requests and have it answered."""
    from sage_cli.running import run

    _show(run(_submit(file, endpoint, window, wait, url)), as_json)


@app.command(name="list")
def list_batches(
    limit: Annotated[int, typer.Option(help="How many, the latest first.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List batches, the latest first."""
    from dataclasses import asdict

    from sage_cli.consoles import notes, output, print_json
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.running import run

    found = run(_list(limit, url))
    if as_json:
        print_json([asdict(batch) for batch in found])
        return
    if not found:
        notes().print("no batches; `sage batch submit FILE` makes one", markup=False, style="dim")
        return
    columns = (
        Column("id"),
        Column("status"),
        Column("done", right=True),
        Column("failed", right=True, drop=1),
        Column("of", right=True),
        Column("endpoint", drop=3),
        Column("model", wrap=True, drop=2),
    )
    rows = [
        (
            batch.id,
            batch.status,
            str(batch.request_counts.completed),
            str(batch.request_counts.failed),
            str(batch.request_counts.total),
            batch.endpoint,
            batch.model or "",
        )
        for batch in found
    ]
    print_rows(output(), columns, rows)


@app.command()
def show(batch_id: BatchId, as_json: AsJson = False, url: Url = None) -> None:
    """Show how far a batch is."""
    from sage_cli.running import run

    _show(run(_get(batch_id, url)), as_json)


@app.command()
def cancel(batch_id: BatchId, as_json: AsJson = False, url: Url = None) -> None:
    """End a batch; what was answered stays."""
    from sage_cli.running import run

    _show(run(_cancel(batch_id, url)), as_json)


@app.command()
def results(
    batch_id: BatchId,
    errors: Annotated[bool, typer.Option("--errors", help="The requests that failed, instead.")] = False,
    output_file: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; stdout without.")] = None,
    # The lines are JSON, whether it is asked for or not.
    _as_json: Annotated[bool, typer.Option("--json", help="JSON, a line a request; so it is without, too.")] = False,
    url: Url = None,
) -> None:
    """Write the answers of a batch that has ended, one a line."""
    from sage_cli.running import run

    run(_results(batch_id, errors, output_file, url))


async def _submit(file: Path, endpoint: str, window: str, wait: bool, url: str | None) -> BatchView:
    import asyncio

    async with _batches(url) as batches:
        batch = await batches.submit(file, endpoint=endpoint, window=window)
        while wait and not batch.has_ended:
            await asyncio.sleep(LOOK_SECONDS)
            batch = await batches.get(batch.id)
        return batch


async def _list(limit: int, url: str | None) -> list[BatchView]:
    async with _batches(url) as batches:
        return await batches.list_batches(limit)


async def _get(batch_id: str, url: str | None) -> BatchView:
    async with _batches(url) as batches:
        return await batches.get(batch_id)


async def _cancel(batch_id: str, url: str | None) -> BatchView:
    async with _batches(url) as batches:
        return await batches.cancel(batch_id)


async def _results(batch_id: str, errors: bool, output_file: Path | None, url: str | None) -> None:
    import sys

    async with _batches(url) as batches:
        pieces = batches.results(batch_id, errors=errors)
        # A refusal must come before a file is made.
        first = await anext(pieces, b"")
        target = sys.stdout.buffer if output_file is None else output_file.open("wb")
        try:
            target.write(first)
            async for piece in pieces:
                target.write(piece)
        finally:
            if output_file is not None:
                target.close()


@asynccontextmanager
async def _batches(url: str | None) -> AsyncIterator[RestBatches]:
    from sage_cli.target import client_target
    from sage_client.batches.rest_batches import RestBatches
    from sage_client.http import HttpTransport
    from sage_client.settings import ClientSettings
    from sage_common.config import load
    from sage_common.errors import ConfigurationError

    target, settings = client_target(url), load(ClientSettings)
    address = target.url or settings.target
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(f"batches are a gateway's; {address.rpartition('@')[2]!r} is none (http://host:8888)")
    transport = HttpTransport(address, api_key=target.api_key or settings.api_key.get_secret_value())
    try:
        yield RestBatches(transport, settings.tenant)
    finally:
        await transport.close()


def _show(batch: BatchView, as_json: bool) -> None:
    from dataclasses import asdict

    from sage_cli.consoles import notes, output, print_json

    if as_json:
        print_json(asdict(batch))
        return
    counts = batch.request_counts
    done = f"{counts.completed} of {counts.total} answered, {counts.failed} failed"
    output().print(f"{batch.id}  {batch.status}: {done}", markup=False, soft_wrap=True)
    for reason in batch.reasons:
        output().print(f"  {reason}", markup=False, soft_wrap=True)
    hints = [("--errors ", batch.error_file_id)] if batch.error_file_id else []
    hints += [("", batch.output_file_id)] if batch.output_file_id else []
    for option, _ in reversed(hints):
        notes().print(f"sage batch results {option}{batch.id}", markup=False, style="dim")
