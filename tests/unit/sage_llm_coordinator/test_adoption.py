"""Which servers a coordinator takes over, and which of its own engines it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.server_records import MemoryRecords

from sage_llm_coordinator.adoption import FORGOTTEN_SECONDS, SILENT_SECONDS, Adoption
from sage_llm_coordinator.config import EngineSettings, LlmCoordinatorSettings
from sage_llm_coordinator.servers.record import ServerRecord
from sage_llm_coordinator.servers.servers import Servers

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
TINY = EngineSettings(kind="vllm", model="acme/tiny")


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

    def heartbeat_age_seconds(self, executor_id: str) -> float:
        return 0.0 if executor_id in self.executors else float("inf")

    def listen(self, _listener: object) -> None: ...


class Added:
    """A coordinator that notes what it is to start."""

    engines: dict[str, Any] = {}  # noqa: RUF012 - it never has any

    def __init__(self) -> None:
        self.origins: list[str] = []

    async def add(self, _settings: EngineSettings, *, origin: str) -> None:
        self.origins.append(origin)


@pytest.fixture
def clock() -> Time:
    return Time()


def adoption_of(records: MemoryRecords, coordinator: Added, clock: Time, *heard: str) -> Adoption:
    servers = Servers(LlmCoordinatorSettings(), records, "me", "this-host")
    return Adoption(servers, coordinator, Heard(*heard), clock, executor_id="me", replica=1)  # type: ignore[arg-type]


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
    await adoption.look()
    assert adoption.origins() == {"registered/tiny"}


async def test_a_server_of_another_version_is_left_alone_and_its_record_goes_when_it_must_have_ended(
    clock: Time,
) -> None:
    records = MemoryRecords()
    await records.create(replace(RECORD, host="this-host", engine={"kind": "vllm", "from_a_later_version": 1}))
    adoption = adoption_of(records, Added(), clock)
    clock.seconds = 2 * SILENT_SECONDS
    for _ in range(2):
        await adoption.look()
    assert len(records.kept) == 1
    clock.seconds += FORGOTTEN_SECONDS + 1
    await adoption.look()
    assert records.kept == {}
