"""Ready means that requests are answered, and what loads is named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from fixtures.control_plane import engine
from fixtures.manual_clock import ManualClock

from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_gateway.readiness import Readiness


@dataclass
class Directory:
    """What the gateway knows of engines."""

    engines: dict[str, EngineState] = field(default_factory=dict)

    @property
    def catalog(self) -> ModelCatalog:
        return ModelCatalog(self.engines.values())

    def has(self, name: str, model: str, phase: EnginePhase, reason: str = "") -> None:
        self.engines[name] = replace(engine(name, model, phase=phase), reason=reason)


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def readiness(directory: Directory, clock: ManualClock) -> Readiness:
    ring = SimpleNamespace(connection=SimpleNamespace(is_connected=True))
    return Readiness(ring, directory, clock, wait_seconds=60.0)  # type: ignore[arg-type]


def test_a_model_that_nothing_serves_yet_is_not_ready(directory: Directory, readiness: Readiness) -> None:
    assert "no engine has announced a model" in readiness.reason()
    directory.has("ex-1", "quotes", EnginePhase.STARTING, "waits for an embedding engine\nand more")
    assert readiness.reason() == "no engine is ready: ex-1: waits for an embedding engine"


def test_every_model_known_is_waited_for_and_named(directory: Directory, readiness: Readiness) -> None:
    directory.has("llm-1", "small", EnginePhase.READY)
    directory.has("emb-1", "minilm", EnginePhase.STARTING, "measuring backends")
    assert readiness.reason() == "models are loading: emb-1: measuring backends"
    directory.has("emb-1", "minilm", EnginePhase.READY)
    assert readiness.reason() == ""


def test_a_model_that_loads_for_minutes_is_not_waited_for_forever(
    directory: Directory, readiness: Readiness, clock: ManualClock
) -> None:
    directory.has("llm-1", "small", EnginePhase.READY)
    directory.has("big-1", "large", EnginePhase.STARTING)
    assert readiness.reason() == "models are loading: big-1: loading"
    clock.advance(60.0)
    assert readiness.reason() == ""
    assert readiness.loading == ["big-1: loading"]


def test_once_ready_it_stays_so_while_more_loads_and_until_nothing_answers(
    directory: Directory, readiness: Readiness
) -> None:
    directory.has("llm-1", "small", EnginePhase.READY)
    assert readiness.reason() == ""
    directory.has("big-1", "large", EnginePhase.STARTING)
    assert readiness.reason() == ""
    directory.has("llm-1", "small", EnginePhase.UNHEALTHY)
    assert readiness.reason() == "no engine is ready: big-1: loading"


def test_a_second_engine_of_a_served_model_is_no_reason_to_wait(directory: Directory, readiness: Readiness) -> None:
    directory.has("llm-1", "small", EnginePhase.READY)
    directory.has("llm-2", "small", EnginePhase.STARTING)
    assert readiness.reason() == ""
    assert readiness.loading == []


def test_what_operators_have_set_is_read_before_requests_are_taken(directory: Directory, clock: ManualClock) -> None:
    ring = SimpleNamespace(connection=SimpleNamespace(is_connected=True))
    unread = ["the tenants"]
    readiness = Readiness(ring, directory, clock, 60.0, unread=lambda: "".join(unread))  # type: ignore[arg-type]
    directory.has("llm-1", "small", EnginePhase.READY)
    assert readiness.reason() == "the tenants could not be read from NATS yet; look at the NATS server"
    unread.clear()
    assert readiness.reason() == ""
