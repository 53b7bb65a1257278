"""Simulated engines that listen in this process, fast enough for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sage_benchmark.simulated.engine_config import EngineModelConfig
from sage_benchmark.simulated.engine_program import RunningEngine, start_engine
from sage_benchmark.simulated.engine_server import SimulatedModels
from sage_control_plane.request.features import request_features

FAST = EngineModelConfig(
    prefill_tokens_per_second=1e6, step_base_seconds=0.001, step_per_sequence_seconds=0.0, max_context_tokens=200_000
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[RunningEngine]:
    models = SimulatedModels("llm", "embedder")
    running = await start_engine("127.0.0.1", 0, models, FAST, request_features, tmp_path / "journal")
    yield running
    running.close()


@pytest.fixture
async def http(engine: RunningEngine) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=engine.url) as session:
        yield session
