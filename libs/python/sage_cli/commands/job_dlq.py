"""``sage job dlq``: the records of a job that failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sage_cli.consoles import AsJson

app = typer.Typer(help="Look at the records of a job that failed, and send them again.", no_args_is_help=True)

Address = Annotated[str | None, typer.Option(help="host:port of a dataflow worker; left out, one of the mesh's.")]
JobId = Annotated[str, typer.Argument(help="Id of the job.")]
Node = Annotated[str, typer.Option(help="Only records that failed at this node.")]


@app.command(name="list")
def list_letters(
    job_id: JobId,
    node: Node = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most records to show.")] = 100,
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and not a record a line.")] = False,
) -> None:
    """Print dead letters, oldest first, one JSON object a line, and how many there are in all to stderr."""
    from sage_cli import dataflow
    from sage_cli.consoles import notes, print_json, print_json_line
    from sage_cli.running import run

    answer = run(dataflow.ask(address, lambda jobs: jobs.dead_letters(job_id, node, limit=limit)))
    letters = [
        {
            "node": letter.node_id,
            "error": letter.error,
            "attempts": letter.attempts,
            "record": letter.record,
        }
        for letter in answer.letters
    ]
    if as_json:
        print_json({"letters": letters, "total": answer.total})
        return
    for letter in letters:
        print_json_line(letter)
    notes().print(f"{len(answer.letters)} of {answer.total}", markup=False)


@app.command()
def replay(
    job_id: JobId,
    node: Node = "",
    new_job_id: Annotated[str, typer.Option("--id", help="Id of the new job.")] = "",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Submit the records that failed at a node as a new job of what follows from that node on."""
    from sage_cli import dataflow
    from sage_cli.consoles import notes, print_json
    from sage_cli.running import run

    answer = run(dataflow.ask(address, lambda jobs: jobs.replay(job_id, node, new_job_id=new_job_id)))
    if as_json:
        print_json({"job": asdict(answer.job), "records": answer.records})
    else:
        typer.echo(answer.job.job_id)
        notes().print(f"{answer.records} records", markup=False)
