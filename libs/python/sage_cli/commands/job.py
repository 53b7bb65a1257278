"""``sage job``: pipelines as jobs of the dataflow worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage.dataflow.v1 import dataflow_pb2

app = typer.Typer(help="Run declarative pipelines as jobs.", no_args_is_help=True)

Address = Annotated[str | None, typer.Option(help="host:port of a dataflow worker; left out, one of the mesh's.")]
JobId = Annotated[str, typer.Argument(help="Id of the job.")]


@app.command()
def submit(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file, YAML or JSON; `-` reads the standard input.")],
    job_id: Annotated[str, typer.Option("--id", help="Id of the job; submitting an id twice runs it once.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    address: Address = None,
) -> None:
    """Submit a pipeline; exit code 1 when it is refused, and with --watch when it does not succeed."""
    from sage_cli import dataflow
    from sage_cli.running import run
    from sage_common.errors import NotFoundError

    if str(pipeline) == "-":
        text = sys.stdin.read()
    else:
        try:
            text = pipeline.read_text(encoding="utf-8")
        except OSError as error:
            raise NotFoundError(f"cannot read the pipeline {pipeline}: {error.strerror}") from None
    job = run(dataflow.submit(text, job_id, address))
    if dataflow.failed(job):
        _finish(job)
    typer.echo(job.job_id)
    if watch:
        _finish(run(dataflow.watch(job.job_id, address, _show_progress)))


@app.command(name="list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most jobs to show.")] = 20,
    address: Address = None,
) -> None:
    """List jobs, newest first."""
    from rich.table import Table

    from sage_cli import dataflow
    from sage_cli.consoles import output
    from sage_cli.running import run

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "pipeline", "state", "records", "attempts", "worker"):
        table.add_column(name, no_wrap=name in ("job", "state"), overflow="fold")
    for job in run(dataflow.list_jobs(limit, address)):
        # What reached the last node, which is where results go.
        reached = str(job.progress[-1].records_in) if job.progress else ""
        state = dataflow.state_name(job)
        table.add_row(job.job_id, job.pipeline, state, reached, str(job.attempts or ""), job.worker_id)
    output().print(table)


@app.command()
def show(job_id: JobId, address: Address = None) -> None:
    """Show a job: state, records by node, errors."""
    from sage_cli import dataflow
    from sage_cli.running import run

    _show(run(dataflow.get(job_id, address)))


@app.command()
def watch(job_id: JobId, address: Address = None) -> None:
    """Follow a job to its end; exit code 1 when it failed or was cancelled."""
    from sage_cli import dataflow
    from sage_cli.running import run

    _finish(run(dataflow.watch(job_id, address, _show_progress)))


@app.command()
def cancel(job_id: JobId, address: Address = None) -> None:
    """Cancel a job; nothing happens to one that has ended."""
    from sage_cli import dataflow
    from sage_cli.running import run

    job = run(dataflow.cancel(job_id, address))
    typer.echo(f"{job.job_id} {dataflow.state_name(job)}")


def _show(job: dataflow_pb2.Job) -> None:
    from rich.table import Table

    from sage_cli import dataflow
    from sage_cli.consoles import output

    console = output()
    headline = f"{job.job_id}  {job.pipeline}  {dataflow.state_name(job)}  worker {job.worker_id or '-'}"
    console.print(headline, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("node", "in", "out"):
        table.add_column(name, justify="left" if name == "node" else "right")
    for node in job.progress:
        table.add_row(node.node_id, str(node.records_in), str(node.records_out))
    if job.progress:
        console.print(table)
    for error in job.errors:
        console.print(error, markup=False, style="red")


def _show_progress(job: dataflow_pb2.Job) -> None:
    from sage_cli import dataflow

    counts = " ".join(f"{node.node_id}:{node.records_out}" for node in job.progress)
    sys.stderr.write(f"{dataflow.state_name(job):<10} {counts}\n")


def _finish(job: dataflow_pb2.Job) -> None:
    from sage_cli import dataflow

    _show(job)
    if not dataflow.succeeded(job):
        raise typer.Exit(1)
