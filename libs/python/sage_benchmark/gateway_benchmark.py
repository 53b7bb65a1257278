"""``sage bench gateway``: what the mesh adds to a request and what it carries, against an engine that answers at once.

The engine, NATS, the services and the load generator share the machine's cores; every figure is measured in one run,
beside the same load sent to the engine directly.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from sage_benchmark.gateway_limits import measure_limits
from sage_benchmark.gateway_peers import PeerRow, measure_peers, peer_bars
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.load.chat_load import load_with_chats
from sage_benchmark.load.closed_loop import ClosedLoopRun, percentile
from sage_benchmark.report.bars import Bar

BODY = b'{"model":"static","messages":[{"role":"user","content":"Say something."}]}'
STREAM_BODY = b'{"model":"static","stream":true,"messages":[{"role":"user","content":"Say something."}]}'
LIMITED_BODY = b'{"model":"static","max_tokens":16,"messages":[{"role":"user","content":"Say something."}]}'
SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator", "nats")
LIGHT_SERVICES = ("gateway", "classifier", "scheduler")
TORCH_MARK = "libtorch"  # in the names of files that a process which has imported torch has mapped


@dataclass(frozen=True)
class GatewayPlan:
    """How much to measure.

    Attributes:
        stream_gap_ms: time between two tokens of the paced stream.
    """

    single_requests: int = 2000
    loaded_requests: int = 20000
    streams: int = 40
    stream_tokens: int = 16
    stream_gap_ms: float = 20.0
    concurrencies: tuple[int, ...] = (1, 16, 64)
    repetitions: int = 3


@dataclass(frozen=True)
class ServiceCost:
    """What one service process used.

    Attributes:
        cpu_us_per_request: CPU time at the highest concurrency, user and system, in microseconds a request.
        resident_mb: resident memory after the load, in MB of 10^6 bytes.
    """

    service: str
    cpu_us_per_request: float
    resident_mb: float
    torch_loaded: bool


@dataclass(frozen=True)
class GatewayResult:
    """Everything that was measured. Times are milliseconds.

    Attributes:
        limits: with keys asked for and a tenant held to limits, and without; see ``measure_limits``.
        peers: the mesh and its peers in front of the same engine, in turns; empty where no peer was given.
    """

    plan: GatewayPlan
    rows: list[dict[str, float]]
    streaming: dict[str, float]
    limits: dict[str, float]
    services: list[ServiceCost]
    ready_seconds: float
    bars: list[Bar]
    peers: list[PeerRow]

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        record = asdict(self)
        for bar, item in zip(self.bars, record["bars"], strict=True):
            item["reached"] = bar.reached
        return record


def run(plan: GatewayPlan, peers: Mapping[str, Path] = MappingProxyType({})) -> GatewayResult:
    """Start an engine and a mesh, measure, and take both down.

    Args:
        peers: programs of peers that are measured too, by the peers' names.

    Raises:
        UnavailableError: a mesh or a peer does not come up.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch,
        static_engine() as engine,
        static_engine("--tokens", str(plan.stream_tokens), "--gap-ms", str(plan.stream_gap_ms)) as paced,
    ):
        directory = Path(scratch)
        light = {"embed-executor": 0, "dataflow-worker": 0}
        with isolated_mesh(directory / "throughput", llm=engine, replicas=light) as mesh:
            rows, costs = _throughput(plan, engine, mesh)
            first_token = _first_token(plan, engine, mesh)
            compared = _compared(plan, engine, mesh, peers, directory) if peers else []
        with isolated_mesh(directory / "streaming", llm=paced, replicas=light) as mesh:
            streaming = first_token | _paced_stream(plan, paced, mesh)
        limits = measure_limits(
            engine,
            directory,
            LIMITED_BODY,
            single_requests=plan.single_requests,
            loaded_requests=plan.loaded_requests,
            repetitions=plan.repetitions,
        )
        with isolated_mesh(directory / "whole") as mesh:
            ready_seconds = mesh.ready_seconds
    bars = _bars(rows, streaming, limits, costs, ready_seconds)
    bars += peer_bars(compared)
    return GatewayResult(plan, rows, streaming, limits, costs, ready_seconds, bars, compared)


