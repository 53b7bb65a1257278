"""The engine of CONTRIBUTING.md is listed, validated, configured and built, and knows how its server is started."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from fixtures.server_records import MemoryRecords

from sage_cli.effective_settings import effective_settings
from sage_common.clock import MonotonicClock
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineParts, OwnsServer
from sage_llm_coordinator.engines.registry import KINDS, engine_kind
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.servers.servers import Servers

NAME = "llm_coordinator.sglang.python"


def no_embedder(_model: str, _seconds: float) -> Any:
    raise AssertionError


async def command_of_the_first_engine() -> list[str]:
    settings = load(LlmCoordinatorSettings)
    (engine,) = settings.engines
    kind = engine_kind(engine)
    servers = Servers(settings.servers, MemoryRecords(), "me", "this-host")
    parts = EngineParts(settings.of_kinds(), no_embedder, MonotonicClock(), servers)
    assert kind.program is not None
    program = kind.program(engine, parts)
    port, room = await servers.place(program)
    assert room.devices == ("1",)

    built = kind.build(EngineBlueprint(engine, EngineSpec("tiny-0", "sglang", ()), WantedAdapters()), parts)
    assert isinstance(built, OwnsServer)
    assert built.phase is EnginePhase.STARTING
    assert [card.name for card in built.spec.models] == ["tiny"]

    line = program.command(port, room)
    return [str(part) if part != str(port) else "PORT" for part in line]


assert KINDS["sglang"].name == "sglang"

shown = {f"{setting.section}.{setting.name}": setting for setting in effective_settings("llm_coordinator")}
assert shown[NAME].value == ""
assert shown[NAME].description.startswith("Python that has SGLang")

os.environ["SAGE_LLM_COORDINATOR_SGLANG_PYTHON"] = "/opt/python"
os.environ["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "sglang", "model": "acme/tiny", "gpu": "1"}]'
line = (
    "/opt/python -m sglang.launch_server --model-path acme/tiny --served-model-name tiny --host 127.0.0.1 --port PORT"
)
assert asyncio.run(command_of_the_first_engine()) == line.split()

os.environ["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "sglang", "model": "acme/tiny", "gpu": "first"}]'
with pytest.raises(ConfigurationError, match=r"engines\.0\.gpu"):
    load(LlmCoordinatorSettings)
