"""``sage engine start|stop|restart|logs``: the servers that SAGE runs itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.management.mesh_management import MeshManagement
    from sage_client.management.views import EngineRemoval, EngineRestart, EngineStart, EngineView

EngineId = Annotated[str, typer.Argument(metavar="ENGINE", help="Id or name; `sage engine list` shows them.")]
Drain = Annotated[bool, typer.Option("--drain/--no-drain", help="Let its requests end first.")]
Timeout = Annotated[float, typer.Option(min=0.001, max=3600, help="Longest wait for that, in seconds.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", help="Argument of its server, e.g. --arg=--max-model-len=8192 for vLLM; may be repeated."),
]
Variables = Annotated[
    list[str] | None, typer.Option("--env", help="NAME=VALUE for its server; kept with the engine, so no secrets.")
]
Device = Annotated[str, typer.Option(help="cpu, cpu:0-3 (cores), cuda, cuda:0,1 (GPUs). Left out, chosen.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is ready, or at once.")]
MemoryCheck = Annotated[
    bool, typer.Option("--memory-check/--no-memory-check", help="Refuse what memory has no room for.")
]
POLL_SECONDS = 0.3
CEILING_HELP = "Ceiling of the requests outstanding at once; 0: what its server says, or what is learned of it."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(start)
    app.command()(stop)
    app.command()(restart)
    app.command()(logs)


def start(
    model: Annotated[
        str, typer.Argument(help="Name on the hub, or a folder or a GGUF file on the coordinator's machine.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name; its id is this and a tail. Left out, the model's.")] = "",
    served_model_name: Annotated[str, typer.Option(help="What callers call the model. Left out, its last part.")] = "",
    alias: Annotated[list[str] | None, typer.Option(help="Further name for the model; may be repeated.")] = None,
    arg: Arguments = None,
    env: Variables = None,
    device: Device = "",
    preset: Annotated[str, typer.Option(help="Preset or a file of one; `sage engine preset list`.")] = "",
    pool: Annotated[str, typer.Option(help="Pool to join; left out, the default one.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its HTTP port; 0: a free one.")] = 0,
    max_concurrency: Annotated[int, typer.Option(min=0, help=CEILING_HELP)] = 0,
    memory_check: MemoryCheck = True,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Load a model, and wait until it answers. It comes back after a restart of the mesh, until stopped.

    A GGUF file, or the packaged smollm2-135m, is run by llama.cpp, everything other by vLLM.
    """
    from sage_cli.mesh.plan import absolute_model
    from sage_client.presets.preset import EnginePreset, named_or_file

    chosen = named_or_file(preset) if preset else EnginePreset()
    order = chosen.start(
        model=absolute_model(model),
        name=name,
        served_model_name=served_model_name,
        aliases=tuple(alias or ()),
        arguments=tuple(arg or ()),
        environment=dict(_variable(item) for item in env or ()),
        device=device,
        pool=pool,
        port=port,
        max_concurrency=max_concurrency,
        memory_check=memory_check,
    )
    start_engine(order, wait=wait, as_json=as_json, keep_failed=not preset)


def start_engine(order: EngineStart, *, wait: bool, as_json: bool, keep_failed: bool) -> None:
    """Give the order, and show the engine's progress until it answers or is given up.

    Args:
        keep_failed: whether an engine that was given up stays, so that its log can be read and it can be restarted.
    """
    from sage_cli.running import run

    _show(run(_start(order, wait, keep_failed)), as_json)


def stop(engine: EngineId, drain: Drain = True, timeout: Timeout = 30.0, as_json: AsJson = False) -> None:
    """Stop an engine for good, when its requests have ended or at the time-out. Its server ends with it."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    removal = run(_stop(engine, drain, timeout))
    if as_json:
        print_json(removal)
        return
    typer.echo(f"{removal.engine_id} stopped; {removal.aborted} requests aborted")


def restart(
    engine: EngineId, drain: Drain = True, timeout: Timeout = 30.0, wait: Wait = True, as_json: AsJson = False
) -> None:
    """Stop an engine and start it again, also one that was given up. It gets a new id."""
    from sage_cli.running import run

    _show(run(_restart(engine, drain, timeout, wait)), as_json)


def logs(
    engine: EngineId,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines to show; 0: all.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as an object.")] = False,
) -> None:
    """Show what an engine's server wrote."""
    from sage_cli.running import run

    run(_logs(engine, lines, follow, as_json))


def _variable(item: str) -> tuple[str, str]:
    from sage_common.errors import InvalidRequestError

    name, equals, value = item.partition("=")
    if not equals or not name:
        raise InvalidRequestError(f"--env {item!r}: write it as NAME=VALUE", param="env")
    return name, value


def _show(engine: EngineView, as_json: bool) -> None:
    from sage_cli.consoles import print_json

    if as_json:
        print_json(engine)
        return
    typer.echo(engine.engine_id)
    state = f"{engine.phase}: {engine.reason}" if engine.reason else f"{engine.phase} at {engine.url}"
    typer.echo(f"{engine.name or engine.engine_id}: {state}", err=True)


async def _start(order: EngineStart, wait: bool, keep_failed: bool) -> EngineView:
    from sage_cli.consoles import notes
    from sage_cli.mesh.started_engine import without_remedy
    from sage_cli.target import management
    from sage_common.errors import UnavailableError

    async with management() as mesh:
        engine = await mesh.start_engine(order)
        try:
            return await _until_ready(mesh, engine) if wait else engine
        except UnavailableError as error:
            if error.code == "engine_given_up" and not keep_failed:
                await mesh.remove_engine(engine.name or engine.engine_id)
                notes().print(f"{engine.name or engine.engine_id} was removed again", markup=False)
                raise UnavailableError(without_remedy(error.message), code=error.code) from None
            raise


async def _restart(engine_id: str, drain: bool, timeout_seconds: float, wait: bool) -> EngineView:
    from sage_cli.target import management

    async with management() as mesh:
        done: EngineRestart = await mesh.restart_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return await _until_ready(mesh, done.engine) if wait else done.engine


async def _until_ready(mesh: MeshManagement, engine: EngineView) -> EngineView:
    """Show the engine's reasons until it is ready. Raises UnavailableError when it is given up, or gone.

    Cancelled, by Ctrl-C for one, it says that the engine goes on: the mesh has the order.
    """
    import asyncio
    import time

    from sage_cli.consoles import notes
    from sage_cli.mesh.started_engine import StartedEngine

    console = notes()
    said = ""
    started = StartedEngine(engine)
    try:
        with console.status(engine.reason or engine.phase) as status:
            while True:
                found = started.find(await mesh.engines(), time.monotonic())
                if found is not None and found.phase == "ready":
                    return found
                if found is not None and found.reason and found.reason != said:
                    said = found.reason
                    status.update(said.splitlines()[0])
                    if not console.is_terminal:
                        console.print(said, markup=False)
                await asyncio.sleep(POLL_SECONDS)
    except asyncio.CancelledError:
        name = engine.name or engine.engine_id
        console.print(f"{name} goes on starting; `sage engine stop {name}` ends it", markup=False)
        raise


async def _stop(engine_id: str, drain: bool, timeout_seconds: float) -> EngineRemoval:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.remove_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)


async def _logs(engine_id: str, lines: int, follow: bool, as_json: bool) -> None:
    from sage_cli.consoles import print_json_line
    from sage_cli.target import management

    async with management() as mesh:
        async for line in mesh.engine_logs(engine_id, lines=lines, follow=follow):
            if as_json:
                print_json_line({"engine": engine_id, "line": line})
            else:
                typer.echo(line)