def _compared(
    plan: GatewayPlan, engine: str, mesh: IsolatedMesh, peers: Mapping[str, Path], directory: Path
) -> list[PeerRow]:
    return measure_peers(
        engine,
        mesh.gateway_url,
        peers,
        directory / "peers",
        BODY,
        single_requests=plan.single_requests,
        loaded_requests=plan.loaded_requests,
        repetitions=plan.repetitions,
    )


@contextmanager
def static_engine(*arguments: str) -> Iterator[str]:
    """Run the static engine; gives its base URL without ``/v1``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sage_benchmark.static_engine", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _throughput(plan: GatewayPlan, engine: str, mesh: IsolatedMesh) -> tuple[list[dict[str, float]], list[ServiceCost]]:
    for base in (engine, mesh.gateway_url):
        load_with_chats(base, BODY, concurrency=16, requests=500)
    rows = []
    costs: list[ServiceCost] = []
    for concurrency in plan.concurrencies:
        requests = plan.single_requests if concurrency == 1 else plan.loaded_requests
        runs = []
        for _ in range(plan.repetitions):
            direct = load_with_chats(engine, BODY, concurrency=concurrency, requests=requests)
            before = _cpu_seconds(mesh)
            through = load_with_chats(mesh.gateway_url, BODY, concurrency=concurrency, requests=requests)
            costs = _costs(mesh, before, requests)
            runs.append((direct, through))
        rows.append(_row(concurrency, runs))
    return rows, costs


def _row(concurrency: int, runs: Sequence[tuple[ClosedLoopRun, ClosedLoopRun]]) -> dict[str, float]:
    """The repetition with the median rate, so that one disturbed run decides nothing, and the spread of all."""
    rates = [through.requests_per_second for _, through in runs]
    direct, through = sorted(runs, key=lambda pair: pair[1].requests_per_second)[len(runs) // 2]
    latencies = [response.seconds * 1e3 for response in through.responses]
    direct_latencies = [response.seconds * 1e3 for response in direct.responses]
    return {
        "concurrency": concurrency,
        "requests_per_second": through.requests_per_second,
        "requests_per_second_min": min(rates),
        "requests_per_second_max": max(rates),
        "direct_requests_per_second": direct.requests_per_second,
        "p50_ms": percentile(latencies, 0.5),
        "p95_ms": percentile(latencies, 0.95),
        "p99_ms": percentile(latencies, 0.99),
        "direct_p50_ms": percentile(direct_latencies, 0.5),
        "added_p50_ms": percentile(latencies, 0.5) - percentile(direct_latencies, 0.5),
    }


def _first_token(plan: GatewayPlan, engine: str, mesh: IsolatedMesh) -> dict[str, float]:
    """Streams back to back over one connection, like the unary load at concurrency 1."""
    load_with_chats(mesh.gateway_url, STREAM_BODY, concurrency=1, requests=50)
    direct, through = (
        _first_byte_p50_ms(load_with_chats(base, STREAM_BODY, concurrency=1, requests=plan.single_requests))
        for base in (engine, mesh.gateway_url)
    )
    return {
        "first_token_p50_ms": through,
        "direct_first_token_p50_ms": direct,
        "added_first_token_p50_ms": through - direct,
    }


def _first_byte_p50_ms(load: ClosedLoopRun) -> float:
    return percentile([response.first_byte_seconds * 1e3 for response in load.responses], 0.5)


def _paced_stream(plan: GatewayPlan, engine: str, mesh: IsolatedMesh) -> dict[str, float]:
    """One stream at a time whose tokens are tens of milliseconds apart: the machine sleeps in between, so the time to
    the first token holds the waking of every process on the way as well."""
    load_with_chats(mesh.gateway_url, STREAM_BODY, concurrency=1, requests=3)
    direct = load_with_chats(engine, STREAM_BODY, concurrency=1, requests=plan.streams)
    through = load_with_chats(mesh.gateway_url, STREAM_BODY, concurrency=1, requests=plan.streams)
    gaps = [gap * 1e3 for response in through.responses for gap in response.gaps]
    apart, direct_apart = (_tokens_apart(load, plan.stream_gap_ms) for load in (through, direct))
    return {
        "added_first_token_from_idle_p50_ms": _first_byte_p50_ms(through) - _first_byte_p50_ms(direct),
        "token_gap_p50_ms": percentile(gaps, 0.5),
        "token_gap_p99_ms": percentile(gaps, 0.99),
        "engine_gap_ms": plan.stream_gap_ms,
        "tokens_apart": apart,
        "direct_tokens_apart": direct_apart,
    }


def _tokens_apart(load: ClosedLoopRun, gap_ms: float) -> float:
    """Mean number of arrivals in a stream that come at least half the engine's gap after the one before: tokens that
    were held back and sent together would lower it."""
    counts = [sum(1 for gap in response.gaps if gap * 1e3 >= gap_ms / 2) for response in load.responses]
    return sum(counts) / len(counts)


def _cpu_seconds(mesh: IsolatedMesh) -> dict[str, float]:
    seconds = {}
    for service in SERVICES:
        times = mesh.process(service).cpu_times()
        seconds[service] = times.user + times.system
    return seconds


def _costs(mesh: IsolatedMesh, before: dict[str, float], requests: int) -> list[ServiceCost]:
    after = _cpu_seconds(mesh)
    return [
        ServiceCost(
            service,
            cpu_us_per_request=(after[service] - before[service]) / requests * 1e6,
            resident_mb=mesh.process(service).memory_info().rss / 1e6,
            torch_loaded=_maps_torch(mesh.process(service)),
        )
        for service in SERVICES
    ]


def _maps_torch(process: psutil.Process) -> bool:
    return any(TORCH_MARK in mapped.path for mapped in process.memory_maps())


def _bars(
    rows: list[dict[str, float]],
    streaming: dict[str, float],
    limits: dict[str, float],
    costs: list[ServiceCost],
    ready_seconds: float,
) -> list[Bar]:
    by_concurrency = {int(row["concurrency"]): row for row in rows}
    bars = [
        Bar("added latency p50 at concurrency 1", by_concurrency[1]["added_p50_ms"], 2.0, "ms"),
        Bar("requests/s at concurrency 64", by_concurrency[64]["requests_per_second"], 3000, "/s", at_most=False),
        Bar("processor time of a request, NATS included", sum(cost.cpu_us_per_request for cost in costs), 300.0, "µs"),
        Bar("added time to first token p50", streaming["added_first_token_p50_ms"], 3.0, "ms"),
        Bar(
            "tokens that arrive apart in time, against the engine's own stream",
            streaming["tokens_apart"] / streaming["direct_tokens_apart"],
            0.99,
            "×",
            at_most=False,
        ),
        Bar("requests/s with keys and limits, against without", limits["rate_ratio"], 0.85, "×", at_most=False),
        Bar("p50 at concurrency 1 with keys and limits, against without", limits["latency_ratio"], 1.15, "×"),
        Bar("sage up to ready, warm disk", ready_seconds, 15.0, "s"),
    ]
    for cost in costs:
        if cost.service in LIGHT_SERVICES:
            bars.append(Bar(f"{cost.service} resident", cost.resident_mb, 150.0, "MB"))
            bars.append(Bar(f"{cost.service} has torch loaded", float(cost.torch_loaded), 0.0, ""))
    return bars


def write_chart(result: GatewayResult, path: Path) -> None:
    """Write a PNG. Needs the extra ``bench``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rate, latency = figure.subplots(1, 2)
    names = [f"{row['concurrency']:.0f}" for row in result.rows]
    places = range(len(names))
    rates = [row["requests_per_second"] for row in result.rows]
    below = [row["requests_per_second"] - row["requests_per_second_min"] for row in result.rows]
    above = [row["requests_per_second_max"] - row["requests_per_second"] for row in result.rows]
    rate.bar(places, rates, yerr=[below, above], capsize=4, color="#3b6ea5")
    rate.set(title="Requests/s through the mesh", xlabel="concurrent connections", ylabel="requests/s")
    for name, style in (("p50_ms", "o-"), ("p95_ms", "s--"), ("p99_ms", "^:")):
        latency.plot(places, [row[name] for row in result.rows], style, label=name.removesuffix("_ms"))
    latency.plot(places, [row["direct_p50_ms"] for row in result.rows], "x-", color="grey", label="engine alone, p50")
    latency.set(title="Latency", xlabel="concurrent connections", ylabel="ms", yscale="log")
    latency.legend()
    for axes in (rate, latency):
        axes.set_xticks(list(places), names)
    figure.savefig(path, dpi=130)
