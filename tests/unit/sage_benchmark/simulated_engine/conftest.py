"""Simulated engines that listen in this process, fast enough for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sage_benchmark.simulated_engine.engine import SimulatedEngine
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_control_plane.request.features import request_features

FAST = EngineModelConfig(
    prefill_tokens_per_second=1e6, step_base_seconds=0.001, step_per_sequence_seconds=0.0, max_context_tokens=200_000
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SimulatedEngine]:
    models = SimulatedModels("llm", "embedder")
    running = SimulatedEngine(models, FAST, request_features, journal=tmp_path / "journal")
    await running.start()
    yield running
    running.close()


@pytest.fixture
async def http(engine: SimulatedEngine) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=engine.url) as session:
        yield session
