"""The engine ``vllm`` with a program in vLLM's place: real processes, real signals, real HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from sage_common.clock import MonotonicClock
from sage_control_plane.engines import EnginePhase, EngineSpec
from sage_llm_coordinator.config import EngineSettings, LlmCoordinatorSettings
from sage_llm_coordinator.engine_kinds import EngineParts, engine_kind
from sage_llm_coordinator.engines.child_guard import GRACE_SECONDS
from sage_llm_coordinator.engines.server_process import GUARD
from sage_llm_coordinator.engines.vllm_engine import VllmEngine
from sage_mesh.buffered_reply import run_here
from sage_mesh.engine_host import EngineJob

Eventually = Callable[..., Awaitable[None]]
FAKE = Path(__file__).with_name("fake_vllm.py")


class NoEmbedder:
    ready = False

    async def embed(self, texts: object, job: object) -> object:
        raise AssertionError


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    script = tmp_path / "python-with-vllm"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def pids(tmp_path: Path) -> Callable[[], list[int]]:
    def read() -> list[int]:
        return [int(pid) for pid in (tmp_path / "pids").read_text().split()]

    return read


@pytest.fixture
async def make(tmp_path: Path, fake_python: Path) -> AsyncIterator[Callable[[str], VllmEngine]]:
    made: list[VllmEngine] = []

    def build(behaviour: str, python: str = "") -> VllmEngine:
        engine_settings = EngineSettings(
            kind="vllm",
            model="acme/tiny-llm",
            environment={"FAKE_VLLM": behaviour, "FAKE_VLLM_PIDS": str(tmp_path / "pids")},
        )
        settings = LlmCoordinatorSettings(vllm_python=python or str(fake_python), health_interval_seconds=0.05)
        parts = EngineParts(settings, NoEmbedder(), MonotonicClock())  # type: ignore[arg-type]
        engine = engine_kind(engine_settings).build(engine_settings, EngineSpec("tiny-llm-0", "vllm", ()), parts)
        assert isinstance(engine, VllmEngine)
        made.append(engine)
        return engine

    yield build
    for engine in made:
        await engine.stop()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_it_starts_the_server_and_answers_through_it(
    make: Callable[[str], VllmEngine], job: Callable[..., EngineJob], pids: Callable[[], list[int]]
) -> None:
    engine = make("serve")
    assert [card.name for card in engine.spec.models] == ["tiny-llm"]
    assert engine.phase is EnginePhase.STARTING
    await asyncio.wait_for(engine.start(), 20)
    assert engine.phase is EnginePhase.READY
    async with run_here(engine, job()) as reply:
        assert b"word word word" in await reply.read()
    await engine.stop()
    assert engine.phase is EnginePhase.STOPPED
    assert all(gone(pid) for pid in pids())


async def test_while_it_starts_the_reason_is_the_last_line_of_its_log(
    make: Callable[[str], VllmEngine], eventually: Eventually
) -> None:
    engine = make("serve")
    reasons: list[str] = []
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: reasons.append(engine.reason) or starting.done(), 20)
    assert "loading acme/tiny-llm" in reasons
    assert engine.reason == ""


async def test_a_server_that_ends_at_once_is_unhealthy_with_its_last_words(
    make: Callable[[str], VllmEngine], eventually: Eventually
) -> None:
    engine = make("crash")
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 20)
    assert "status 7" in engine.reason
    assert "CUDA out of memory" in engine.reason
    starting.cancel()


async def test_a_python_without_vllm_is_told_apart(make: Callable[..., VllmEngine], eventually: Eventually) -> None:
    engine = make("serve", python=sys.executable)
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 20)
    assert "vLLM is not installed" in engine.reason
    starting.cancel()


async def test_a_server_that_dies_is_started_again_and_nothing_of_it_is_left(
    make: Callable[[str], VllmEngine], eventually: Eventually, pids: Callable[[], list[int]]
) -> None:
    engine = make("serve")
    await asyncio.wait_for(engine.start(), 20)
    first = pids()
    os.kill(first[0], signal.SIGKILL)
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 10)
    await eventually(lambda: engine.phase is EnginePhase.READY, 20)
    assert pids() != first
    assert all(gone(pid) for pid in first)


async def test_a_child_that_ignores_the_request_to_end_is_killed(
    make: Callable[[str], VllmEngine], pids: Callable[[], list[int]]
) -> None:
    engine = make("deaf")
    await asyncio.wait_for(engine.start(), 20)
    await asyncio.wait_for(engine.stop(), GRACE_SECONDS + 10)
    assert all(gone(pid) for pid in pids())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_ends_when_the_service_dies_however_it_dies(
    tmp_path: Path, fake_python: Path, eventually: Eventually, pids: Callable[[], list[int]], number: int
) -> None:
    """A parent process stands for the service: it holds the guard's standard input, as the service does."""
    command = [str(fake_python), "-m", "vllm.entrypoints.openai.api_server", "--model", "m"]
    command += ["--served-model-name", "m", "--port", "0"]
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-S', {str(GUARD)!r}, *{command!r}], stdin=subprocess.PIPE)\n"
        "time.sleep(600)\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
    environment = {**clean, "FAKE_VLLM": "serve", "FAKE_VLLM_PIDS": str(tmp_path / "pids")}
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    file = tmp_path / "pids"
    await eventually(lambda: file.exists() and len(file.read_text().split()) == 2, 20)
    service.send_signal(number)
    await service.wait()
    await eventually(lambda: all(gone(pid) for pid in pids()), GRACE_SECONDS + 10)
