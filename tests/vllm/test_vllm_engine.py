"""The engine ``vllm`` with the real vLLM on a CPU and a tiny model. Needs ``tests/vllm/install.sh`` and minutes.

``VLLM_PYTHON`` names the Python that has vLLM; ``.sage/vllm-venv/bin/python`` is looked for otherwise.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from fixtures.server_records import MemoryRecords
from tiny_llama import CONTEXT_TOKENS, build_tiny_llama

from sage_common.clock import MonotonicClock
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineParts
from sage_llm_coordinator.engines.registry import engine_kind
from sage_llm_coordinator.engines.server_engine import ServerEngine
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.servers.servers import Servers
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here
from sage_mesh.openai_answer import read_delta
from sage_mesh.reply import Media
from sage_mesh.sse import DONE, SseParser

START_SECONDS = 280
INSTALLED = Path(__file__).parents[2] / ".sage" / "vllm-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("VLLM_PYTHON", INSTALLED))

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]


class NoEmbedder:
    ready = False

    async def embed(self, texts: object, engine_request: object) -> Any:
        raise AssertionError("the vllm engine embeds nothing")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerEngine]:
    """The engine, started once for all tests here."""
    pytest.importorskip("transformers")
    model = build_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")
    engine_settings = VllmEngineSettings(
        model=str(model),
        # Compiling a model this small takes longer than all the tests with it.
        arguments=("--enforce-eager", "--max-num-seqs", "16"),
        environment={"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    settings = LlmCoordinatorSettings(vllm_python=str(PYTHON))
    servers = Servers(settings.servers, MemoryRecords(), "test", "this-host")
    parts = EngineParts(settings.of_kinds(), lambda *_: NoEmbedder(), MonotonicClock(), servers)
    spec = EngineSpec("tiny-llama-0", "vllm", ())
    engine = engine_kind(engine_settings).build(EngineBlueprint(engine_settings, spec, WantedAdapters()), parts)
    assert isinstance(engine, ServerEngine)
    starting = asyncio.create_task(engine.start())
    await asyncio.wait({starting}, timeout=START_SECONDS)
    try:
        assert starting.done(), f"{engine.phase.name}: {engine.reason}"
        yield engine
    finally:
        starting.cancel()
        await engine.stop()
        left = [p for p in psutil.process_iter(["cmdline"]) if str(model) in (p.info["cmdline"] or [])]
        assert left == []


def chat(**fields: object) -> EngineRequest:
    messages = [{"role": "user", "content": "def main():"}]
    body = {"model": "tiny-llama", "messages": messages, "ignore_eos": True, **fields}
    return EngineRequest(os.urandom(4).hex(), Endpoint.CHAT_COMPLETIONS, orjson.dumps(body), "tiny-llama")


async def test_it_is_ready_with_the_models_own_context(engine: ServerEngine) -> None:
    assert engine.phase is EnginePhase.READY
    (card,) = engine.spec.models
    assert (card.name, card.max_context_tokens) == ("tiny-llama", CONTEXT_TOKENS)


async def test_a_chat_streams_token_by_token_with_its_usage(engine: ServerEngine) -> None:
    engine_request = chat(stream=True, max_tokens=12, stream_options={"include_usage": True})
    parser = SseParser()
    async with run_here(engine, engine_request) as reply:
        assert (await reply.head()).media is Media.EVENT_STREAM
        events = [event async for data in reply for event in parser.feed(data)]
    assert events[-1].data == DONE
    pieces = [read_delta(event.data) for event in events[:-1]]
    assert pieces[-1].usage == reply.usage
    assert reply.usage.completion_tokens == 12
    assert reply.usage.prompt_tokens > 0
    assert "length" in {piece.finish_reason for piece in pieces}
    assert sum(bool(piece.text) for piece in pieces) > 3


async def test_sixteen_at_once_are_all_answered(engine: ServerEngine) -> None:
    async def ask() -> int:
        async with run_here(engine, chat(max_tokens=8)) as reply:
            return int(orjson.loads(await reply.read())["usage"]["completion_tokens"])

    assert await asyncio.gather(*(ask() for _ in range(16))) == [8] * 16


async def test_its_own_error_object_is_passed_on(engine: ServerEngine) -> None:
    async with run_here(engine, chat(max_tokens=10 * CONTEXT_TOKENS)) as reply:
        with pytest.raises(InvalidRequestError) as caught:
            await reply.read()
    assert caught.value.upstream_status == 400
    assert "error" in orjson.loads(caught.value.upstream_body)


async def test_a_request_that_is_given_up_ends_in_vllm(engine: ServerEngine) -> None:
    import aiohttp

    async def running() -> float:
        async with aiohttp.ClientSession() as session, session.get(metrics) as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))

    async def become(count: float) -> None:
        while await running() != count:  # noqa: ASYNC110 - vLLM tells only when it is asked, and a step late
            await asyncio.sleep(0.02)

    metrics = engine.spec.url.removesuffix("/v1") + "/metrics"
    async with run_here(engine, chat(stream=True, max_tokens=1900)) as reply:
        await anext(aiter(reply))
        await asyncio.wait_for(become(1), 1)
    # Left alone, 1,900 tokens would keep it busy for seconds.
    await asyncio.wait_for(become(0), 1)
