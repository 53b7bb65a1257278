"""Simulated engines as processes of their own, which can be made slow, killed and restarted at the same address."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from sage_benchmark.http_client import fetch
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
from sage_common.errors import UnavailableError

STOP_SECONDS = 10.0
POLL_SECONDS = 0.1
_PROMPT_TOKENS = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_REQUESTS = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class SimulatedEngineProcess:
    """One engine. ``start`` before use.

    Attributes:
        url: base URL without ``/v1``; the same after a restart.
        embedding_url: of the same engine with its embedding model alone; empty where it serves none.
    """

    def __init__(self, models: SimulatedModels, arguments: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", "sage_benchmark.simulated_engine", "--model", models.llm]
        self._command += ["--embedding-model", models.embedding, *arguments]
        self._embeds = bool(models.llm and models.embedding)
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.embedding_url = ""

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. Raises UnavailableError where it ends at once."""
        self._close_output()
        port = urlsplit(self.url).port or 0
        command = [*self._command, "--port", str(port)]
        if self._embeds:
            command += ["--embedding-port", str(urlsplit(self.embedding_url).port or 0)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self._process = process
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise UnavailableError(
                f"a simulated engine did not start; it ended with status {process.wait(STOP_SECONDS)}"
            )
        self.url = url
        if self._embeds:
            self.embedding_url = process.stdout.readline().strip()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_output()

    def _close_output(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def set_faults(self, faults: dict[str, object]) -> None:
        """Set its faults, ``{}`` for none. Raises OSError where it does not take them."""
        fetch(f"{self.url}/sim/faults", json.dumps(faults).encode())

    def requests_held(self) -> int:
        """How many requests it runs or has waiting."""
        return int(sum(float(value) for value in _REQUESTS.findall(self._metrics())))

    def prompt_tokens(self) -> tuple[int, int]:
        """Prompt tokens so far, and how many of them its prefix cache had; zeros while it does not run."""
        if not self.running:
            return 0, 0
        found = {name: int(float(value)) for name, value in _PROMPT_TOKENS.findall(self._metrics())}
        return found["queries"], found["hits"]

    def cpu_seconds(self) -> float:
        """CPU time that its process has used; 0 while it does not run."""
        if self._process is None or not self.running:
            return 0.0
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _metrics(self) -> str:
        return fetch(f"{self.url}/metrics").decode()


class EngineProcess(Protocol):
    """An engine of a benchmark, see ``SimulatedEngineProcess``."""

    url: str
    embedding_url: str

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...
    def set_faults(self, faults: dict[str, object]) -> None: ...
    def requests_held(self) -> int: ...
    def prompt_tokens(self) -> tuple[int, int]: ...
    def cpu_seconds(self) -> float: ...


class SimulatedPool:
    """The engines of a benchmark: simulated ones, or others that can be used as these are.

    Attributes:
        models: what each serves.
        config: how fast each is, by which the offered load is reckoned.
        title: what a report calls them.
        described: what they are, for a report.
        kv_events: of each engine that tells what is in its prefix cache, the addresses where it does and where it
            repeats it.
    """

    def __init__(
        self,
        engines: Sequence[EngineProcess],
        models: SimulatedModels,
        config: EngineModelConfig | None = None,
        title: str = "simulated engines",
        described: str = "",
        kv_events: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.engines = tuple(engines)
        self.models = models
        self.kv_events = tuple(kv_events)
        self.title = title
        self.config = config or EngineModelConfig()
        seats = f"{len(self.engines)} of {self.config.max_num_seqs} seats"
        self.described = described or seats

    @property
    def urls(self) -> list[str]:
        """Base URLs without ``/v1``."""
        return [engine.url for engine in self.engines]

    @property
    def embedding_urls(self) -> list[str]:
        """Base URLs of the same engines that list their embedding model alone, for fronts that know one model a URL."""
        return [engine.embedding_url for engine in self.engines if engine.embedding_url]

    def prompt_tokens(self) -> tuple[int, int]:
        """Prompt tokens of all engines so far, and how many of them were in a prefix cache."""
        counts = [engine.prompt_tokens() for engine in self.engines]
        return sum(prompt for prompt, _ in counts), sum(hits for _, hits in counts)

    def cpu_seconds(self) -> float:
        """CPU time of the engines' processes so far."""
        return sum(engine.cpu_seconds() for engine in self.engines)

    def recover(self, timeout_seconds: float = 30.0) -> None:
        """Bring back what was killed, end all faults, and wait until no engine holds a request.

        Raises:
            UnavailableError: requests are still there after the time; the next run would not begin from the same state.
        """
        for engine in self.engines:
            if not engine.running:
                engine.start()
            engine.set_faults({})
        deadline = time.monotonic() + timeout_seconds
        while any(engine.requests_held() for engine in self.engines):
            if time.monotonic() > deadline:
                held = [engine.requests_held() for engine in self.engines]
                raise UnavailableError(f"after {timeout_seconds:g} s the engines still hold {held} requests")
            time.sleep(POLL_SECONDS)


@contextmanager
def simulated_pool(
    count: int,
    models: SimulatedModels,
    arguments: Sequence[str] = (),
    config: EngineModelConfig | None = None,
    *,
    kv_events: bool = False,
) -> Iterator[SimulatedPool]:
    """Run ``count`` equal engines while the context lasts. Raises UnavailableError where one does not start.

    Args:
        config: their figures, where they differ from the usual ones.
        kv_events: whether they tell what is in their prefix caches.
    """
    given = [*arguments, *(config.arguments() if config is not None else ())]
    sockets = tempfile.TemporaryDirectory(prefix="sage-kv-")
    addresses = [(f"ipc://{sockets.name}/e{n}", f"ipc://{sockets.name}/r{n}") for n in range(count * kv_events)]
    told = [["--kv-events", events, "--kv-events-replay", replay] for events, replay in addresses] or [[]] * count
    engines = [SimulatedEngineProcess(models, [*given, *where]) for where in told]
    pool = SimulatedPool(engines, models, config, kv_events=addresses)
    try:
        for engine in pool.engines:
            engine.start()
        yield pool
    finally:
        for engine in pool.engines:
            engine.stop()
        sockets.cleanup()


async def inject(fault: EngineFault, pool: SimulatedPool) -> None:
    """Wait for the fault's time, then make it so. OSError where the engine does not take it."""
    await asyncio.sleep(fault.at_seconds)
    engine = pool.engines[fault.engine]
    if fault.kind is FaultKind.DIE:
        await asyncio.to_thread(engine.kill)
    else:
        await asyncio.to_thread(engine.set_faults, {"slowdown": fault.factor})
