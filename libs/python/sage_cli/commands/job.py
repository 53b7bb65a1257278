"""``sage job``: pipelines as jobs of the dataflow worker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.commands import job_dlq
from sage_cli.consoles import AsJson
from sage_cli.pipeline_file import PipelineFile, read_pipeline

if TYPE_CHECKING:
    from sage_client.jobs.job_views import JobEventView, JobView

app = typer.Typer(help="Run declarative pipelines as jobs.", no_args_is_help=True)
app.add_typer(job_dlq.app, name="dlq")

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

    text = read_pipeline(pipeline)
    job = run(dataflow.ask(address, lambda jobs: jobs.submit(text, job_id)))
    if job.state == "failed":
        _finish(job, as_json)
    if watch:
        if not as_json:
            typer.echo(job.job_id)
        _follow(job.job_id, address, as_json, says_mesh=False)
    elif as_json:
        print_json(asdict(job))
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

    jobs = run(dataflow.ask(address, lambda jobs: jobs.list_jobs(limit)))
    if as_json:
        print_json([asdict(job) for job in jobs])
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
            job.state,
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

    _show(run(dataflow.ask(address, lambda jobs: jobs.get(job_id))), as_json)


@app.command()
def watch(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Follow a job to its end; exit code 1 when it failed or was cancelled."""
    _follow(job_id, address, as_json, says_mesh=True)


@app.command()
def events(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print events as they come, to its end.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Print the counts too, about two a second.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Only those behind this sequence, which --json shows.")] = 0,
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Print what has happened to a job: its states, where its tasks ran and why there, checkpoints."""
    from sage_cli import dataflow
    from sage_cli.consoles import print_json_line
    from sage_cli.job_event_lines import event_line
    from sage_cli.running import run

    def tell(event: JobEventView) -> None:
        if as_json:
            print_json_line(asdict(event))
        else:
            typer.echo(event_line(event))

    run(dataflow.follow_events(job_id, address, tell, follow=follow, progress=progress, after=after))


@app.command()
def cancel(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Cancel a job; nothing happens to one that has ended."""
    from sage_cli import dataflow
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    job = run(dataflow.ask(address, lambda jobs: jobs.cancel(job_id)))
    if as_json:
        print_json(asdict(job))
        return
    typer.echo(f"{job.job_id} {job.state}")


@app.command()
def pause(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Stop a job's tasks, each behind a checkpoint; `sage job resume` lets it go on."""
    from sage_cli import dataflow
    from sage_cli.running import run

    _say_state(run(dataflow.ask(address, lambda jobs: jobs.pause(job_id))), as_json)


@app.command()
def savepoint(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Have every task of a running job take a checkpoint now."""
    from sage_cli import dataflow
    from sage_cli.running import run

    _say_state(run(dataflow.ask(address, lambda jobs: jobs.savepoint(job_id))), as_json)


@app.command()
def resume(
    job_id: JobId,
    pipeline: Annotated[Path | None, typer.Argument(help="Changed pipeline that goes on in its place.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Only show what of its checkpoints would be kept.")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused or failed job go on from its checkpoints, and show what of them is kept."""
    from sage_cli import dataflow
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    text = read_pipeline(pipeline) if pipeline is not None else ""
    answer = run(dataflow.ask(address, lambda jobs: jobs.resume(job_id, text, only_plan=diff)))
    if as_json:
        print_json({"job": asdict(answer.job), "plan": list(answer.plan)})
        return
    for line in answer.plan:
        typer.echo(line)
    if not diff:
        typer.echo(f"{answer.job.job_id} {answer.job.state}")


@app.command()
def explain(job_id: JobId, address: Address = None, as_json: AsJson = False) -> None:
    """Show a job's tasks: where each runs, why there, and which other workers were considered."""
    from sage_cli import dataflow
    from sage_cli.consoles import print_json
    from sage_cli.job_explanation import explanation_json, explanation_lines
    from sage_cli.running import run

    answer = run(dataflow.ask(address, lambda jobs: jobs.explain(job_id)))
    if as_json:
        print_json(explanation_json(answer))
        return
    for line in explanation_lines(answer):
        typer.echo(line)


@app.command()
def results(
    job_id: JobId,
    collection: Annotated[str, typer.Option(help="Only this collection.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most records to print; 0: all.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print records as they come, to its end.")] = False,
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and not a record a line.")] = False,
) -> None:
    """Print the records of a job's collections, one JSON object a line, and what was left out to stderr."""
    from sage_cli.consoles import notes, print_json, print_json_line
    from sage_cli.job_results import read_results
    from sage_cli.running import run

    if follow:
        _follow_results(job_id, collection, address)
        return
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


def _follow_results(job_id: str, collection: str, address: str | None) -> None:
    from sage_cli import dataflow
    from sage_cli.consoles import notes, print_json_line
    from sage_cli.running import run

    def tell(name: str, records: list[Any]) -> None:
        for record in records:
            print_json_line(record if collection else {"collection": name, **record})

    end = run(dataflow.follow_results(job_id, collection, address, tell))
    if end is None:
        notes().print(f"{job_id} has not succeeded; `sage job show {job_id}` has the reasons", markup=False)
        raise typer.Exit(1)


def _say_state(job: JobView, as_json: bool) -> None:
    from sage_cli.consoles import print_json

    if as_json:
        print_json(asdict(job))
    else:
        typer.echo(f"{job.job_id} {job.state}")


def _show(job: JobView, as_json: bool) -> None:
    from rich.table import Table

    from sage_cli.consoles import output, print_json

    if as_json:
        print_json(asdict(job))
        return
    console = output()
    headline = f"{job.job_id}  {job.pipeline}  {job.state}  worker {job.worker_id or '-'}"
    console.print(headline, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("node", "in", "out", "failed"):
        table.add_column(name, justify="left" if name == "node" else "right")
    for node in job.progress:
        table.add_row(node.node_id, str(node.records_in), str(node.records_out), str(node.records_failed or ""))
    if job.progress:
        console.print(table)
    if job.waiting:
        console.print(f"waiting: {job.waiting}", markup=False, style="yellow")
    for error in job.errors:
        console.print(error, markup=False, style="red")


def _follow(job_id: str, address: str | None, as_json: bool, *, says_mesh: bool) -> None:
    from sage_cli import dataflow
    from sage_cli.consoles import notes
    from sage_cli.job_event_lines import event_line, is_news
    from sage_cli.job_progress import job_progress
    from sage_cli.running import run

    console = notes()

    def tell_event(event: JobEventView) -> None:
        if is_news(event):
            console.print(event_line(event), markup=False)

    try:
        with job_progress(console) as show:
            job = run(dataflow.watch(job_id, address, show, tell_event, says_mesh=says_mesh))
    except KeyboardInterrupt:
        notes().print(f"{job_id} goes on; `sage job cancel {job_id}` ends it", markup=False, soft_wrap=True)
        raise
    _finish(job, as_json)


def _finish(job: JobView, as_json: bool) -> None:

    _show(job, as_json)
    if job.state != "succeeded":
        raise typer.Exit(1)
