"""``sage pipeline``: declarative pipelines checked, drawn, run here, or submitted as jobs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.commands import job
from sage_cli.consoles import AsJson, Url
from sage_cli.pipeline_file import PipelineFile, read_pipeline

if TYPE_CHECKING:
    from sage_kernel.problems import Problem
    from sage_kernel.runtime.progress import RunResult
    from sage_kernel.spec import PipelineSpec

app = typer.Typer(help="Check, draw and run declarative pipelines.", no_args_is_help=True)

Runner = Annotated[str, typer.Option(help="Where it runs: local, mesh or ray.")]
Allowed = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="PATTERN", help="Functions that it may name, as `shop.rules:*`; may be repeated."),
]


@app.command()
def validate(
    file: PipelineFile,
    target: Annotated[
        str | None, typer.Option(help="Also check that this runner can run it: local, mesh, ray.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Models that are served; others are errors. May be repeated."),
    ] = None,
    allow: Allowed = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a pipeline, all at once; exit code 1 when anything is. Nothing runs."""
    from sage_cli.consoles import notes, output, print_json
    from sage_kernel.functions import allow as allowed
    from sage_kernel.problems import PipelineInvalidError
    from sage_kernel.run_target import RunTarget
    from sage_kernel.validation import from_yaml

    where = RunTarget(_runner(target) if target else None, allowed(allow, "--allow") if allow else None, model)
    try:
        spec = from_yaml(read_pipeline(file), target=where)
    except PipelineInvalidError as error:
        if as_json:
            print_json({"valid": False, "problems": [_shown(problem) for problem in error.problems]})
        else:
            for problem in error.problems:
                output().print(str(problem), markup=False, soft_wrap=True)
            count = len(error.problems)
            notes().print(f"{count} error{'s' if count > 1 else ''}", markup=False, style="red")
        raise typer.Exit(1) from None
    if as_json:
        print_json({"valid": True, **_summary(spec)})
    else:
        summary = _summary(spec)
        line = f"{summary['name']} version {summary['version']}: {summary['nodes']} nodes, valid"
        output().print(f"{line}\nsha256 {summary['spec_hash']}", markup=False)


@app.command()
def plot(
    file: PipelineFile,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to draw into, .svg or .mmd; left out, Mermaid to stdout."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the graph of a pipeline, as SVG or as Mermaid text."""
    from sage_cli.consoles import print_json
    from sage_kernel.plot.drawing import draw
    from sage_kernel.validation import from_yaml

    drawing = draw(from_yaml(read_pipeline(file)), to.suffix if to else ".mmd")
    if to is not None:
        to.write_text(drawing, encoding="utf-8")
    if as_json:
        print_json({"output": str(to) if to else None, "drawing": None if to else drawing})
    else:
        typer.echo(str(to) if to else drawing, nl=to is not None)


@app.command()
def run(
    file: PipelineFile,
    runner: Runner = "local",
    allow: Allowed = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most records to print; 0: all.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Reuse no vectors and answers of earlier runs.")] = False,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and not a record a line.")] = False,
) -> None:
    """Run a pipeline to its end, and print its collections, one JSON object a line; counts go to stderr."""
    from sage_cli.consoles import notes, print_json, print_json_line
    from sage_cli.running import run as run_async
    from sage_kernel.functions import allow as allowed
    from sage_kernel.run_target import RunTarget
    from sage_kernel.validation import from_yaml

    name = _runner(runner)
    # Not allowed is what nobody allows: the file may be someone else's.
    functions = allowed(allow or (), "--allow")
    # Which functions a worker has, and allows, is the worker's to say.
    spec = from_yaml(read_pipeline(file), target=RunTarget(name, functions if name != "mesh" or allow else None))
    result = run_async(_run(spec, name, allow or [], fresh, url))
    if as_json:
        print_json(_document(spec, result))
    else:
        printed = 0
        for collection, records in result.collections.items():
            for record in records:
                if limit and printed >= limit:
                    break
                printed += 1
                print_json_line(record if len(result.collections) == 1 else {"collection": collection, **record})
    for node_id, message in result.warnings:
        notes().print(f"{node_id}: {message}", markup=False, style="yellow")
    failed = {node_id: counts.records_failed for node_id, counts in result.counts.items() if counts.records_failed}
    for node_id, count in failed.items():
        first = next((letter.error for letter in result.dead_letters if letter.node == node_id), "")
        notes().print(f"{node_id}: {count} records failed{', first: ' + first if first else ''}", markup=False)
    if result.skipped:
        notes().print(f"{len(result.skipped)} items were left out by sources", markup=False)


app.command(name="submit")(job.submit)


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which it does in any case.")] = True,
) -> None:
    """Print the JSON Schema of pipeline files, for editors and other programs."""
    from sage_cli.consoles import print_json
    from sage_kernel.spec import json_schema

    print_json(json_schema())


async def _run(spec: PipelineSpec, runner: str, allow: list[str], fresh: bool, url: str | None) -> RunResult:
    from sage_apps.pipelines import run_spec
    from sage_cli.consoles import notes
    from sage_cli.pipeline_progress import progress
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting

    options: dict[str, Any] = {}
    if runner == "mesh" or any(node.needs_models for node in spec.nodes.values()):
        target = client_target(url)
        options |= {"target": target.url, "api_key": target.api_key}
    if runner == "ray":
        with waiting("Ray runs the pipeline"):
            return await run_spec(spec, runner, functions=allow, **options)
    if runner == "local":
        options |= {"functions": allow, "keeps_nothing": fresh}
    with waiting() as display:
        async with progress(spec, notes()) as on_progress:
            # Two displays cannot share a terminal, and the table says what waits by what does not move.
            on_wait = None if notes().is_terminal else display.show
            return await run_spec(spec, runner, on_progress=on_progress, on_wait=on_wait, **options)


def _runner(name: str) -> Any:
    from sage_common.config import nearest
    from sage_common.errors import InvalidRequestError
    from sage_kernel.run_target import RUNNER_NAMES

    if name not in RUNNER_NAMES:
        raise InvalidRequestError(f"there is no runner {name!r}{nearest(name, RUNNER_NAMES)}")
    return name


def _summary(spec: PipelineSpec) -> dict[str, Any]:
    return {
        "name": spec.metadata.name,
        "version": spec.metadata.version,
        "nodes": len(spec.nodes),
        "spec_hash": spec.spec_hash,
    }


def _shown(problem: Problem) -> dict[str, str]:
    short = problem.shortened()
    return {"node": short.node, "field": short.field, "message": short.message, "remedy": short.remedy}


def _document(spec: PipelineSpec, result: RunResult) -> dict[str, Any]:
    return {
        **_summary(spec),
        "seconds": result.seconds,
        "counts": {node_id: asdict(counts) for node_id, counts in result.counts.items()},
        "collections": result.collections,
        "dead_letters": [letter._asdict() for letter in result.dead_letters],
        "skipped": [skipped._asdict() for skipped in result.skipped],
        "warnings": [{"node": node_id, "message": message} for node_id, message in result.warnings],
    }
