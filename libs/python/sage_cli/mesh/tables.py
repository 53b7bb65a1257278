"""The mesh as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sage_cli.mesh.view import MeshView

GOOD = frozenset({"ready", "registered", "external"})
# Below this the times are left out; the ports must stay readable on 80 columns.
WIDE_COLUMNS = 100
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost"})
WAITING = frozenset({"starting", "waiting", "backing-off", "draining", "stopping"})


def mesh_tables(view: MeshView, width: int) -> RenderableType:
    """Render processes, engines and where to reach the mesh, for a terminal of ``width`` columns."""
    parts: list[RenderableType] = [_processes(view, width >= WIDE_COLUMNS), ""]
    if view.engines:
        parts += [_engines(view), ""]
    if view.gateway_url:
        parts.append(Text.assemble("OpenAI API  ", (f"{view.gateway_url}/v1", "bold")))
    if view.nats:
        storage = f"{view.nats.jetstream_streams} streams, {megabytes(view.nats.jetstream_bytes)}"
        parts.append(Text(f"NATS        {view.nats.url}  ({view.nats.version}; {storage})"))
    return Group(*parts)


def megabytes(count: int) -> str:
    """Bytes as MB, with one decimal below ten."""
    value = count / 1e6
    return f"{value:.1f} MB" if value < 10 else f"{value:.0f} MB"


def duration(seconds: float) -> str:
    """Seconds as the two largest units."""
    whole = int(seconds)
    for size, unit, smaller_size, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller_size}{smaller}"
    return f"{whole}s"


def phase_text(phase: str) -> Text:
    """A phase in its colour."""
    style = "green" if phase in GOOD else "yellow" if phase in WAITING else "red"
    return Text(phase, style=style)


def _processes(view: MeshView, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("process", "state", "ports", "pid", "memory", *(("up", "restarts") if wide else ())):
        table.add_column(name, justify="right" if name in ("pid", "memory", "restarts") else "left", no_wrap=True)
    for process in view.processes:
        phase = process.phase if process.serving or process.phase not in GOOD else "not serving"
        times = (duration(process.uptime_seconds) if process.uptime_seconds else "", str(process.restarts or ""))
        table.add_row(
            process.name,
            phase_text(phase),
            _address(process.host, process.ports),
            str(process.pid or ""),
            megabytes(process.rss_bytes) if process.rss_bytes else "",
            *(times if wide else ()),
        )
        if process.message:
            table.add_row("", Text(process.message, style="dim", overflow="fold"))
    return table


def _engines(view: MeshView) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("engine", "state", "models", "work", "outstanding"):
        table.add_column(name, justify="right" if name == "outstanding" else "left", overflow="fold")
    table.add_column("")
    for engine in view.engines:
        table.add_row(
            engine.engine_id,
            phase_text(engine.phase),
            ", ".join(engine.models),
            _short(engine.kinds),
            f"{engine.outstanding}/{engine.capacity}",
            Text(engine.reason or engine.labels.get("backend", ""), style="dim"),
        )
    return table


def _address(host: str, ports: Mapping[str, int]) -> str:
    listed = " ".join(f"{name}:{port}" for name, port in ports.items())
    return listed if host in LOCAL_HOSTS else f"{host} {listed}".rstrip()


def _short(kinds: Iterable[str]) -> str:
    return ", ".join(kind.removeprefix("llm_") for kind in kinds)
