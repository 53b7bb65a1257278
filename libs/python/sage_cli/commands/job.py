"""``sage job``: pipelines as jobs of the dataflow worker."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson
from sage_cli.pipeline_file import PipelineFile, read_pipeline

if TYPE_CHECKING:
    from sage.dataflow.v1 import dataflow_pb2

app = typer.Typer(help="Run declarative pipelines as jobs.", no_args_is_help=True)

Address = Annotated[str | None, typer.Option(help="host:port of a dataflow worker; left out, one of the mesh's.")]
JobId = Annotated[str, typer.Argument(help="Id of the job.")]


@app.command()
def submit(
    pipeline: PipelineFile,
    job_id: Annotated[str, typer.Option("--id", help="Id of the job; submitting an id twice runs it once.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Submit a pipeline; exit code 1 when it is refused, and with --watch when it does not succeed."""
    from sage_cli import dataflow
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    job = run(dataflow.submit(read_pipeline(pipeline), job_id, address))
    if dataflow.failed(job):
        _finish(job, as_json)
    if watch:
        if not as_json:
            typer.echo(job.job_id)
        _finish(run(dataflow.watch(job.job_id, address, _show_progress, says_mesh=False)), as_json)
    elif as_json:
        print_json(dataflow.to_json(job))
    else:
        typer.echo(job.job_id)


@app.command(name="list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most jobs to show.")] = 20,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from sage_cli import dataflow
    from sage_cli.consoles import output, print_json
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.running import run

    jobs = run(dataflow.list_jobs(limit, address))
    if as_json:
        print_json([dataflow.to_json(job) for job in jobs])
        return
    columns = (
        Column("job"),
        Column("pipeline", wrap=True),
        Column("state"),
        Column("records", right=True, drop=1),
        Column("attempts", right=True, drop=2),
        Column("worker", drop=3),
    )
    rows = [
        (
            job.job_id,
            job.pipeline,
            dataflow.state_name(job),
            # What reached the last node, which is where results go.
            str(job.progress[-1].records_in) if job.progress else "",
            str(job.attempts or ""),
            job.worker_id,
        )
        for job in jobs
    ]
    print_rows(output(), columns, rows)


@app.command()
def show(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Show a job: state, records by node, errors."""
    from sage_cli import dataflow
    from sage_cli.running import run

    _show(run(dataflow.get(job_id, address)), as_json)


@app.command()
def watch(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Follow a job to its end; exit code 1 when it failed or was cancelled."""
    from sage_cli import dataflow
    from sage_cli.running import run

    _finish(run(dataflow.watch(job_id, address, _show_progress)), as_json)


@app.command()
def cancel(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Cancel a job; nothing happens to one that has ended."""
    from sage_cli import dataflow
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    job = run(dataflow.cancel(job_id, address))
    if as_json:
        print_json(dataflow.to_json(job))
        return
    typer.echo(f"{job.job_id} {dataflow.state_name(job)}")


@app.command()
def results(
    job_id: JobId,
    collection: Annotated[str, typer.Option(help="Only this collection.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most records to print; 0: all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and not a record a line.")] = False,
) -> None:
    """Print the records of a job's collections, one JSON object a line, and what was left out to stderr."""
    from sage_cli.consoles import notes, print_json, print_json_line
    from sage_cli.job_results import read_results
    from sage_cli.running import run

    found = run(read_results(job_id, collection, limit))
    if as_json:
        print_json(found.to_json())
    else:
        for name, record in found.records():
            print_json_line(record if collection or len(found.collections) == 1 else {"collection": name, **record})
    if not found.complete:
        notes().print(f"{job_id} has not ended; `sage job watch {job_id}` follows it", markup=False)
    if found.failed_records:
        notes().print(f"{found.failed_records} records failed; `sage job show {job_id}` has the errors", markup=False)


def _show(job: dataflow_pb2.Job, as_json: bool) -> None:
    from rich.table import Table

    from sage_cli import dataflow
    from sage_cli.consoles import output, print_json

    if as_json:
        print_json(dataflow.to_json(job))
        return
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


def _finish(job: dataflow_pb2.Job, as_json: bool) -> None:
    from sage_cli import dataflow

    _show(job, as_json)
    if not dataflow.succeeded(job):
        raise typer.Exit(1)
