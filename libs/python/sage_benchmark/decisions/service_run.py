"""The real scheduler, and a gateway, as processes among replayed executors: what they decide, and what rest costs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from sage_benchmark.decisions.replayed_ring import CONCURRENCY, ReplayedRing
from sage_benchmark.decisions.service_processes import Services, running_services
from sage_common.errors import UnavailableError
from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring

FILL_SECONDS = 300.0


@dataclass(frozen=True)
class ServicePlan:
    """How much to measure.

    Attributes:
        executors: processes that the engines would be spread over.
        rest_seconds: for how long engines at rest are watched.
        settle_seconds: after the engines have come and after the queue was filled, until all is taken in.
        requests: through the scheduler once the queue is as deep as it is to be; 0 measures rest only.
    """

    engines: int
    executors: int
    queued: int
    requests: int
    rest_seconds: float
    seed: int = 1
    settle_seconds: float = 3.0


@dataclass(frozen=True)
class ServiceFigures:
    """What was measured.

    Attributes:
        rest_cores: share of a core that each service uses with all engines at rest.
        decided: requests that were dispatched while the queue was that deep; 0 where none was asked for.
        cpu_seconds: of the scheduler, for those.
        wall_seconds: for those; the executors' replay shares the machine.
        resident_mb: of the scheduler with the queue full.
    """

    plan: ServicePlan
    rest_cores: dict[str, float]
    decided: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    resident_mb: float = 0.0

    @property
    def per_cpu_second(self) -> float:
        """Decisions for each second of the scheduler's processor time."""
        return self.decided / self.cpu_seconds if self.cpu_seconds else 0.0


def measure_service(plan: ServicePlan, directory: Path) -> ServiceFigures:
    """Start the services, measure, and take them down. Raises UnavailableError where one does not do its work."""
    directory.mkdir(parents=True, exist_ok=True)
    with running_services(directory) as services:
        try:
            return asyncio.run(_measure(plan, services))
        except (asyncio.TimeoutError, UnavailableError) as error:
            log = (directory / "scheduler.log").read_text(errors="replace")[-2000:]
            raise UnavailableError(f"the scheduler did not do its work: {error}\n{log}") from error


async def _measure(plan: ServicePlan, services: Services) -> ServiceFigures:
    connection = await connect(NatsSettings(url=services.nats_url), name="replayed-ring")
    ring = Ring(connection)
    await ring.start()
    replayed = ReplayedRing(ring, plan.executors, plan.engines, plan.seed)
    try:
        await replayed.start()
        await _until_led(ring)
        await asyncio.sleep(plan.settle_seconds)
        rest = await _rest(services, plan.rest_seconds)
        if not plan.requests:
            return ServiceFigures(plan, rest)
        seats = plan.engines * CONCURRENCY
        await replayed.fill(plan.queued + seats)
        # A policy that keeps seats for urgent work may leave some free.
        await asyncio.wait_for(replayed.until_dispatched(seats * 9 // 10), FILL_SECONDS)
        await asyncio.sleep(plan.settle_seconds)
        resident = services.resident_mb("scheduler")
        cpu, wall, before = services.cpu_seconds("scheduler"), time.monotonic(), replayed.dispatched
        replayed.begin()
        await asyncio.wait_for(replayed.until_dispatched(before + plan.requests), FILL_SECONDS)
        decided = replayed.dispatched - before
        cpu, wall = services.cpu_seconds("scheduler") - cpu, time.monotonic() - wall
        replayed.end()
        return ServiceFigures(plan, rest, decided, cpu, wall, resident)
    finally:
        await replayed.stop()
        await ring.close()
        await connection.close()


async def _until_led(ring: Ring) -> None:
    """Wait until a scheduler takes requests: until then NATS says at once that nobody does."""
    deadline = time.monotonic() + FILL_SECONDS
    subject = subjects.schedule("main")
    answered = asyncio.Event()
    ring.on_no_responders(subject, lambda _subject, _items: answered.set())
    try:
        while time.monotonic() < deadline:
            answered.clear()
            ring.send_item(subject, b"")
            await ring.flush()
            try:
                await asyncio.wait_for(answered.wait(), 0.2)
            except asyncio.TimeoutError:
                return
            await asyncio.sleep(0.1)
    finally:
        ring.on_no_responders(subject, None)
    raise UnavailableError("no scheduler led the pool")


async def _rest(services: Services, seconds: float) -> dict[str, float]:
    before = {name: services.cpu_seconds(name) for name in services.processes}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    wall = time.monotonic() - began
    return {name: (services.cpu_seconds(name) - used) / wall for name, used in before.items()}
