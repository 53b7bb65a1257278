"""One stream whose engine is killed in the middle, as its client sees it, and what the scheduler says of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.live.simulated_pool import SimulatedEngineProcess
from sage_benchmark.simulated_engine.answer_text import marker
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_common.errors import UnavailableError

TOKENS = 120
KILLED_AFTER_TOKENS = 40
STEP_SECONDS = "0.02"
# A mesh is ready before its scheduler has heard of every engine.
ENGINES_WITHIN_SECONDS = 30.0


@dataclass(frozen=True)
class KilledStream:
    """What was seen. Times are milliseconds from the moment at which the request was sent.

    Attributes:
        tokens_ms: when each token came.
        killed_ms: when ``kill -9`` had ended the first engine.
        explanation: what ``sage explain`` tells: the document of ``/v1/management/decisions/{id}``.
        headers: of the answer, in lower case.
    """

    tokens_ms: list[float]
    killed_ms: float
    explanation: dict[str, Any]
    headers: dict[str, str]

    @property
    def gap_ms(self) -> float:
        """The longest pause between two tokens."""
        return max((later - earlier for earlier, later in pairwise(self.tokens_ms)), default=0.0)


def kill_a_streams_engine(directory: Path) -> KilledStream:
    """Run a mesh in front of two simulated engines and kill the one that answers.

    Raises:
        UnavailableError: the mesh did not come up, or the stream did not end with every token.
    """
    models = SimulatedModels(embedding="")
    engines = {f"engine-{name}": SimulatedEngineProcess(models, ("--step-base-seconds", STEP_SECONDS)) for name in "ab"}
    try:
        for engine in engines.values():
            engine.start()
        upstreams = [{"kind": "openai", "name": name, "url": engine.url} for name, engine in engines.items()]
        settings = {"SAGE_LLM_COORDINATOR_ENGINES": orjson.dumps(upstreams).decode()}
        replicas = {"embed-executor": 0, "dataflow-worker": 0}
        with isolated_mesh(directory, replicas=replicas, settings=settings) as mesh:
            return asyncio.run(_stream(mesh, engines, models.llm))
    finally:
        for engine in engines.values():
            engine.stop()


async def _stream(mesh: IsolatedMesh, engines: dict[str, SimulatedEngineProcess], model: str) -> KilledStream:
    async with aiohttp.ClientSession(mesh.gateway_url) as session:
        await _until_two_engines(session)
        prompt = f"{marker('figure', TOKENS)} tell a story"
        body = {
            "model": model,
            "stream": True,
            "max_tokens": TOKENS + 10,
            "messages": [{"role": "user", "content": prompt}],
        }
        sent, killed_ms = time.monotonic(), 0.0
        arrivals: list[float] = []
        async with session.post("/v1/chat/completions", json=body) as response:
            answers = response.headers["x-sage-engine"]
            async for line in response.content:
                if not _has_text(line):
                    continue
                arrivals.append((time.monotonic() - sent) * 1e3)
                if len(arrivals) == KILLED_AFTER_TOKENS:
                    next(engine for name, engine in engines.items() if answers.startswith(name)).kill()
                    killed_ms = (time.monotonic() - sent) * 1e3
            headers = {name.lower(): value for name, value in response.headers.items()}
        if len(arrivals) != TOKENS:
            raise UnavailableError(f"{len(arrivals)} tokens of {TOKENS} came")
        async with session.get(f"/v1/management/decisions/{headers['x-request-id']}") as response:
            return KilledStream(arrivals, killed_ms, await response.json(), headers)


def _has_text(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    choices = orjson.loads(line.removeprefix(b"data: ")).get("choices") or [{}]
    return bool((choices[0].get("delta") or {}).get("content"))


async def _until_two_engines(session: aiohttp.ClientSession) -> None:
    deadline = time.monotonic() + ENGINES_WITHIN_SECONDS
    while time.monotonic() < deadline:
        async with session.get("/v1/management/engines") as response:
            listed = (await response.json())["data"]
        if sum(engine["phase"] == "ready" for engine in listed) >= 2:
            return
        await asyncio.sleep(0.05)
    raise UnavailableError("two engines were not ready in time")
