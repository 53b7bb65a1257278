"""The mesh as tables for the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sage_cli.fitted_tables import Column, fitted
from sage_cli.mesh.view import MeshView
from sage_client.management.views import PoolView

GOOD = frozenset({"ready", "registered", "external"})
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost"})
WAITING = frozenset({"starting", "waiting", "backing-off", "draining", "stopping"})


def mesh_tables(view: MeshView, width: int) -> RenderableType:
    """Render processes, engines and where to reach the mesh, for a terminal of ``width`` columns."""
    parts = [*_processes(view, width), Text("")]
    if len(view.hosts) > 1:
        parts += [*_hosts(view, width), Text("")]
    if view.engines:
        parts += [*_engines(view, width), Text("")]
    if view.pools:
        parts += [*_pools(view, width), Text("")]
    if view.gateway_url:
        parts.append(Text.assemble("OpenAI API  ", (f"{view.gateway_url}/v1", "bold")))
    if view.studio_url:
        parts.append(Text.assemble("Studio      ", (view.studio_url, "bold")))
    if view.nats:
        storage = f"{view.nats.jetstream_streams} streams, {megabytes(view.nats.jetstream_bytes)}"
        parts.append(Text(f"NATS        {view.nats.url}  ({view.nats.version}; {storage})"))
    if view.secured:
        ends = view.certificates_end_unix_seconds
        days = "" if ends is None else f" (certificates end in {(ends - time.time()) / 86_400:.0f} days)"
        parts.append(Text(f"TLS         between services, and to NATS{days}"))
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


PROCESS_COLUMNS = (
    Column("process"),
    Column("state"),
    Column("ports", drop=1),
    Column("pid", right=True, drop=2),
    Column("memory", right=True, drop=3),
    Column("up", drop=5),
    Column("restarts", right=True, drop=4),
)
HOST_COLUMNS = (
    Column("host"),
    Column("services", wrap=True),
    Column("serving", right=True),
    Column("engines ready", right=True, drop=1),
)
ENGINE_COLUMNS = (
    Column("engine"),
    Column("state"),
    Column("models", wrap=True),
    Column("work", wrap=True, drop=2),
    Column("busy", right=True, drop=1),
    Column("capacity", drop=4),
    Column("runs on", wrap=True, drop=3),
)

# Counts are since the leader took the lead.
POOL_COLUMNS = (
    Column("pool"),
    Column("policy"),
    Column("queued", right=True),
    Column("running", right=True),
    Column("dispatched", right=True, drop=2),
    Column("refused", right=True, drop=1),
    Column("retried", right=True, drop=3),
    Column("interrupted", right=True, drop=1),
    Column("led by", drop=4),
)


def _processes(view: MeshView, width: int) -> list[Table | Text]:
    rows = []
    for process in view.processes:
        phase = process.phase if process.serving or process.phase not in GOOD else "not serving"
        rows.append(
            (
                process.name,
                phase_text(phase),
                _address(process.host if process.host != view.this_host else "", process.ports),
                str(process.pid or ""),
                megabytes(process.rss_bytes) if process.rss_bytes else "",
                duration(process.uptime_seconds) if process.uptime_seconds else "",
                str(process.restarts or ""),
            )
        )
    messages = [Text(f"{p.name}: {p.message}", style="dim") for p in view.processes if p.message]
    return [*fitted(width, PROCESS_COLUMNS, rows), *messages]


def _hosts(view: MeshView, width: int) -> list[Table | Text]:
    rows = [
        (
            f"{host.host} (here)" if host.is_this else host.host,
            ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in host.services.items()),
            f"{host.serving}/{sum(host.services.values())}",
            f"{host.engines_ready}/{host.engines}" if host.engines else "",
        )
        for host in view.hosts
    ]
    return fitted(width, HOST_COLUMNS, rows)


def _engines(view: MeshView, width: int) -> list[Table | Text]:
    rows = [
        (
            engine.name or engine.engine_id,
            phase_text(engine.phase),
            ", ".join(engine.models),
            _short(engine.kinds),
            busy(engine.outstanding, engine.capacity, engine.capacity_source),
            engine.capacity_source,
            engine.labels.get("backend", ""),
        )
        for engine in view.engines
    ]
    reasons = [Text(f"{e.name or e.engine_id}: {e.reason}", style="dim") for e in view.engines if e.reason]
    return [*fitted(width, ENGINE_COLUMNS, rows), *reasons]


def _pools(view: MeshView, width: int) -> list[Table | Text]:
    rows = [
        (
            pool.pool,
            pool.policy,
            *("" if count is None else str(count) for count in _counts(pool)),
            pool.leader or "nobody yet",
        )
        for pool in view.pools
    ]
    return fitted(width, POOL_COLUMNS, rows)


def _counts(pool: PoolView) -> tuple[int | None, ...]:
    return pool.queued, pool.outstanding, pool.dispatched, pool.refused, pool.retried, pool.interrupted


def busy(outstanding: int, capacity: int, source: str) -> str:
    """Return the requests on an engine, of those that it takes at once; ``?`` where only a technical ceiling is set."""
    return f"{outstanding}/{'?' if source == 'unknown' else capacity}"


def _address(host: str, ports: Mapping[str, int]) -> str:
    listed = " ".join(f"{name}:{port}" for name, port in ports.items())
    return listed if not host or host in LOCAL_HOSTS else f"{host} {listed}".rstrip()


def _short(kinds: Iterable[str]) -> str:
    return ", ".join(kind.removeprefix("llm_") for kind in kinds)
