"""The engine ``vllm`` with a program in vLLM's place: real processes, real signals, real HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fixtures.server_records import MemoryRecords
from nats.errors import NoServersError

from sage_common.clock import MonotonicClock
from sage_common.errors import ConflictError, UnavailableError, UnprocessableError
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import CapacitySource, EnginePhase, EngineSpec
from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines import vllm_engine
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineParts
from sage_llm_coordinator.engines.registry import engine_kind
from sage_llm_coordinator.engines.server_engine import GRACE_SECONDS, ServerEngine
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings, VllmProgram
from sage_llm_coordinator.engines.wanted_adapters import Adapter, WantedAdapters
from sage_llm_coordinator.servers.record import KeptRecord, ServerRecord
from sage_llm_coordinator.servers.servers import OwnedServer, Servers
from sage_llm_coordinator.servers.vllm_options import GIB, SEATS_ON_CPU
from sage_llm_coordinator.servers.vllm_progress import VllmProgress
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here
from sage_platform.supervision.guarded_process import GuardedProcess

Eventually = Callable[..., Awaitable[None]]
FAKE = Path(__file__).parents[2] / "fixtures" / "fake_vllm.py"


class NoEmbedder:
    ready = False

    async def embed(self, texts: object, engine_request: object) -> object:
        raise AssertionError


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    script = tmp_path / "python-with-vllm"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def pids(tmp_path: Path) -> Callable[[], list[int]]:
    """The processes of the last start."""

    def read() -> list[int]:
        return [int(pid) for pid in (tmp_path / "pids").read_text().splitlines()[-1].split()]

    return read


@dataclass
class Made:
    """An engine, and where the records of its servers are."""

    engine: ServerEngine
    servers: Servers
    records: MemoryRecords
    parts: EngineParts


Make = Callable[..., Made]


@pytest.fixture
async def make(tmp_path: Path, fake_python: Path) -> AsyncIterator[Make]:
    made: list[ServerEngine] = []

    def build(
        behaviour: str,
        *,
        python: str = "",
        records: MemoryRecords | None = None,
        held: OwnedServer | None = None,
        orphan_seconds: float = 10.0,
        failures: int = 5,
        seconds: float = 0.3,
        model: str = "acme/tiny-llm",
        adapters: WantedAdapters | None = None,
        servers: Servers | None = None,
    ) -> Made:
        environment = {
            "FAKE_VLLM": behaviour,
            "FAKE_VLLM_PIDS": str(tmp_path / "pids"),
            "FAKE_VLLM_SECONDS": str(seconds),
        }
        engine_settings = VllmEngineSettings(model=model, environment=environment, check_memory=False)
        settings = LlmCoordinatorSettings(
            vllm_python=python or str(fake_python),
            health_interval_seconds=0.05,
            vllm_ports="0-0",
            orphan_seconds=orphan_seconds,
            vllm_max_failures=failures,
        )
        records = records or MemoryRecords()
        servers = servers or Servers(settings.servers, records, f"owner-{len(made)}", "this-host")
        parts = EngineParts(settings.of_kinds(), lambda *_: NoEmbedder(), MonotonicClock(), servers)  # type: ignore[arg-type,return-value]
        spec = EngineSpec(f"tiny-llm-{len(made)}", "vllm", ())
        build = engine_kind(engine_settings).build
        engine = build(EngineBlueprint(engine_settings, spec, adapters or WantedAdapters(), held), parts)
        assert isinstance(engine, ServerEngine)
        made.append(engine)
        return Made(engine, servers, records, parts)

    yield build
    for engine in made:
        await engine.stop()
    for guardian in [e._server.process._guardian for e in made if e.replaced and e._server]:
        assert guardian is not None
        await asyncio.wait_for(guardian.wait(), 10)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_it_starts_the_server_and_answers_through_it(
    make: Make, make_request: Callable[..., EngineRequest], pids: Callable[[], list[int]]
) -> None:
    engine = make("serve").engine
    assert [card.name for card in engine.spec.models] == ["tiny-llm"]
    assert engine.phase is EnginePhase.STARTING
    await asyncio.wait_for(engine.start(), 20)
    assert engine.phase is EnginePhase.READY
    async with run_here(engine, make_request()) as reply:
        assert b"word word word" in await reply.read()
    await engine.stop()
    assert engine.phase is EnginePhase.STOPPED
    assert all(gone(pid) for pid in pids())


async def test_while_it_starts_the_reason_says_how_far_it_is(make: Make, eventually: Eventually) -> None:
    engine = make("serve").engine
    reasons: list[str] = []
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: reasons.append(engine.reason) or starting.done(), 20)
    assert "starting vLLM" in reasons
    assert "loading weights (50 %)" in reasons
    assert engine.reason == ""


async def test_a_server_that_ends_at_once_is_unhealthy_with_its_last_words(make: Make, eventually: Eventually) -> None:
    engine = make("crash").engine
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 20)
    assert "status 7" in engine.reason
    assert "CUDA out of memory" in engine.reason
    starting.cancel()


async def test_a_python_without_vllm_is_recognised(make: Make, eventually: Eventually) -> None:
    engine = make("serve", python=sys.executable).engine
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 20)
    assert "given up: vLLM is not installed" in engine.reason
    starting.cancel()


async def test_a_server_that_dies_is_started_again_and_nothing_of_it_is_left(
    make: Make, eventually: Eventually, pids: Callable[[], list[int]]
) -> None:
    engine = make("serve").engine
    await asyncio.wait_for(engine.start(), 20)
    first = pids()
    os.kill(first[0], signal.SIGKILL)
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 10)
    await eventually(lambda: engine.phase is EnginePhase.READY, 20)
    assert pids() != first
    assert all(gone(pid) for pid in first)


async def test_a_child_that_ignores_the_request_to_end_is_killed(make: Make, pids: Callable[[], list[int]]) -> None:
    engine = make("deaf").engine
    await asyncio.wait_for(engine.start(), 20)
    await asyncio.wait_for(engine.stop(), GRACE_SECONDS + 10)
    assert all(gone(pid) for pid in pids())


async def test_a_server_that_fails_again_and_again_is_given_up_with_its_last_words(
    make: Make, eventually: Eventually
) -> None:
    made = make("crash", failures=2)
    starting = asyncio.create_task(made.engine.start())
    await eventually(lambda: made.engine.reason.startswith("given up after 2 starts in a row"), 20)
    assert made.engine.phase is EnginePhase.UNHEALTHY
    assert "CUDA out of memory" in made.engine.reason
    assert "sage engine restart tiny-llm-0" in made.engine.reason
    assert made.records.kept == {}
    starting.cancel()


async def test_an_embedding_model_is_known_by_what_vllm_says(make: Make) -> None:
    engine = make("pooling").engine
    await asyncio.wait_for(engine.start(), 20)
    assert [card.kinds for card in engine.spec.models] == [frozenset({RequestKind.EMBEDDING})]


async def test_a_server_whose_owner_is_gone_is_adopted_without_a_new_start(
    make: Make, make_request: Callable[..., EngineRequest], pids: Callable[[], list[int]], eventually: Eventually
) -> None:
    first = make("serve")
    await asyncio.wait_for(first.engine.start(), 20)
    before = pids()
    (kept,) = await first.records.all()
    await abandon(first.engine)
    second = make("serve", records=first.records)
    held = await adopted(second.servers, kept)
    engine = make("serve", records=first.records, held=held).engine
    await asyncio.wait_for(engine.start(), 20)
    assert engine.phase is EnginePhase.READY
    assert pids() == before
    assert not any(gone(pid) for pid in before)
    # A CPU's default, of which only the record says that it applies.
    assert (engine.spec.max_concurrency, engine.spec.capacity_source) == (SEATS_ON_CPU, CapacitySource.TOLD)
    async with run_here(engine, make_request()) as reply:
        assert b"word word word" in await reply.read()
    await engine.stop()
    assert all(gone(pid) for pid in before)
    assert first.records.kept == {}


async def test_the_memory_of_an_adopted_server_that_still_loads_is_not_given_to_another(
    make: Make, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    first = make("serve", seconds=2.0)
    starting = asyncio.create_task(first.engine.start())
    await eventually(lambda: first.engine._server is not None, 10)
    (kept,) = await first.records.all()
    await abandon(first.engine)
    await end_tasks(starting)
    second = make("serve", records=first.records)
    held = await adopted(second.servers, kept)
    # Room for one server, as the first has taken nothing yet.
    monkeypatch.setattr(vllm_engine, "available_bytes", lambda: 4 * GIB)
    another = VllmProgram(VllmEngineSettings(model="acme/other"), second.parts)
    with pytest.raises(UnprocessableError, match="for engines that are starting"):
        await second.servers.place(another)
    engine = make("serve", records=first.records, held=held, servers=second.servers).engine
    await asyncio.wait_for(engine.start(), 20)
    _, room = await second.servers.place(another)
    assert room.memory_bytes < 4 * GIB
    await engine.stop()


async def test_a_server_with_an_owner_that_lives_is_left_alone_unless_forced(
    make: Make, pids: Callable[[], list[int]], eventually: Eventually
) -> None:
    first = make("serve")
    await asyncio.wait_for(first.engine.start(), 20)
    (kept,) = await first.records.all()
    second = make("serve", records=first.records)
    with pytest.raises(ConflictError):
        await second.servers.adopt(kept)
    assert await first.records.all() == [kept]
    held = await second.servers.adopt(kept, force=True)
    await eventually(lambda: first.engine.replaced, 10)
    # What runs through its connections runs on; it gets nothing more.
    assert first.engine.phase is EnginePhase.DRAINING
    # What the older owner does now is no longer its business.
    await first.engine.stop()
    assert not any(gone(pid) for pid in pids())
    await held.process.stop()
    assert all(gone(pid) for pid in pids())


async def test_a_server_that_nobody_adopts_ends_by_itself(
    make: Make, pids: Callable[[], list[int]], eventually: Eventually
) -> None:
    made = make("serve", orphan_seconds=0.5)
    await asyncio.wait_for(made.engine.start(), 20)
    (kept,) = await made.records.all()
    await abandon(made.engine)
    await eventually(lambda: all(gone(pid) for pid in pids()), 10)
    with pytest.raises(UnavailableError):
        await made.servers.adopt(kept)
    assert made.records.kept == {}


async def test_a_guardian_that_is_killed_leaves_nothing_of_its_server(
    make: Make, pids: Callable[[], list[int]], eventually: Eventually
) -> None:
    made = make("serve")
    await asyncio.wait_for(made.engine.start(), 20)
    first = pids()
    psutil.Process(first[0]).parent().kill()
    await eventually(lambda: all(gone(pid) for pid in first), 10)
    await eventually(lambda: made.engine.phase is EnginePhase.READY and pids() != first, 20)


async def abandon(engine: ServerEngine) -> None:
    """What a kill does to the owner: its connection to the guardian is closed and nothing else is said."""
    assert engine._server is not None
    engine._server.process.abandon()
    assert engine._keeping is not None
    await end_tasks(engine._keeping)
    await engine._client.stop()
    engine.replaced = True


async def adopted(servers: Servers, kept: KeptRecord) -> OwnedServer:
    """The guardian may notice the end of its owner a moment later."""
    while True:
        try:
            return await servers.adopt(kept)
        except ConflictError:
            await asyncio.sleep(0.01)


async def test_a_start_that_is_given_up_midway_leaves_no_record(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made, begun = make("serve"), asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(GuardedProcess, "start", hang)
    starting = asyncio.create_task(made.engine.start())
    await asyncio.wait_for(begun.wait(), 10)
    assert len(made.records.kept) == 1
    await made.engine.stop()
    assert (made.records.kept, made.servers._starting) == ({}, {})
    starting.cancel()


async def test_a_start_that_is_given_up_while_its_record_is_written_leaves_none(
    make: Make, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    made, begun, go_on = make("serve"), asyncio.Event(), asyncio.Event()
    create = made.records.create

    async def slow(record: ServerRecord) -> KeptRecord:
        kept = await create(record)
        begun.set()
        await go_on.wait()
        return kept

    monkeypatch.setattr(made.records, "create", slow)
    starting = asyncio.create_task(made.engine.start())
    await asyncio.wait_for(begun.wait(), 10)
    await made.engine.stop()
    go_on.set()
    await eventually(lambda: not made.records.kept)
    starting.cancel()


@pytest.mark.parametrize("error", [NoServersError(), RuntimeError("a mistake")])
async def test_an_engine_starts_once_what_kept_it_from_a_life_is_over(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """NATS that is away counts as no failed start; a mistake counts as one of its lives."""
    made = make("serve", failures=1 if isinstance(error, NoServersError) else 2)
    every, failed = made.records.all, 0

    async def fails_first() -> list[KeptRecord]:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise error
        return await every()

    monkeypatch.setattr(made.records, "all", fails_first)
    await asyncio.wait_for(made.engine.start(), 20)
    assert made.engine.phase is EnginePhase.READY


async def test_a_mistake_while_its_first_answer_is_awaited_ends_that_life_and_is_said(
    make: Make, monkeypatch: pytest.MonkeyPatch, pids: Callable[[], list[int]], eventually: Eventually
) -> None:
    made = make("serve", failures=2, seconds=1)
    read, mistaken = VllmProgress.read, True

    def mistakes(progress: VllmProgress, lines: Sequence[str]) -> None:
        if mistaken and any("shards" in line for line in lines):  # its processes are known by then
            raise RuntimeError("a mistake")
        read(progress, lines)

    monkeypatch.setattr(VllmProgress, "read", mistakes)
    starting = asyncio.create_task(made.engine.start())
    await eventually(lambda: made.engine.phase is EnginePhase.UNHEALTHY, 20)
    assert made.engine.reason == "starting again in 1 s: RuntimeError: a mistake"
    assert made.records.kept == {}
    first = pids()
    assert all(gone(pid) for pid in first)
    mistaken = False
    await asyncio.wait_for(starting, 20)
    assert made.engine.phase is EnginePhase.READY
    assert pids() != first


async def test_a_server_that_is_started_again_gets_its_adapters_back_in_order_and_lacks_only_one_that_fails(
    make: Make, pids: Callable[[], list[int]], eventually: Eventually, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("terse", "polite", "formal")}
    for folder in folders.values():
        folder.mkdir()
    engine = make("steady", model="acme/steady").engine
    await asyncio.wait_for(engine.start(), 20)
    for name, folder in folders.items():
        assert engine.lora is not None
        await engine.lora.load(name, str(folder))
    folders["polite"].rmdir()
    first = pids()
    os.kill(first[0], signal.SIGKILL)
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY, 10)
    await eventually(lambda: engine.phase is EnginePhase.STARTING, 10)
    # Who asks for one of them meanwhile waits, and is not told that there is no such model.
    assert [card.name for card in engine.spec.models] == ["steady", "terse", "polite", "formal"]
    await eventually(lambda: engine.phase is EnginePhase.READY, 20)
    assert [card.name for card in engine.spec.models] == ["steady", "terse", "formal"]
    assert engine.reason.startswith("without the adapter 'polite': ")
    assert "No adapter found" in engine.reason


async def test_a_server_that_is_adopted_loads_only_the_adapters_that_it_lacks(
    make: Make, pids: Callable[[], list[int]], tmp_path: Path
) -> None:
    first = make("steady", model="acme/steady")
    await asyncio.wait_for(first.engine.start(), 20)
    assert first.engine.lora is not None
    await first.engine.lora.load("terse", str(tmp_path))
    (kept,) = await first.records.all()
    await abandon(first.engine)
    held = await adopted(make("serve", records=first.records).servers, kept)
    # The server refuses what it has already.
    wanted = WantedAdapters([Adapter("terse", str(tmp_path)), Adapter("polite", str(tmp_path))])
    engine = make("steady", model="acme/steady", records=first.records, held=held, adapters=wanted).engine
    await asyncio.wait_for(engine.start(), 20)
    assert [card.name for card in engine.spec.models] == ["steady", "terse", "polite"]
    assert engine.reason == ""
