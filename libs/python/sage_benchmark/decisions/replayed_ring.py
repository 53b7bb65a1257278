"""The other stages of the ring, replayed over a real NATS: executors that send heartbeats and answer at once, and
classified requests as a classifier sends them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from random import Random

from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_control_plane.request.engine_state import EngineLoad, EngineSpec, EngineState, ModelCard, RunningRequest
from sage_control_plane.request.request import Classification, Priority, RequestKind, ServiceClass, ServiceLevel
from sage_mesh.executor.executor import HEARTBEAT_SECONDS
from sage_mesh.executor.heartbeat_writer import HeartbeatWriter
from sage_mesh.executor.reported_engine import ReportedEngine
from sage_mesh.wire.requests import attempt_from_wire, classification_to_wire
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.ring import Ring

POOL = "main"
MODEL = "replayed"
CONCURRENCY = 8
INPUT_TOKENS, OUTPUT_TOKENS = 100, 50
CLASSES = tuple(ServiceClass)
TENANTS = 7
# Far enough that nothing in the deep queue is late: what is late takes another way through a policy.
FAR_MS = 600_000
BODY = b'{"model":"replayed","messages":[{"role":"user","content":"Say something."}]}'
# Ends that are reported at once when the load begins: as many decisions are under way from then on.
UNDER_WAY = 256
# Requests that are sent before the loop gets a turn.
FILLED_AT_ONCE = 500


class ReplayedExecutor:
    """Sends the heartbeats of some engines as an executor does."""

    def __init__(self, ring: Ring, number: int, engines: int) -> None:
        self._ring = ring
        self._id = f"replayed-{number:04}"
        card = ModelCard(MODEL, frozenset({RequestKind.LLM_CHAT}))
        self.running: dict[str, dict[str, RunningRequest]] = {}
        self._engines: list[tuple[EngineSpec, ReportedEngine]] = []
        for index in range(engines):
            name = f"engine-{number:04}-{index:03}"
            url = f"http://10.0.{number % 250}.{index % 250}:8000/v1"
            spec = EngineSpec(name, "openai", (card,), POOL, CONCURRENCY, url=url, labels=(("name", name),))
            self._engines.append((spec, ReportedEngine()))
            self.running[name] = {}
        self._heartbeats = HeartbeatWriter(self._id, "llm-coordinator")

    async def beat_forever(self, first_seconds: float) -> None:
        """Send a heartbeat after ``first_seconds``, and then every 250 ms."""
        loop = asyncio.get_running_loop()
        at = loop.time() + first_seconds
        while True:
            await asyncio.sleep(at - loop.time())
            self.beat()
            at = max(at + HEARTBEAT_SECONDS, loop.time())

    def beat(self) -> None:
        """Send a heartbeat."""
        engines = [(reported, self._state(spec)) for spec, reported in self._engines]
        self._ring.send_unbatched(subjects.HEARTBEAT, self._heartbeats.next(engines, HEARTBEAT_SECONDS))

    def leave(self) -> None:
        """Send the last heartbeat."""
        self._ring.send_unbatched(subjects.HEARTBEAT, self._heartbeats.next((), HEARTBEAT_SECONDS, leaving=True))

    def _state(self, spec: EngineSpec) -> EngineState:
        running = tuple(self.running[spec.engine_id].values())
        load = EngineLoad(len(running), 0, len(running) / (2 * CONCURRENCY))
        return EngineState(spec, executor_id=self._id, running=running, load=load, phase_seconds=1.0)


class ReplayedRing:
    """Executors and classifiers around a scheduler.

    Attributes:
        dispatched: decisions that have come so far.
    """

    def __init__(self, ring: Ring, executors: int, engines: int, seed: int) -> None:
        each, more = divmod(engines, executors)
        self._ring = ring
        self._executors = [ReplayedExecutor(ring, n, each + (n < more)) for n in range(executors)]
        self._of_engine = {name: executor for executor in self._executors for name in executor.running}
        self._random = Random(seed)
        self._beats: list[asyncio.Task[None]] = []
        self._subscriptions: list[Subscription] = []
        self._running: list[tuple[str, str, engine_pb2.Report]] = []
        self._sent = 0
        self._goes_on = False
        self._moved = asyncio.Event()
        self.dispatched = 0
        classifications = [
            Classification(
                RequestKind.LLM_CHAT, POOL, MODEL, service_class, Priority.NORMAL, ServiceLevel(FAR_MS),
                INPUT_TOKENS, OUTPUT_TOKENS, streaming=True,
            )
            for service_class in CLASSES
        ]  # fmt: skip
        self._classifications = [classification_to_wire(one) for one in classifications]

    async def start(self) -> None:
        """Subscribe to all dispatches, and begin to send heartbeats, spread over their interval."""
        self._subscriptions = [
            await self._ring.subscribe(subjects.DISPATCH_ALL, frame_pb2.DispatchBatch, self._on_dispatches)
        ]
        count = len(self._executors)
        for number, executor in enumerate(self._executors):
            beat = functools.partial(executor.beat_forever, HEARTBEAT_SECONDS * number / count)
            self._beats.append(keep_running(beat, name="heartbeat"))

    async def stop(self) -> None:
        """Leave."""
        for beat in self._beats:
            beat.cancel()
        await asyncio.gather(*self._beats, return_exceptions=True)
        for executor in self._executors:
            executor.leave()
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        await self._ring.flush()

    async def fill(self, requests: int) -> None:
        """Send so many requests."""
        for number in range(requests):
            self._submit()
            if number % FILLED_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._ring.flush()

    async def until_dispatched(self, count: int) -> None:
        """Wait until so many decisions have come in all."""
        while self.dispatched < count:
            self._moved.clear()
            await self._moved.wait()

    def begin(self) -> None:
        """From now on, for each dispatch another request ends and one more is sent: as many stay queued."""
        self._goes_on = True
        for _ in range(min(UNDER_WAY, len(self._running))):
            self._turn()

    def end(self) -> None:
        """Answer dispatches with nothing more."""
        self._goes_on = False

    def _turn(self) -> None:
        running = self._running
        chosen = self._random.randrange(len(running))
        running[chosen], running[-1] = running[-1], running[chosen]
        engine_id, request_id, report = running.pop()
        del self._of_engine[engine_id].running[engine_id][request_id]
        first_token = engine_pb2.Report()
        first_token.CopyFrom(report)
        first_token.event = engine_pb2.REPORT_EVENT_FIRST_TOKEN
        report.event = engine_pb2.REPORT_EVENT_FINISHED
        subject = subjects.report(POOL)
        self._ring.send(subject, first_token)
        self._ring.send(subject, report)
        self._submit()

    def _submit(self) -> None:
        self._sent += 1
        request = request_pb2.InferenceRequest(
            request_id=f"r{self._sent}",
            tenant=f"t{self._sent % TENANTS}",
            body=BODY,
            reply_subject="sage.v1.reply.replayed",
            submission=1,
            timeout_ms=FAR_MS,
        )
        classification = self._classifications[self._sent % len(self._classifications)]
        classified = request_pb2.ClassifiedRequest(request=request, classification=classification)
        self._ring.send(subjects.schedule(POOL), classified)

    def _on_dispatches(self, dispatches: Sequence[frame_pb2.Dispatch]) -> None:
        for dispatch in dispatches:
            engine_id, request_id = dispatch.engine_id, dispatch.request.request_id
            number = attempt_from_wire(dispatch.attempt)
            running = RunningRequest(request_id, number, tokens=INPUT_TOKENS + OUTPUT_TOKENS)
            self._of_engine[engine_id].running[engine_id][request_id] = running
            report = engine_pb2.Report(
                request_id=request_id, engine_id=engine_id, attempt=dispatch.attempt, ttft_us=50_000, elapsed_us=500_000
            )
            self._running.append((engine_id, request_id, report))
            self.dispatched += 1
            if self._goes_on:
                self._turn()
        self._moved.set()
