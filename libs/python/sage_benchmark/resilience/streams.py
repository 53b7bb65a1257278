"""``sage bench streams``: hundreds of streams at once through one gateway, how many it carries, and what a token costs.

The engine notes the gaps between its own writes while the mesh is measured: those are subtracted, so that what is left
is what the mesh, and the client on the same machine, added. Where the engine itself was kept from writing for long, the
longest gaps are nobody's: the machine was too busy.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import orjson
import uvloop

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.http_client import fetch
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.load.closed_loop import percentile
from sage_benchmark.resilience.resilience_result import ResilienceResult
from sage_benchmark.resilience.stream_load import StreamedLoad, stream_load
from sage_benchmark.resilience.stream_rung import SERVICES, Rung
from sage_benchmark.resilience.streams_plan import StreamsPart, StreamsPlan
from sage_benchmark.resilience.streams_report import GROWN_MS, streams_result
from sage_benchmark.resilience.watched_processes import WatchedProcesses
from sage_platform.process_tuning import allow_many_open_files

BODY = b'{"model":"static","stream":true,"messages":[{"role":"user","content":"Say something."}]}'
SEATS = 4_096


def run(plan: StreamsPlan) -> ResilienceResult:
    """Start engines and a mesh, measure, and take all of it down.

    Raises:
        RuntimeError: a stream of a load that is held against bars did not come whole.
    """
    allow_many_open_files()
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch:
        (held,), ladder, costs = (
            _measure_part(part, Path(scratch) / str(index)) for index, part in enumerate(plan.parts())
        )
    for rung in (held, *costs):
        if rung.failed:
            raise RuntimeError(f"{rung.failed} of {rung.streams} streams did not come whole")
    return streams_result(plan, held, ladder, costs)


def _measure_part(part: StreamsPart, directory: Path) -> list[Rung]:
    """Measure one load after the other, until gaps have grown too far."""
    rungs: list[Rung] = []
    if not part.levels:
        return rungs
    arguments = ("--tokens", str(part.tokens), "--gap-ms", str(part.gap_ms), "--record-gaps")
    with static_engine(*arguments) as engine, _mesh(directory, engine) as mesh:
        for streams in part.levels:
            rungs.append(_measure(part, mesh, engine, streams))
            if rungs[-1].added_p99_ms > GROWN_MS:
                break
    return rungs


def _mesh(directory: Path, engine: str) -> AbstractContextManager[IsolatedMesh]:
    engines = [{"kind": "openai", "name": "static", "url": engine, "max_concurrency": SEATS}]
    return isolated_mesh(
        directory,
        replicas={"embed-executor": 0, "dataflow-worker": 0},
        settings={"SAGE_LLM_COORDINATOR_ENGINES": json.dumps(engines)},
    )


def _measure(part: StreamsPart, mesh: IsolatedMesh, engine: str, streams: int) -> Rung:
    watched = WatchedProcesses(mesh, SERVICES)
    fetch(f"{engine}/gaps")  # begins anew
    before = watched.cpu_seconds()
    load = uvloop.run(_watched_load(part, mesh, watched, streams))
    after = watched.cpu_seconds()
    own = orjson.loads(fetch(f"{engine}/gaps"))
    gaps = load.gaps_ms or [part.gap_ms]
    tokens = streams * part.tokens
    # While all of them are open.
    rate = streams * (part.tokens - 1) / max(1e-9, load.stream_seconds)
    return Rung(
        streams,
        load.failed,
        rate,
        percentile(gaps, 0.5),
        percentile(gaps, 0.99),
        max(gaps),
        own["p99_ms"],
        own["max_ms"],
        part.gap_ms,
        {name: (after[name] - before[name]) / tokens * 1e6 for name in SERVICES},
        watched.peak_mb("gateway"),
    )


async def _watched_load(part: StreamsPart, mesh: IsolatedMesh, watched: WatchedProcesses, streams: int) -> StreamedLoad:
    ended = asyncio.Event()
    sampling = asyncio.create_task(watched.sample_until(ended))
    try:
        return await stream_load(
            mesh.gateway_url, BODY, streams=streams, ramp_seconds=part.ramp_seconds, stream_seconds=part.seconds
        )
    finally:
        ended.set()
        await sampling
