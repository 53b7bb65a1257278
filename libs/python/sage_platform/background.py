"""The one place that runs background tasks, and what keeps a service from being well.

A lease, a watcher, a heartbeat or a restart task that dies of an exception in silence leaves a service that looks well
and does nothing. ``keep_running`` logs the exception, runs the loop again after a delay, and while it keeps failing the
service's health has its reason: gRPC health says NOT_SERVING, and ``sage status`` and ``/ready`` show the reason.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from types import MappingProxyType

from sage_common.logging import get_logger

log = get_logger(__name__)

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0
# A single failure may pass; from this many in a row on the service is not well.
UNWELL_FAILURES = 2
# After running for this long, and for twice as long as it last took to fail, a loop has recovered.
RECOVERED_SECONDS = 5.0

Loop = Callable[[], Coroutine[object, object, None]]


class ServiceHealth:
    """Why a service is not well, by part. It is well while there is no reason.

    Args:
        on_change: called after each change.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._reasons: dict[str, str] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """The reason by part, parts in alphabetical order."""
        return MappingProxyType(dict(sorted(self._reasons.items())))

    @property
    def summary(self) -> str | None:
        """All reasons in one line; None when the service is well."""
        return "; ".join(f"{part}: {reason}" for part, reason in self.reasons.items()) or None

    def report(self, part: str, reason: str | None) -> None:
        """Set why ``part`` is not well; None says that it is."""
        if self._reasons.get(part) == reason:
            return
        if reason is None:
            del self._reasons[part]
            log.info("well again", part=part)
        else:
            if part not in self._reasons:
                log.error("not well", part=part, reason=reason)
            self._reasons[part] = reason
        self._on_change()


# Of the service that this process is; the tasks of the service inherit it. None where there is no service.
SERVICE_HEALTH: ContextVar[ServiceHealth | None] = ContextVar("service_health", default=None)


def keep_running(loop: Loop, *, name: str, generator: random.Random | None = None) -> asyncio.Task[None]:
    """Run ``loop()`` in a task that an exception does not end; cancel the task to end it.

    When ``loop`` raises it is logged and called again, after a delay that doubles with each failure in a row up to
    MAX_DELAY_SECONDS. When it returns, the task ends.

    Args:
        loop: makes the coroutine to run; called again after each failure.
        name: of the task, the part in the service's health, and in the log.
        generator: of the delays' jitter.
    """
    return asyncio.create_task(_run(loop, name, generator or random.Random()), name=name)


async def _run(loop: Loop, name: str, generator: random.Random) -> None:
    health = SERVICE_HEALTH.get()
    failures = 0
    recovery: asyncio.TimerHandle | None = None
    lasted = 0.0

    def recovered() -> None:
        nonlocal failures
        failures = 0
        if health is not None:
            health.report(name, None)

    try:
        while True:
            began = time.monotonic()
            if failures:
                wait = max(RECOVERED_SECONDS, 2 * lasted)
                recovery = asyncio.get_running_loop().call_later(wait, recovered)
            try:
                await loop()
                return
            except Exception as error:
                if recovery is not None:
                    recovery.cancel()
                lasted = time.monotonic() - began
                failures += 1
                delay = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 16))
                delay *= 0.5 + generator.random() / 2
                log.exception("background task failed; running it again", task=name, failures=failures)
                if health is not None and failures >= UNWELL_FAILURES:
                    health.report(name, f"failed {failures} times in a row: {type(error).__name__}: {error}")
            await asyncio.sleep(delay)
    finally:
        if recovery is not None:
            recovery.cancel()
        if health is not None:
            health.report(name, None)
