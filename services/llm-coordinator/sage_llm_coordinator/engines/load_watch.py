"""Watches a server's load through its ``/metrics``. Of a server without that path the load is unknown."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EngineLoad
from sage_llm_coordinator.engines.metrics_page import MetricsPage, Total, read_metrics
from sage_mesh.upstream.upstream import NotServingError
from sage_platform.background import keep_running

log = get_logger(__name__)

# A page costs vLLM some 5 ms of its API server's time.
INTERVAL_SECONDS = 0.5
STALE_SECONDS = 2.0
# A server that has no such page now may have one after an upgrade.
ABSENT_SECONDS = 30.0
# Rates and means are over this span: longer smooths, shorter follows.
SPAN_SECONDS = 10.0


class MetricsSource(Protocol):
    """Where pages come from."""

    async def metrics(self) -> bytes:
        """Fetch the page. Raises NotServingError."""
        ...


class LoadWatch:
    """Reads pages in a row and derives the load from the last one and its difference to earlier ones."""

    def __init__(self, source: MetricsSource, clock: Clock, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._source = source
        self._clock = clock
        self._interval = interval_seconds
        self._pages: deque[tuple[float, MetricsPage]] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def load(self) -> EngineLoad | None:
        """The present load; None where the server does not report it, or has not for ``STALE_SECONDS``."""
        if not self._pages:
            return None
        at, last = self._pages[-1]
        if self._clock.now() - at > STALE_SECONDS:
            return None
        first = self._pages[0][1]
        return EngineLoad(
            running=last.running,
            waiting=last.waiting,
            kv_cache_usage=last.kv_cache_usage,
            prefix_hit_rate=last.prefix_hit_rate or _mean(first.prefix_hits, last.prefix_hits),
            inter_token_seconds=_mean(first.inter_token, last.inter_token),
            first_token_seconds=_mean(first.first_token, last.first_token),
            queue_seconds=_mean(first.queue, last.queue),
        )

    @property
    def cache_tokens(self) -> int | None:
        """Tokens that fit the server's KV cache, as last reported; None while unknown."""
        return self._pages[-1][1].cache_tokens if self._pages else None

    def start(self) -> None:
        """Begin to watch."""
        self._task = keep_running(self._watch, name="load-watch")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            await end_tasks(self._task)

    async def read_page(self) -> bool:
        """Read one page; return whether it reports a load.

        Raises:
            NotServingError: there is none.
        """
        page = read_metrics(await self._source.metrics())
        if page is None:
            return False
        now = self._clock.now()
        if self._pages and _restarted(self._pages[-1][1], page):
            self._pages.clear()
        self._pages.append((now, page))
        while self._pages[0][0] < now - SPAN_SECONDS:
            self._pages.popleft()
        return True

    async def _watch(self) -> None:
        while True:
            pause = self._interval
            try:
                if not await self.read_page():
                    pause = ABSENT_SECONDS
            except NotServingError as problem:
                # Whether the server is healthy the health check finds out.
                if problem.no_such_path or problem.status in (401, 403):
                    pause = ABSENT_SECONDS
            except Exception:
                log.exception("a metrics page could not be read")
                pause = ABSENT_SECONDS
            await asyncio.sleep(pause)


def _mean(first: Total, last: Total) -> float | None:
    """Return the mean of what was observed between two pages, or of all before if that is nothing; None without any."""
    count = last.count - first.count
    if count > 0:
        return (last.sum - first.sum) / count
    return last.sum / last.count if last.count else None


def _restarted(before: MetricsPage, after: MetricsPage) -> bool:
    pairs = ((before.prefix_hits, after.prefix_hits), (before.inter_token, after.inter_token))
    return any(new.count < old.count for old, new in pairs)
