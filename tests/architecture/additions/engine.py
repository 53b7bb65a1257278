"""The engine of CONTRIBUTING.md is listed, validated, configured and used, with a small program in SGLang's place."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fixtures.server_records import MemoryRecords

from sage_cli.effective_settings import effective_settings
from sage_common.clock import MonotonicClock
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineParts, OwnsServer
from sage_llm_coordinator.engines.registry import KINDS, engine_kind
from sage_llm_coordinator.engines.server_engine import ServerEngine
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.servers.program import ServerProgram
from sage_llm_coordinator.servers.servers import Servers
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here

NAME = "llm_coordinator.sglang.python"


def no_embedder(_model: str, _seconds: float) -> Any:
    raise AssertionError


def the_engine(settings: LlmCoordinatorSettings) -> tuple[ServerProgram, ServerEngine, Servers]:
    (engine,) = settings.engines
    kind = engine_kind(engine)
    servers = Servers(settings.servers, MemoryRecords(), "me", "this-host")
    parts = EngineParts(settings.of_kinds(), no_embedder, MonotonicClock(), servers)
    built = kind.build(EngineBlueprint(engine, EngineSpec("tiny-0", "sglang", ()), WantedAdapters()), parts)
    assert kind.program is not None
    assert isinstance(built, ServerEngine)
    return kind.program(engine, parts), built, servers


async def command_of(settings: LlmCoordinatorSettings) -> list[str]:
    program, built, servers = the_engine(settings)
    assert isinstance(built, OwnsServer)
    assert built.phase is EnginePhase.STARTING
    assert [card.name for card in built.spec.models] == ["tiny"]
    port, room = await servers.place(program)
    assert room.devices == ("1",)
    return [part if part != str(port) else "PORT" for part in program.command(port, room)]


async def answer_of(settings: LlmCoordinatorSettings) -> bytes:
    _, engine, _ = the_engine(settings)
    try:
        await asyncio.wait_for(engine.start(), 30)
        assert engine.phase is EnginePhase.READY
        body = b'{"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}'
        async with run_here(engine, EngineRequest("r", Endpoint.CHAT_COMPLETIONS, body, "tiny")) as reply:
            return await reply.read()
    finally:
        await engine.stop()


assert KINDS["sglang"].name == "sglang"

shown = {f"{setting.section}.{setting.name}": setting for setting in effective_settings("llm_coordinator")}
assert shown[NAME].value == ""
assert shown[NAME].description.startswith("Python that has SGLang")

os.environ["SAGE_LLM_COORDINATOR_SGLANG_PYTHON"] = "/opt/python"
os.environ["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "sglang", "model": "acme/tiny", "gpu": "1"}]'
line = (
    "/opt/python -m sglang.launch_server --model-path acme/tiny --served-model-name tiny --host 127.0.0.1 --port PORT"
)
assert asyncio.run(command_of(load(LlmCoordinatorSettings))) == line.split()

os.environ["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "sglang", "model": "acme/tiny", "gpu": "first"}]'
with pytest.raises(ConfigurationError, match=r"engines\.0\.gpu"):
    load(LlmCoordinatorSettings)

with tempfile.TemporaryDirectory() as folder:
    # "$1" to "$8": -m sglang.launch_server --model-path MODEL --served-model-name NAME --host HOST
    python = Path(folder, "python-with-sglang")
    python.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m sage_benchmark.static_engine --model "$6" "$9" "${{10}}"\n'
    )
    python.chmod(0o755)
    os.environ["SAGE_LLM_COORDINATOR_SGLANG_PYTHON"] = str(python)
    os.environ["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "sglang", "model": "acme/tiny"}]'
    assert b"word word" in asyncio.run(answer_of(load(LlmCoordinatorSettings, ["--servers.ports=0-0"])))
