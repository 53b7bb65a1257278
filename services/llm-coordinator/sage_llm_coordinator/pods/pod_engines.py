"""Makes engines of pods: a pod that is ready joins, one that is being deleted drains, and leaves.

Every coordinator that looks for pods sees all of them, and each pod is to have one engine. Nobody hands them out: a
pod that no engine stands for is taken after a delay that differs by pod and coordinator, unless another was first. If
two were, the one whose id sorts first keeps it, as with registrations. A coordinator that leaves drains its engines,
which then count as none, so that the others take its pods at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.pods.engine_pod import POD, EnginePod, PodStage, namespace_of
from sage_llm_coordinator.record_faults import RecordFaults
from sage_mesh.directory import EngineDirectory

log = get_logger(__name__)

# Within this time some coordinator takes a pod.
CLAIM_SECONDS = 1.0
ROUNDS_UNTIL_GIVEN_UP = 2
# In these an engine takes work, or soon will.
_SERVING = frozenset(EnginePhase) - {EnginePhase.STOPPED, EnginePhase.DRAINING}


@dataclass(frozen=True, slots=True)
class _Engine:
    """The engine of a pod on one coordinator."""

    engine_id: str
    executor_id: str
    serving: bool


class PodEngines:
    """Compares pods with the engines of the mesh, and acts on the difference.

    Args:
        executor_id: this coordinator's.
        api_key: returns what the pods' servers ask for; empty for nothing.
        drain_seconds: longest wait for the requests of a pod that is being deleted.
    """

    def __init__(
        self,
        coordinator: ExecutionCoordinator,
        directory: EngineDirectory,
        executor_id: str,
        clock: Clock,
        *,
        api_key: Callable[[], str] = str,
        drain_seconds: float,
    ) -> None:
        self._coordinator = coordinator
        self._directory = directory
        self._executor_id = executor_id
        self._clock = clock
        self._api_key = api_key
        self._drain_seconds = drain_seconds
        self._unclaimed_since: dict[str, float] = {}
        self._doubled: Counter[str] = Counter()
        self._urls: dict[str, str] = {}
        self._removals: dict[str, asyncio.Task[None]] = {}
        self._there: frozenset[str] = frozenset()
        self._faults = RecordFaults()

    async def stop(self) -> None:
        """Stop taking engines out; whoever stops the coordinator stops those that are left, all in the same time."""
        await end_tasks(*self._removals.values())

    async def reconcile(self, pods: Iterable[EnginePod], unlisted: Collection[str] = ()) -> None:
        """Compare once. ``pods`` are all that there are; what is not among them is gone.

        Args:
            unlisted: namespaces whose pods are not known; their engines stay as they are.
        """
        there = {pod.origin: pod for pod in pods}
        self._there = frozenset(origin for origin, pod in there.items() if pod.stage is not PodStage.ENDED)
        hosts = {origin: engines for origin, engines in self._hosts().items() if namespace_of(origin) not in unlisted}
        for origin in (self._unclaimed_since.keys() | self._doubled.keys()) - there.keys():
            self._unclaimed_since.pop(origin, None)
            del self._doubled[origin]
        for origin, pod in there.items():
            with self._faults.apart(f"{pod.namespace}/{pod.name}"):
                await self._reconcile_pod(pod, hosts.get(origin, []))
        for origin, engines in hosts.items():
            if origin not in there:
                self._leave(origin, engines, "its pod is gone", drain=False)

    async def _reconcile_pod(self, pod: EnginePod, engines: list[_Engine]) -> None:
        origin = pod.origin
        serving = sorted(engine.executor_id for engine in engines if engine.serving)
        if pod.stage is PodStage.ENDED:
            self._leave(origin, engines, "its pod has ended", drain=False)
        elif pod.stage is PodStage.TERMINATING:
            self._leave(origin, engines, "its pod is being deleted", drain=True)
        elif self._executor_id in serving and pod.address and self._urls.get(origin) != pod.url:
            self._leave(origin, engines, f"its pod moved to {pod.url}", drain=False)
        elif not serving and pod.stage is PodStage.READY:
            await self._claim(pod)
        elif serving.count(self._executor_id) > 1:
            self._leave(origin, engines, "this coordinator has its pod twice", drain=True)
        elif self._executor_id in serving and serving[0] != self._executor_id:
            self._doubled[origin] += 1
            if self._doubled[origin] >= ROUNDS_UNTIL_GIVEN_UP:
                self._leave(origin, engines, f"{serving[0]} has it too and keeps it", drain=True)
        if serving:
            self._unclaimed_since.pop(origin, None)
        if len(serving) < 2:
            del self._doubled[origin]

    async def _claim(self, pod: EnginePod) -> None:
        """Take the pod, unless it has not waited as long as this coordinator leaves to others."""
        now = self._clock.now()
        since = self._unclaimed_since.setdefault(pod.origin, now)
        if now - since < CLAIM_SECONDS * _share(pod.uid, self._executor_id) or pod.origin in self._removals:
            return
        await self._coordinator.add(pod.settings(self._api_key()), origin=pod.origin, name=pod.name)
        self._urls[pod.origin] = pod.url
        del self._unclaimed_since[pod.origin]

    def _leave(self, origin: str, engines: list[_Engine], why: str, *, drain: bool) -> None:
        """Begin to take out this coordinator's engine of a pod, if it has one; others take out theirs."""
        mine = [engine for engine in engines if engine.executor_id == self._executor_id and engine.serving]
        if not mine or origin in self._removals:
            return
        log.info("an engine leaves", engine=mine[0].engine_id, why=why)
        if len(mine) == 1:
            self._urls.pop(origin, None)
        removal = asyncio.create_task(
            self._remove(origin, mine[0].engine_id, drain=drain), name=f"leave-{mine[0].engine_id}"
        )
        self._removals[origin] = removal
        removal.add_done_callback(lambda _: self._removals.pop(origin, None))

    async def _remove(self, origin: str, engine_id: str, *, drain: bool) -> None:
        try:
            await self._coordinator.remove(engine_id, drain=drain, timeout_seconds=self._drain_seconds)
            if origin not in self._there:
                await self._coordinator.forget_adapters(origin)
        except Exception:
            # It counts as stopped, and is seen as such, until the coordinator ends.
            log.warning("an engine did not leave", engine=engine_id, exc_info=True)

    def _hosts(self) -> Mapping[str, list[_Engine]]:
        """Return the engines of pods, by origin, those of every coordinator."""
        states: dict[str, EngineState] = dict(self._directory.engines)
        # This coordinator's own count as they are now, not as their last heartbeat told it.
        states = {key: state for key, state in states.items() if state.executor_id != self._executor_id}
        states.update({state.spec.engine_id: state for state in self._coordinator.states()})
        hosts: dict[str, list[_Engine]] = {}
        for state in states.values():
            value = dict(state.spec.labels).get(POD)
            if value:
                engine = _Engine(state.spec.engine_id, state.executor_id, state.phase in _SERVING)
                hosts.setdefault(f"{POD}/{value}", []).append(engine)
        return hosts


def _share(uid: str, executor_id: str) -> float:
    """Return a number from 0 to 1 that differs by pod and coordinator, and is the same each time."""
    digest = hashlib.blake2b(f"{uid} {executor_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
