"""What the real vLLM tells of its prefix cache, joined with the prompts that it got. Needs ``tests/vllm/install.sh``.

``VLLM_PYTHON`` names the Python that has vLLM; ``.sage/vllm-venv/bin/python`` is looked for otherwise.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from fixtures.eventually import eventually
from fixtures.server_records import MemoryRecords
from tiny_llama import build_tiny_llama

from sage_common.clock import MonotonicClock
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_control_plane.request.engine_state import EngineSpec
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import (
    Classification,
    Endpoint,
    PendingRequest,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineParts
from sage_llm_coordinator.engines.registry import engine_kind
from sage_llm_coordinator.engines.server_engine import ServerEngine
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress
from sage_llm_coordinator.servers.servers import Servers
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here

START_SECONDS = 280
INSTALLED = Path(__file__).parents[2] / ".sage" / "vllm-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("VLLM_PYTHON", INSTALLED))
ENGINE = "tiny-llama-0"
# Of 128 tokens each on a CPU: room for one long prompt and a half.
BLOCKS = 24

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]


@dataclass
class Scheduler:
    """What a scheduler makes of what it is told."""

    index: PrefixIndex = field(default_factory=PrefixIndex)
    told: list[CachedBlocks] = field(default_factory=list)

    def take(self, blocks: CachedBlocks) -> None:
        self.told.append(blocks)
        assert self.index.report(blocks)

    def sender(self, pool: str) -> Any:
        return self.take

    def attach(self, told: object) -> None:
        """Nobody asks for the whole here."""

    detach = attach


class NoEmbedder:
    ready = False

    async def embed(self, texts: object, engine_request: object) -> Any:
        raise AssertionError("the vllm engine embeds nothing")


@pytest.fixture(scope="module")
def scheduler() -> Scheduler:
    return Scheduler()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory, scheduler: Scheduler) -> AsyncIterator[ServerEngine]:
    """The engine, with a cache that is soon full."""
    pytest.importorskip("transformers")
    pytest.importorskip("zmq")
    pytest.importorskip("msgspec")
    from sage_llm_coordinator.kv_cache.cache_watch import CacheWatch

    def watch(spec: EngineSpec, address: FeedAddress) -> CacheWatch:
        return CacheWatch(spec.engine_id, spec.pool, address, scheduler)  # type: ignore[arg-type]

    model = build_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")
    engine_settings = VllmEngineSettings(
        model=str(model),
        arguments=("--enforce-eager", "--max-num-seqs", "4", "--num-gpu-blocks-override", str(BLOCKS)),
        environment={"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    settings = LlmCoordinatorSettings(vllm_python=str(PYTHON))
    servers = Servers(settings.servers, MemoryRecords(), "test", "this-host")
    parts = EngineParts(settings.of_kinds(), lambda *_: NoEmbedder(), MonotonicClock(), servers, watch)
    blueprint = EngineBlueprint(engine_settings, EngineSpec(ENGINE, "vllm", ()), WantedAdapters())
    made = engine_kind(engine_settings).build(blueprint, parts)
    assert isinstance(made, ServerEngine)
    starting = asyncio.create_task(made.start())
    await asyncio.wait({starting}, timeout=START_SECONDS)
    try:
        assert starting.done(), f"{made.phase.name}: {made.reason}"
        yield made
    finally:
        starting.cancel()
        await made.stop()


def chat(*said: str) -> EngineRequest:
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    body = {"model": "tiny-llama", "messages": messages, "ignore_eos": True, "stream": True, "max_tokens": 2}
    segments = [part for message in messages for part in message.values()]
    tokens, blocks = request_features(segments)
    classification = Classification(
        RequestKind.LLM_CHAT,
        "main",
        "tiny-llama",
        ServiceClass.INTERACTIVE,
        Priority.NORMAL,
        ServiceLevel(),
        tokens,
        2,
        tuple(blocks),
        streaming=True,
        resumable=True,
    )
    encoded = orjson.dumps(body)
    return EngineRequest(
        os.urandom(4).hex(), Endpoint.CHAT_COMPLETIONS, encoded, "tiny-llama", classification=classification
    )


def pending(request: EngineRequest) -> PendingRequest:
    assert request.classification is not None
    return PendingRequest(request.request_id, "default", request.classification, 0.0, 60.0)


async def answered(engine: ServerEngine, request: EngineRequest) -> int:
    """Run it; return the prompt tokens that vLLM had cached."""
    async with run_here(engine, request) as reply:
        async for data in reply:
            assert b'prompt_token_ids":[' not in data, "they are not the caller's"
    return reply.usage.cached_tokens


def words(seed: int, count: int) -> str:
    known = ("import", "return", "class", "value", "self", "print", "range")
    return " ".join(random.Random(seed).choices(known, k=count))


async def test_what_vllm_has_cached_is_what_it_then_finds(engine: ServerEngine, scheduler: Scheduler) -> None:
    # An account begins with the first event after which a prompt's tokens are known.
    await answered(engine, chat(words(0, 200)))
    first = chat(words(1, 400))
    assert await answered(engine, first) == 0
    await eventually(lambda: scheduler.index.matched(ENGINE, pending(first)) > 0.8)
    again = chat(words(1, 400), "yes", words(2, 60))
    matched = scheduler.index.matched(ENGINE, pending(again))
    cached = await answered(engine, again)
    assert again.classification is not None
    assert cached > 0
    assert matched == pytest.approx(cached / again.classification.input_tokens, abs=0.25)
    assert scheduler.index.matched(ENGINE, pending(chat(words(99, 400)))) == 0.0


async def test_what_vllm_evicts_is_gone(engine: ServerEngine, scheduler: Scheduler) -> None:
    first = chat(words(1, 400))
    await answered(engine, first)
    await eventually(lambda: scheduler.index.matched(ENGINE, pending(first)) > 0.8)
    for seed in range(10, 18):
        await answered(engine, chat(words(seed, 500)))
    await eventually(lambda: scheduler.index.matched(ENGINE, pending(first)) == 0.0)
    assert await answered(engine, first) == 0
    assert any(message.removed for message in scheduler.told)
