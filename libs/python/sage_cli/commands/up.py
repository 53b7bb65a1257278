"""``sage up``."""

from __future__ import annotations

from typing import Annotated

import typer


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
) -> None:
    """Bring the mesh up on this machine and wait until it is ready.

    In the foreground it stays until Ctrl-C and then stops everything it started.
    """
    from sage_cli.mesh.bring_up import detached, foreground
    from sage_cli.mesh.plan import make_plan

    plan = make_plan(llm=llm, embed=embed, replicas=replicas or [], nats_url=nats, timeout_seconds=timeout)
    if detach:
        detached(plan)
    else:
        foreground(plan)
