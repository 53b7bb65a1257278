"""Which servers a coordinator takes over, and which of its own engines it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.server_records import MemoryRecords

from sage_common.errors import ConfigurationError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState
from sage_llm_coordinator.adoption import FORGOTTEN_SECONDS, SILENT_SECONDS, Adoption
from sage_llm_coordinator.engines.engine_kind import EngineParts, EngineSettings
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_llm_coordinator.engines.registry import KindSettings
from sage_llm_coordinator.engines.server_engine import ServerEngine
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings, VllmProgram
from sage_llm_coordinator.servers.record import KeptRecord, ServerRecord
from sage_llm_coordinator.servers.servers import OwnedServer, Servers
from sage_llm_coordinator.servers.settings import ServerSettings
from sage_mesh.directory import DirectoryChange, Listener
from sage_mesh.upstream.upstream import Upstream, UpstreamTimeouts

RECORD = ServerRecord(
    server_id="s1",
    name="tiny",
    origin="configured/1/1",
    host="another-host",
    owner="other",
    port=1,
    socket="/nonexistent/guardian.sock",
    log_file="/dev/null",
    engine={"kind": "vllm", "model": "acme/tiny"},
)
TINY = VllmEngineSettings(model="acme/tiny")


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds


class Heard:
    """A directory that has just heard those who are named."""

    def __init__(self, *executors: str) -> None:
        self.executors = executors
        self.tell: Listener = lambda _change: None

    def heartbeat_age_seconds(self, executor_id: str) -> float:
        return 0.0 if executor_id in self.executors else float("inf")

    def listen(self, listener: Listener) -> None:
        self.tell = listener


class Added:
    """A coordinator that notes what it is to start."""

    def __init__(self, *, refuses: tuple[str, ...] = (), engines: dict[str, ServerEngine] | None = None) -> None:
        self.engines = engines or {}
        self.origins: list[str] = []
        self._refuses = refuses

    async def add(self, settings: EngineSettings, *, origin: str, name: str = "", server: object = None) -> EngineState:
        if origin in self._refuses:
            raise ConfigurationError(f"{origin} cannot be built")
        self.origins.append(origin)
        return EngineState(EngineSpec(name, settings.kind, ()), EnginePhase.STARTING)

    async def remove(self, engine_id: str, *, drain: bool, timeout_seconds: float) -> int:
        del self.engines[engine_id]
        return 0


class Held:
    """A server that was adopted, and its process."""

    def __init__(self) -> None:
        self.process = self
        self.server_pid = 1
        self.stopped = False

    async def stop(self) -> None:
        self.stopped = True


class Adoptable(Servers):
    """Servers that can all be taken over."""

    def __init__(self, records: MemoryRecords) -> None:
        super().__init__(ServerSettings(), records, "me", "this-host")
        self.held: dict[str, Held] = {}
        self.over: list[object] = []

    async def adopt(self, kept: KeptRecord, *, force: bool = False) -> OwnedServer:
        await self._records.claim(kept, "me")
        held = self.held[kept.record.server_id] = Held()
        return held  # type: ignore[return-value]

    async def ended(self, held: OwnedServer) -> None:
        self.over.append(held)


@pytest.fixture
def clock() -> Time:
    return Time()


def adoption_of(
    records: MemoryRecords,
    coordinator: Added,
    clock: Time,
    *heard: str,
    servers: Servers | None = None,
    successor_of: str = "",
) -> Adoption:
    servers = servers or Servers(ServerSettings(), records, "me", "this-host")
    directory = Heard(*heard)
    return Adoption(
        servers, coordinator, directory, clock, executor_id="me", replica=1, successor_of=successor_of  # type: ignore[arg-type]
    )  # fmt: skip


async def test_a_configured_engine_starts_though_another_machine_runs_the_one_of_the_same_number(clock: Time) -> None:
    records, coordinator = MemoryRecords(), Added()
    await records.create(RECORD)
    adoption = adoption_of(records, coordinator, clock, "other")
    await adoption.start([TINY])
    await adoption.stop()
    assert coordinator.origins == ["configured/1/1"]


async def test_a_configured_engine_does_not_start_where_its_server_runs_under_another_coordinator(clock: Time) -> None:
    records, coordinator = MemoryRecords(), Added()
    await records.create(replace(RECORD, host="this-host"))
    adoption = adoption_of(records, coordinator, clock, "other")
    await adoption.start([TINY])
    await adoption.stop()
    assert coordinator.origins == []


async def test_a_registered_engine_counts_as_running_wherever_its_server_is(clock: Time) -> None:
    records = MemoryRecords()
    await records.create(replace(RECORD, origin="registered/tiny"))
    adoption = adoption_of(records, Added(), clock, "other")
    await adoption.reconcile()
    assert adoption.origins() == {"registered/tiny"}


async def test_a_server_of_another_version_is_left_alone_and_its_record_goes_when_it_must_have_ended(
    clock: Time,
) -> None:
    records = MemoryRecords()
    await records.create(replace(RECORD, host="this-host", engine={"kind": "vllm", "from_a_later_version": 1}))
    adoption = adoption_of(records, Added(), clock)
    clock.seconds = 2 * SILENT_SECONDS
    for _ in range(2):
        await adoption.reconcile()
    assert len(records.kept) == 1
    clock.seconds += FORGOTTEN_SECONDS + 1
    await adoption.reconcile()
    assert records.kept == {}


def here(server_id: str, **fields: Any) -> ServerRecord:
    return replace(
        RECORD, server_id=server_id, name=server_id, origin=f"registered/{server_id}", host="this-host", **fields
    )


async def test_a_successor_takes_the_servers_of_its_predecessor_over_while_that_uses_them(clock: Time) -> None:
    records, coordinator = MemoryRecords(), Added()
    await records.create(replace(here("own"), origin="configured/1/1"))
    await records.create(here("started"))
    await records.create(here("of-a-third", owner="third"))
    await records.create(replace(here("elsewhere"), host="another-host"))
    servers = Adoptable(records)
    adoption = adoption_of(records, coordinator, clock, "other", "third", servers=servers, successor_of="other")
    await adoption.start([TINY])
    await adoption.stop()
    assert list(servers.held) == ["own", "started"]
    # What the settings name runs already.
    assert coordinator.origins == ["configured/1/1", "registered/started"]


@pytest.mark.parametrize(
    "engine",
    [
        {"kind": "vlm", "model": "m"},
        {"kind": "vllm"},
        {"kind": "openai", "url": "http://h/v1"},
        {"kind": "vllm", "new": 1},
    ],
    ids=["unknown kind", "no model", "a kind without servers", "a setting of another version"],
)
async def test_a_server_whose_engine_cannot_be_built_is_left_to_its_guardian_and_the_next_one_adopted(
    clock: Time, engine: dict[str, object]
) -> None:
    records, coordinator = MemoryRecords(), Added()
    await records.create(here("bad", engine=engine))
    await records.create(here("good"))
    servers = Adoptable(records)
    adoption = adoption_of(records, coordinator, clock, servers=servers)
    clock.seconds = 2 * SILENT_SECONDS
    for _ in range(2):
        await adoption.reconcile()
    assert list(servers.held) == ["good"]
    assert coordinator.origins == ["registered/good"]


async def test_a_server_that_was_adopted_and_has_no_engine_is_stopped_and_the_next_one_adopted(clock: Time) -> None:
    records, coordinator = MemoryRecords(), Added(refuses=("registered/bad",))
    await records.create(here("bad"))
    await records.create(here("good"))
    servers = Adoptable(records)
    adoption = adoption_of(records, coordinator, clock, servers=servers)
    clock.seconds = 2 * SILENT_SECONDS
    await adoption.reconcile()
    assert coordinator.origins == ["registered/good"]
    bad = servers.held["bad"]
    assert (bad.stopped, servers.over) == (True, [bad])


async def test_a_configured_engine_that_cannot_be_added_keeps_no_other_from_it_and_is_tried_again(clock: Time) -> None:
    coordinator = Added(refuses=("configured/1/1",))
    adoption = adoption_of(MemoryRecords(), coordinator, clock)
    await adoption.start([TINY, TINY])
    assert coordinator.origins == ["configured/1/2"]
    coordinator._refuses = ()
    await adoption.reconcile()
    await adoption.stop()
    assert coordinator.origins == ["configured/1/2", "configured/1/1"]


def vllm_engine(engine_id: str) -> ServerEngine:
    """An engine whose server is nowhere."""

    async def starts_nothing() -> OwnedServer:
        raise AssertionError

    upstream = Upstream("http://127.0.0.1:1/v1", api_key="", max_concurrency=1, timeouts=UpstreamTimeouts())
    servers = Servers(ServerSettings(), MemoryRecords(), "me", "this-host")
    parts = EngineParts(KindSettings(), lambda *_: None, Time(), servers)  # type: ignore[arg-type,return-value]
    return ServerEngine(
        EngineSpec(engine_id, "vllm", ()),
        VllmProgram(TINY, parts),
        lambda spec, _kinds, _seats: OpenAiEngine(spec, upstream),
        starts_nothing,
        servers,
        Time(),
        max_failures=1,
    )


async def test_an_engine_is_let_go_as_soon_as_it_says_that_another_coordinator_has_it(
    clock: Time, eventually: Callable[..., Awaitable[None]]
) -> None:
    engine = vllm_engine("tiny")
    coordinator, heard = Added(engines={"tiny": engine}), Heard()
    servers = Servers(ServerSettings(), MemoryRecords(), "me", "this-host")
    adoption = Adoption(servers, coordinator, heard, clock, executor_id="me", replica=1)  # type: ignore[arg-type]
    await adoption.start([])
    engine.replaced = True
    heard.tell(DirectoryChange(updated=(EngineState(engine.spec, engine.phase, executor_id="me"),)))
    await eventually(lambda: coordinator.engines == {}, 1.0)
    await adoption.stop()


async def test_an_engine_that_is_being_stopped_or_could_not_be_brings_no_round_forward(clock: Time) -> None:
    engine = vllm_engine("tiny")
    coordinator, heard = Added(engines={"tiny": engine}), Heard()
    servers = Servers(ServerSettings(), MemoryRecords(), "me", "this-host")
    adoption = Adoption(servers, coordinator, heard, clock, executor_id="me", replica=1)  # type: ignore[arg-type]
    await adoption.start([])
    heard.tell(DirectoryChange(updated=(EngineState(engine.spec, EnginePhase.STOPPED, executor_id="me"),)))
    assert not adoption._reconcile_now.is_set()
    await adoption.stop()
