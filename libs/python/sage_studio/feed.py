"""The mesh as it changes: one poll a second for each key, however many pages show it, and none while none does."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile

from sage_client.management.rest_management import RestManagement
from sage_client.management.views import EngineView, PoolView, RequestView
from sage_common.clock import Clock
from sage_common.errors import SageError, describe
from sage_studio.mesh_events import MeshEvent, MeshSnapshot, Service, changes_between

POLL_SECONDS = 1.0
# A poll asks for what changed in longer than a second, so that one that was late leaves nothing out.
OVERLAP_MS = 2000
KEPT_REQUESTS = 10_000
KEPT_EVENTS = 200
# A page that is reloaded is away for a moment.
IDLE_SECONDS = 15.0
# Ten thousand requests of a busy mesh take a second.
ANSWER_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as last seen.

    Attributes:
        arrived_unix_ms: when it arrived at its edge, on this machine's clock.
        changed_unix_ms: when something was last decided or reported about it.
        version: number of the poll that brought this.
    """

    view: RequestView
    arrived_unix_ms: int
    changed_unix_ms: int
    version: int


@dataclass
class MeshFeed:
    """Polls a gateway while somebody watches.

    Attributes:
        version: number of the latest poll; 0 before the first.
        problem: why the latest poll failed, in the words of the API; empty where it did not.
        events: what appeared, went and took over, the latest first.
    """

    management: RestManagement
    clock: Clock
    version: int = 0
    problem: str = ""
    snapshot: MeshSnapshot | None = None
    requests: OrderedDict[str, SeenRequest] = field(default_factory=OrderedDict)
    events: deque[MeshEvent] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    _watched_at: float = field(init=False)
    _polled_at: float = float("-inf")
    _task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._watched_at = self.clock.now()

    def watch(self) -> None:
        """Say that a page shows this; called with each of its updates."""
        self._watched_at = self.clock.now()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def changed_since(self, version: int) -> Iterator[SeenRequest]:
        """Yield the requests that came or changed after a poll, the latest change first."""
        return takewhile(lambda seen: seen.version > version, reversed(self.requests.values()))

    @property
    def idle_seconds(self) -> float:
        """For how long no page has shown this."""
        return self.clock.now() - self._watched_at

    @property
    def engines(self) -> tuple[EngineView, ...]:
        """The engines of the latest poll."""
        return self.snapshot.engines if self.snapshot else ()

    @property
    def pools(self) -> tuple[PoolView, ...]:
        """The pools of the latest poll."""
        return self.snapshot.pools if self.snapshot else ()

    async def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self.idle_seconds < IDLE_SECONDS:
            began = self.clock.now()
            try:
                await asyncio.wait_for(self.poll(), ANSWER_SECONDS)
            except asyncio.TimeoutError:
                self.problem = (
                    f"the gateway has not answered for {ANSWER_SECONDS:g} s; `sage status` shows whether it runs"
                )
            except SageError as error:
                self.problem = error.message
            except (KeyError, TypeError, ValueError) as error:
                self.problem = f"the gateway answers as no gateway of this version does ({describe(error)})"
            await asyncio.sleep(max(0.1, POLL_SECONDS - (self.clock.now() - began)))

    async def poll(self) -> None:
        """Ask the gateway once. Raises SageError; what was known stays."""
        now = self.clock.now()
        since = now - self._polled_at
        # After a pause longer than a day everything that is remembered is new.
        within = int(since * 1000) + OVERLAP_MS if since < 86_400 else 0
        requests, pools, engines, status = await asyncio.gather(
            self.management.requests(changed_within_ms=within, limit=KEPT_REQUESTS),
            self.management.pools(),
            self.management.engines(),
            self.management.status(),
        )
        self._polled_at = now
        self.problem = ""
        self.version += 1
        services = tuple(
            Service(str(one["service"]), str(one["instance_id"]), str(one.get("host", "")))
            for one in status["services"]
        )
        unix_ms = int(time.time() * 1000)
        snapshot = MeshSnapshot(tuple(pools), tuple(engines), services)
        if self.snapshot is not None and not status["services_problem"]:
            self.events.extendleft(changes_between(self.snapshot, snapshot, unix_ms))
        self.snapshot = snapshot
        self._merge(requests, unix_ms)

    def _merge(self, requests: list[RequestView], unix_ms: int) -> None:
        # The latest arrival comes first; what changes last is to be last here.
        for view in reversed(requests):
            known = self.requests.get(view.request_id)
            changed = unix_ms - view.decided_ms_ago
            if known is not None and _same(known.view, view):
                continue
            arrived = known.arrived_unix_ms if known else unix_ms - view.age_ms
            self.requests[view.request_id] = SeenRequest(view, arrived, changed, self.version)
            self.requests.move_to_end(view.request_id)
        while len(self.requests) > KEPT_REQUESTS:
            self.requests.popitem(last=False)


def _same(one: RequestView, other: RequestView) -> bool:
    """Whether nothing was decided between two views; times go on by themselves."""
    return (one.state, one.tries, one.ttft_ms, one.ended_after_ms, one.interruptions) == (
        other.state,
        other.tries,
        other.ttft_ms,
        other.ended_after_ms,
        other.interruptions,
    )
