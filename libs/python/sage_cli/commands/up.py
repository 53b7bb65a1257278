"""``sage up``."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.consoles import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once ready; `sage down` stops it.")] = False,
    llm: Annotated[
        str | None,
        typer.Option(
            help="URL of an OpenAI-compatible server, or a model to load: GGUF files with llama.cpp, others with vLLM.",
            metavar="MODEL|URL",
        ),
    ] = None,
    embed: Annotated[str | None, typer.Option(help="Embedding model: a name or a folder.", metavar="MODEL")] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(help="How many processes of a service to run; may be repeated.", metavar="NAME=N"),
    ] = None,
    nats: Annotated[
        str | None,
        typer.Option(help="Use this NATS server instead of starting one.", metavar="URL"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Longest wait until ready, in seconds.", min=1.0),
    ] = None,
    port_offset: Annotated[
        int | None, typer.Option(metavar="N", help="Add N to every port, and keep state and data apart.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the mesh up on this machine and wait until it is ready.

    In the foreground it stays until Ctrl-C and then stops everything it started.

    A second mesh needs --port-offset, and so does every command that speaks of it: `sage --port-offset N status`.
    """
    from sage_cli.mesh.bring_up import detached, foreground
    from sage_cli.mesh.plan import make_plan
    from sage_cli.port_offset import use_port_offset

    if port_offset is not None:
        use_port_offset(port_offset)

    plan = make_plan(llm=llm, embed=embed, replicas=replicas or [], nats_url=nats, timeout_seconds=timeout)
    if detach:
        detached(plan, as_json=as_json)
    else:
        foreground(plan, as_json=as_json)
