"""The directory reads only what heartbeats say has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from sage.inference.v1 import engine_pb2
from sage_common.clock import MonotonicClock
from sage_control_plane.request.engine_state import EngineState
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_mesh.directory import DirectoryChange, EngineDirectory
from sage_platform import subjects
from sage_platform.ring import Ring


@dataclass
class Heard:
    """A directory, and the changes that it has told."""

    ring: Ring
    directory: EngineDirectory
    changes: list[DirectoryChange] = field(default_factory=list)

    async def heartbeat(
        self, *engines: engine_pb2.EngineState, executor: str = "x", revision: int = 0
    ) -> tuple[EngineState, ...]:
        """Send one; return the engines that the directory tells of."""
        before = len(self.changes)
        message = engine_pb2.Heartbeat(executor_id=executor, interval_ms=600_000, engines=engines, revision=revision)
        await self.ring.connection.publish(subjects.HEARTBEAT, message.SerializeToString())
        assert await self.directory.wait_until(lambda _: len(self.changes) > before, 5)
        return self.changes[-1].updated


@pytest.fixture
async def heard(ring: Ring) -> AsyncIterator[Heard]:
    directory = EngineDirectory(ring, "one", MonotonicClock())
    found = Heard(ring, directory)
    directory.listen(found.changes.append)
    await directory.start()
    yield found
    await directory.stop()


def engine(
    revision: int = 0, *, name: str = "e1", model: str = "m", reason: str = "", pool: str = "main"
) -> engine_pb2.EngineState:
    card = engine_pb2.ModelCard(name=model, kinds=[int(RequestKind.LLM_CHAT)])  # type: ignore[list-item]
    spec = engine_pb2.EngineSpec(
        engine_id=name, pool=pool, max_concurrency=1, models=[card], labels={"a": "b", "c": "d"}
    )
    return engine_pb2.EngineState(
        spec=spec, phase=engine_pb2.ENGINE_PHASE_READY, reason=reason, revision=revision, phase_seconds=revision
    )


async def test_an_engine_at_the_same_revision_is_told_again_without_being_read(heard: Heard) -> None:
    first = await heard.heartbeat(engine(5))
    assert (await heard.heartbeat(engine(5)))[0] is first[0]


async def test_another_revision_is_read(heard: Heard) -> None:
    await heard.heartbeat(engine(5))
    (state,) = await heard.heartbeat(engine(6, reason="new"))
    assert state.reason == "new"
    assert heard.directory.engines["e1"].reason == "new"


async def test_without_a_revision_every_heartbeat_is_read(heard: Heard) -> None:
    await heard.heartbeat(engine(reason="old"))
    assert (await heard.heartbeat(engine(reason="new")))[0].reason == "new"


async def test_revisions_are_counted_by_each_executor(heard: Heard) -> None:
    await heard.heartbeat(engine(5, reason="of x"))
    (state,) = await heard.heartbeat(engine(5, reason="of y"), executor="y")
    assert (state.reason, state.executor_id) == ("of y", "y")


async def test_an_engine_that_was_dropped_is_read_again(heard: Heard) -> None:
    await heard.heartbeat(engine(5))
    heard.directory.forget("e1", "nobody listens")
    assert "e1" not in heard.directory.engines
    await heard.heartbeat(engine(5))
    assert "e1" in heard.directory.engines
    assert heard.directory.catalog.resolve("m", Endpoint.CHAT_COMPLETIONS).ready_kinds


async def test_a_spec_that_changes_is_read_and_one_that_does_not_is_kept(heard: Heard) -> None:
    (first,) = await heard.heartbeat(engine(5))
    (busy,) = await heard.heartbeat(engine(6, reason="busy"))
    assert busy.spec is first.spec
    (other,) = await heard.heartbeat(engine(7, model="n"))
    assert other.spec.models[0].name == "n"
    assert [entry.card.name for entry in heard.directory.catalog.entries] == ["n"]


async def test_the_catalog_is_made_again_only_where_models_change(heard: Heard) -> None:
    await heard.heartbeat(engine(5), engine(5, name="e2"))
    catalog = heard.directory.catalog
    await heard.heartbeat(engine(6, reason="busy"), engine(5, name="e2"))
    assert heard.directory.catalog is catalog
    await heard.heartbeat(engine(6, reason="busy"))
    assert heard.directory.catalog is not catalog


async def test_a_heartbeat_at_the_same_revision_tells_of_the_same_engines(heard: Heard) -> None:
    first = await heard.heartbeat(engine(5), engine(5, name="e2"), revision=7)
    catalog = heard.directory.catalog
    # Its engines are not looked at.
    again = await heard.heartbeat(engine(9, reason="not read"), revision=7)
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]
    assert heard.directory.catalog is catalog
    (changed,) = await heard.heartbeat(engine(9, reason="read"), revision=8)
    assert changed.reason == "read"
    assert set(heard.directory.engines) == {"e1"}


async def test_what_was_dropped_comes_back_under_the_same_revision(heard: Heard) -> None:
    await heard.heartbeat(engine(5), engine(5, name="e2"), revision=7)
    heard.directory.forget("e1", "nobody listens")
    await heard.heartbeat(engine(5), engine(5, name="e2"), revision=7)
    assert set(heard.directory.engines) == {"e1", "e2"}
    assert heard.directory.catalog.resolve("m", Endpoint.CHAT_COMPLETIONS).ready_kinds
