"""``sage engine``: the engines while the mesh runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.commands import engine_lora, engine_presets, engine_servers
from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.management.views import EngineRegistration, EngineRemoval, EngineView

app = typer.Typer(help="Show, start, add, drain, stop engines while the mesh runs.", no_args_is_help=True)
engine_servers.register(app)
app.add_typer(engine_presets.app, name="preset")
app.add_typer(engine_lora.app, name="lora")

EngineId = Annotated[str, typer.Argument(help="Name or id; `sage engine list` shows them.")]


@app.command(name="list")
def list_engines(as_json: AsJson = False) -> None:
    """List the engines with their load, as the scheduler counts it."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    engines = run(_list())
    if as_json:
        print_json(engines)
        return
    _print_table(engines)


@app.command()
def register(
    url: Annotated[str, typer.Argument(help="Base URL of an OpenAI-compatible server, e.g. http://127.0.0.1:8001/v1.")],
    name: Annotated[str, typer.Option("--id", help="Name; its id is this and a tail. Left out, from the URL.")] = "",
    pool: Annotated[str, typer.Option(help="Pool to join; left out, the default one.")] = "",
    max_concurrency: Annotated[int, typer.Option(min=0, help=engine_servers.CEILING_HELP)] = 0,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Work it does (chat, generate, embedding), if it does not say; may be repeated."),
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="Further name for the server's first model; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name of a model, for a server without a list; only these are served; may be repeated."),
    ] = None,
    health_path: Annotated[
        str | None,
        typer.Option(help="Where its health is asked, such as /ping; '' reads its list of models."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the server's API key; `-` reads the standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a server; it takes work as soon as it answers, and comes back after a restart of the mesh."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run
    from sage_client.management.views import EngineRegistration

    key = _api_key(api_key_file) if api_key_file else ""
    kinds, aliases, models = tuple(kind or ()), tuple(alias or ()), tuple(model or ())
    order = EngineRegistration(url, name, key, pool, max_concurrency, kinds, aliases, models, health_path)
    engine = run(_register(order))
    if as_json:
        print_json(engine)
        return
    typer.echo(engine.engine_id)
    state = f"{engine.phase}: {engine.reason}" if engine.reason else engine.phase
    typer.echo(f"{engine.name or engine.engine_id}: {state}", err=True)


@app.command()
def drain(
    engine_id: EngineId,
    undo: Annotated[bool, typer.Option("--undo", help="Allow new work again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send no new work to an engine; running requests finish."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    engine = run(_drain(engine_id, undo))
    if as_json:
        print_json(engine)
        return
    state = "drains" if engine.draining else "takes work"
    typer.echo(f"{engine.name or engine.engine_id} {state}; {engine.outstanding} requests outstanding")


@app.command()
def remove(
    engine_id: EngineId,
    drain: Annotated[bool, typer.Option("--drain", help="Let its requests end first.")] = False,
    timeout: Annotated[float, typer.Option(min=0.001, max=3600, help="Longest wait for that, in seconds.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Remove an engine for good. With --drain it returns when the engine is empty, or at the time-out."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    removal = run(_remove(engine_id, drain, timeout))
    if as_json:
        print_json(removal)
        return
    typer.echo(f"{removal.engine_id} removed; {removal.aborted} requests aborted")


def _api_key(path: Path) -> str:
    from sage_common.errors import NotFoundError

    if str(path) == "-":
        return sys.stdin.read().strip()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NotFoundError(f"cannot read the API key in {path}: {error.strerror}") from None


def _print_table(engines: list[EngineView]) -> None:
    from rich.text import Text

    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.mesh.tables import busy, phase_text
    from sage_client.management.engine_cap import narrowed_text

    columns = (
        Column("engine"),
        Column("phase"),
        Column("models", wrap=True),
        Column("busy", right=True, drop=1),
        Column("capacity", drop=7),
        Column("kind", drop=3),
        Column("pool", drop=4),
        Column("breaker", drop=2),
        Column("id", drop=5),
        Column("owner", drop=6),
    )
    rows = [
        (
            engine.name or engine.engine_id,
            phase_text("draining" if engine.draining else engine.phase),
            ", ".join(engine.models),
            busy(engine.outstanding, engine.max_concurrency, engine.capacity_source),
            engine.capacity_source,
            engine.implementation,
            engine.pool,
            engine.breaker,
            engine.engine_id,
            engine.executor_id,
        )
        for engine in engines
    ]
    console = output()
    print_rows(console, columns, rows)
    for engine in engines:
        if engine.reason:
            reason = engine.reason.partition("\n")[0]
            console.print(Text(f"{engine.name or engine.engine_id}: {reason}", style="dim"), soft_wrap=True)
        if narrowed := narrowed_text(engine):
            console.print(Text(narrowed, style="dim"), soft_wrap=True)


async def _list() -> list[EngineView]:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.engines()


async def _register(registration: EngineRegistration) -> EngineView:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.register_engine(registration)


async def _drain(engine_id: str, undo: bool) -> EngineView:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.drain_engine(engine_id, undo=undo)


async def _remove(engine_id: str, drain: bool, timeout_seconds: float) -> EngineRemoval:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.remove_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
