"""What an engine is, by looks at its server; the time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fixtures.eventually import eventually

from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_mesh.upstream.health_watch import BURST_SECONDS, TIMEOUTS_UNTIL_UNHEALTHY, HealthWatch
from sage_mesh.upstream.upstream import NotServingError

CHECK_SECONDS = 2.0
REFUSED = NotServingError("the connection was refused")
WRONG = NotServingError("/health answered 500", status=500)
LOADING = NotServingError("/health answered 503", status=503)
SLOW = NotServingError("not answered within 5 s", timed_out=True)


class Time:
    """Time that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waking: dict[float, asyncio.Event] = {}

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        awake = self._waking.setdefault(until, asyncio.Event())
        try:
            await awake.wait()
        finally:
            self._waking.pop(until, None)

    async def asleep(self, seconds: float) -> None:
        """Wait until somebody sleeps for so long."""
        await eventually(lambda: self.now + seconds in self._waking)

    async def pass_by(self, seconds: float) -> None:
        """Wait until somebody sleeps for so long, and move on to its end."""
        await self.asleep(seconds)
        self.now += seconds
        self._waking[self.now].set()
        await eventually(lambda: self.now not in self._waking)


class Server:
    """A server that does what the test wants next."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.looks: list[int] = []

    async def look(self, passed: int) -> None:
        self.looks.append(passed)
        if self.problem is not None:
            raise self.problem


class Watched:
    """A watch over a scripted server."""

    def __init__(self, problem: Exception | None = None, *, silent_while_loading: bool = False) -> None:
        self.time = Time()
        self.server = Server()
        self.server.problem = problem
        self.watch = HealthWatch(
            lambda: EngineSpec("e", "openai", ()),
            "http://server",
            self.server.look,
            CHECK_SECONDS,
            silent_while_loading=silent_while_loading,
            sleep=self.time.sleep,
        )
        self._starting = asyncio.create_task(self.watch.start())

    async def looked(self) -> None:
        """Wait for the look that is due."""
        await self.time.asleep(BURST_SECONDS)

    async def next_look(self, problem: Exception | None) -> None:
        self.server.problem = problem
        await self.time.pass_by(BURST_SECONDS)
        await self.time.pass_by(CHECK_SECONDS)
        await self.looked()

    async def stop(self) -> None:
        await self.watch.stop()
        self._starting.cancel()
        await asyncio.wait({self._starting})

    @property
    def started(self) -> bool:
        return self._starting.done()


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    """A watch over a server that serves; it has been looked at once."""
    one = Watched()
    await one.looked()
    yield one
    await one.stop()


async def test_an_engine_is_starting_until_its_server_first_serves_and_start_waits_for_that() -> None:
    watched = Watched(REFUSED)
    assert watched.watch.phase is EnginePhase.STARTING
    assert watched.watch.reason == "waiting for the first answer of http://server"
    await watched.looked()
    assert (watched.watch.phase, watched.watch.reason) == (EnginePhase.STARTING, REFUSED.message)
    assert not watched.started
    await watched.next_look(None)
    assert (watched.watch.phase, watched.watch.reason) == (EnginePhase.READY, "")
    await eventually(lambda: watched.started)
    await watched.stop()
    assert watched.watch.phase is EnginePhase.STOPPED


@pytest.mark.parametrize(
    ("silent_while_loading", "phase"), [(True, EnginePhase.UNHEALTHY), (False, EnginePhase.STARTING)]
)
async def test_a_wrong_answer_before_the_first_right_one_will_not_mend_where_servers_load_in_silence(
    silent_while_loading: bool, phase: EnginePhase
) -> None:
    watched = Watched(WRONG, silent_while_loading=silent_while_loading)
    await watched.looked()
    assert (watched.watch.phase, watched.watch.reason) == (phase, WRONG.message)
    await watched.next_look(REFUSED)
    assert watched.watch.phase is EnginePhase.STARTING
    await watched.stop()


async def test_503_before_the_first_right_answer_is_a_server_that_loads_and_later_an_unhealthy_one() -> None:
    watched = Watched(LOADING, silent_while_loading=True)
    await watched.looked()
    assert (watched.watch.phase, watched.watch.reason) == (EnginePhase.STARTING, LOADING.message)
    await watched.next_look(None)
    assert watched.watch.phase is EnginePhase.READY
    await watched.next_look(LOADING)
    assert watched.watch.phase is EnginePhase.UNHEALTHY
    await watched.stop()


async def test_one_refusal_is_enough_and_one_success_mends_it(watched: Watched) -> None:
    await watched.next_look(REFUSED)
    assert (watched.watch.phase, watched.watch.reason) == (EnginePhase.UNHEALTHY, REFUSED.message)
    await watched.next_look(None)
    assert (watched.watch.phase, watched.watch.reason) == (EnginePhase.READY, "")


async def test_a_slow_server_is_forgiven_until_it_was_slow_too_often(watched: Watched) -> None:
    for _ in range(TIMEOUTS_UNTIL_UNHEALTHY - 1):
        await watched.next_look(SLOW)
        assert watched.watch.phase is EnginePhase.READY
    await watched.next_look(SLOW)
    assert watched.watch.phase is EnginePhase.UNHEALTHY


async def test_a_look_knows_how_many_passed_since_one_failed(watched: Watched) -> None:
    await watched.next_look(None)
    await watched.next_look(SLOW)
    await watched.next_look(None)
    await watched.next_look(None)
    assert watched.server.looks == [0, 1, 2, 0, 1]


async def test_failed_requests_bring_the_next_look_forward_and_a_burst_of_them_brings_one(watched: Watched) -> None:
    await watched.time.pass_by(BURST_SECONDS)
    await watched.time.asleep(CHECK_SECONDS)
    watched.watch.check_soon()
    await watched.looked()
    assert len(watched.server.looks) == 2
    for _ in range(3):
        watched.watch.check_soon()
    assert len(watched.server.looks) == 2
    await watched.time.pass_by(BURST_SECONDS)
    await watched.looked()
    assert len(watched.server.looks) == 3
    await watched.time.pass_by(BURST_SECONDS)
    await watched.time.asleep(CHECK_SECONDS)
    assert len(watched.server.looks) == 3


async def test_a_mistake_in_the_look_leaves_a_ready_engine_ready_and_the_watch_going(watched: Watched) -> None:
    await watched.next_look(RuntimeError("a mistake"))
    assert watched.watch.phase is EnginePhase.READY
    await watched.next_look(REFUSED)
    assert watched.watch.phase is EnginePhase.UNHEALTHY


async def test_a_mistake_in_the_first_look_is_said() -> None:
    watched = Watched(RuntimeError("a mistake"))
    await watched.looked()
    assert watched.watch.phase is EnginePhase.STARTING
    assert "RuntimeError: a mistake" in watched.watch.reason
    await watched.next_look(None)
    assert watched.watch.phase is EnginePhase.READY
    await watched.stop()
