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
    gateways: Annotated[
        int | None,
        typer.Option(help="How many gateway processes share the gateway's port.", metavar="N", min=1, max=64),
    ] = None,
    nats: Annotated[
        str | None,
        typer.Option(help="Use this NATS server instead of starting one.", metavar="URL"),
    ] = None,
    advertise: Annotated[
        str,
        typer.Option(
            help="Address that other machines of the mesh reach this one at: lets them join. Needs `sage mesh secure`.",
            metavar="ADDRESS",
            show_default=False,
        ),
    ] = "",
    join: Annotated[
        str,
        typer.Option(
            help="Join the mesh of another machine, by the URL of its NATS server. Runs --services only.",
            metavar="URL",
            show_default=False,
        ),
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            help="File with a token that `sage mesh token` has made there; - reads standard input. Needed once.",
            metavar="FILE",
            show_default=False,
        ),
    ] = "",
    services: Annotated[
        str,
        typer.Option(
            help="Services to run, joined by commas: all, or with --join llm-coordinator,embed-executor.",
            metavar="NAMES",
            show_default=False,
        ),
    ] = "",
    nats_cluster: Annotated[
        str,
        typer.Option(
            help="Machines that each run a NATS server, joined by commas: three or five, this one among them. "
            "Machines that join know it by their token.",
            metavar="ADDRESSES",
            show_default=False,
        ),
    ] = "",
    timeout: Annotated[
        float | None,
        typer.Option(help="Longest wait until ready, in seconds.", min=1.0),
    ] = None,
    port_offset: Annotated[
        int | None, typer.Option(metavar="N", help="Add N to every port, and keep state and data apart.")
    ] = None,
    studio: Annotated[
        bool | None,
        typer.Option(
            "--studio/--no-studio",
            help="Run the studio, a web page of the mesh, beside it. Left out, it runs where it can.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the mesh up on this machine and wait until it is ready.

    In the foreground it stays until Ctrl-C and then stops everything it started.

    Several machines are one mesh: the first is secured (`sage mesh secure`) and brought up with --advertise ADDRESS,
    the others with --join and a token that `sage mesh token` prints there.

    A second mesh needs --port-offset, and so does every command that speaks of it: `sage --port-offset N status`.
    """
    import os

    from sage_cli.consoles import notes
    from sage_cli.mesh.bring_up import detached, foreground
    from sage_cli.mesh.plan import make_plan
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.studio_process import PORT_VARIABLE, is_installed, port_in_use
    from sage_cli.port_offset import use_port_offset
    from sage_common.errors import ConfigurationError

    if port_offset is not None:
        use_port_offset(port_offset)

    if token and not join:
        raise ConfigurationError("--token is for --join URL: the NATS server of the mesh that made the token")
    if join:
        from sage_cli.mesh.machines import JOINING_SERVICES, agreed_cluster, join_with, own_address

        advertise = advertise or own_address(join)
        nats_cluster = agreed_cluster(nats_cluster, join_with(token))
        services = services or ",".join(JOINING_SERVICES)
        # The mesh has its studio elsewhere.
        studio = studio is True
    if studio is not False and not is_installed():
        studio = False
        notes().print("no studio: `pip install 'sage-mesh[studio]'` brings it", markup=False, style="dim")
    # Of a mesh that runs already it is its own studio that has the port.
    if studio is None and local_state() is None and (port := port_in_use(os.environ)):
        studio = False
        notes().print(
            f"no studio: port {port} is in use by another program; {PORT_VARIABLE} chooses another",
            markup=False,
            style="dim",
        )
    plan = make_plan(
        llm=llm,
        embed=embed,
        replicas=replicas or [],
        nats_url=nats,
        timeout_seconds=timeout,
        gateways=gateways,
        studio=studio is not False,
        services=[name for name in services.split(",") if name.strip()] if services.strip() else None,
        advertise=advertise,
        join=join,
        nats_servers=nats_cluster,
    )
    if detach:
        detached(plan, as_json=as_json)
    else:
        foreground(plan, as_json=as_json)
