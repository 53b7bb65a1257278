"""Restarting every service of a running mesh, one process at a time, without losing a request.

A new process is ready before the old one leaves, and the old one leaves when what it has under way is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sage_cli.mesh.engine_readiness import open_directory
from sage_cli.mesh.registrations import Registrations
from sage_cli.mesh.services import NATS, SERVICES, service
from sage_common.errors import InvalidRequestError, UnavailableError
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_mesh.directory import EngineDirectory
from sage_platform.background import keep_running
from sage_platform.ring import Ring
from sage_platform.supervision.process_spec import ProcessSpec
from sage_platform.supervision.process_status import ProcessStatus
from sage_platform.supervision.supervisor import Supervisor

# Gateways last: they hold the answers that the others make, and the longest of them may take minutes.
ORDER = tuple(sorted(SERVICES, key=lambda entry: entry.http is not None))
COORDINATOR = "llm-coordinator"
REMIND_SECONDS = 15.0
SUCCESSOR_OF = "SAGE_LLM_COORDINATOR_SUCCESSOR_OF"

Tell = Callable[[str], None]


def chosen_services(names: Sequence[str]) -> list[str]:
    """Return the services to restart, in order; all where ``names`` is empty.

    Raises:
        ConfigurationError: an unknown service.
        InvalidRequestError: NATS, which is one process and holds every connection.
    """
    if NATS in names:
        raise InvalidRequestError(
            "the NATS server is one process and is not replaced while the mesh runs; use `sage down` and `sage up`"
        )
    wanted = {service(name).name for name in names} or {entry.name for entry in ORDER}
    return [entry.name for entry in ORDER if entry.name in wanted]


class RollingRestart:
    """Replaces processes of a supervisor.

    Args:
        registrations: the running instances.
        ready_seconds: how long a new process may take until it serves what the old one did.
        tell: called with what is done and waited for.
    """

    def __init__(
        self, supervisor: Supervisor, registrations: Registrations, ready_seconds: float, name: str, tell: Tell
    ) -> None:
        self._supervisor = supervisor
        self._registrations = registrations
        self._ready_seconds = ready_seconds
        self._name = name
        self._tell = tell

    async def run(self, services: Sequence[str], drain_seconds: float) -> list[str]:
        """Restart ``services``; return the names of the processes.

        Args:
            drain_seconds: how long each old process may finish what it has under way; then it is stopped.

        Raises:
            UnavailableError: a new process did not come up, or does not serve what the old one did; that one runs on.
        """
        ring = Ring(await self._registrations.connection())
        await ring.start()
        directory = open_directory(ring, f"{self._name}-restart")
        await directory.start()
        done = []
        try:
            for name in services:
                for spec in self._supervisor.specs:
                    if spec.service == name:
                        await self._replace(spec, directory, drain_seconds)
                        done.append(spec.name)
        finally:
            await directory.stop()
            await ring.close()
        return done

    async def _replace(self, spec: ProcessSpec, directory: EngineDirectory, drain_seconds: float) -> None:
        began = time.monotonic()
        old_status = next(status for status in self._supervisor.statuses if status.name == spec.name)
        old_id = await self._instance_id(old_status)
        served = _models(directory, lambda state: state.executor_id == old_id)

        reminding: list[asyncio.Task[None]] = []

        async def may_leave(old: ProcessStatus, new: ProcessStatus) -> None:
            if served:
                await self._until_served(spec.name, served, old_id, await self._instance_id(new), directory)
            under_way = f"; waiting for what pid {old.identity.pid} has under way" if old.identity else ""
            self._tell(f"{spec.name}: pid {new.identity.pid if new.identity else '?'} has taken over{under_way}")
            reminding.append(keep_running(partial(self._remind, spec.name, drain_seconds), name="restart-reminder"))

        self._tell(f"{spec.name}: starting another process beside the one that runs")
        try:
            went = await self._supervisor.replace(
                spec.name,
                _successor(spec, old_id),
                may_leave=may_leave,
                leave_seconds=drain_seconds,
                # Of engines' servers.
                takes_over=spec.service == COORDINATOR,
            )
        finally:
            await end_tasks(*reminding)
        stopped = "" if went else f"; what the old process still had under way after {drain_seconds:g} s was stopped"
        self._tell(f"{spec.name}: restarted in {time.monotonic() - began:.1f} s{stopped}")

    async def _remind(self, name: str, drain_seconds: float) -> None:
        """Say every while that an old process is still waited for."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(REMIND_SECONDS)
            left = max(0.0, drain_seconds - (time.monotonic() - began))
            self._tell(f"{name}: the old process still has work under way; it is stopped in {left:.0f} s at the latest")

    async def _until_served(
        self, name: str, models: frozenset[str], old_id: str, new_id: str, directory: EngineDirectory
    ) -> None:
        """Wait until the new process serves what the old did, or the others do where it is not going to."""
        missing = models

        def serves(current: EngineDirectory) -> bool:
            nonlocal missing
            missing = models - _models(current, lambda state: state.executor_id == new_id)
            others = _models(current, lambda state: state.executor_id not in (old_id, new_id))
            starting = any(
                state.executor_id == new_id and state.phase is EnginePhase.STARTING
                for state in current.engines.values()
            )
            return not missing or (missing <= others and not starting)

        if not serves(directory):
            self._tell(f"{name}: waiting until the new process serves {', '.join(sorted(missing))}")
        if not await directory.wait_until(serves, self._ready_seconds):
            raise UnavailableError(
                f"{name}: after {self._ready_seconds:g} s the new process does not serve {', '.join(sorted(missing))}, "
                "so the old one runs on; `sage engine list` and `sage logs` say why. Engines registered with an "
                "API key, which is kept in memory only, have to be removed first and registered again",
                code="not_taken_over",
            )

    async def _instance_id(self, status: ProcessStatus) -> str:
        """Return the id that a process has registered under; empty where it has not."""
        pid = status.identity.pid if status.identity else 0
        instances = await self._registrations.instances()
        # Another machine's processes have the same pids.
        here = (one for one in instances if one.is_here)
        mine = (one.instance_id for one in here if (one.service, one.pid) == (status.service, pid))
        return next(mine, "")


def _successor(spec: ProcessSpec, old_id: str) -> ProcessSpec:
    if spec.service != COORDINATOR:
        return spec
    return replace(spec, environment={**spec.environment, SUCCESSOR_OF: old_id})


def _models(directory: EngineDirectory, whose: Callable[[EngineState], bool]) -> frozenset[str]:
    """Return the models of ready engines."""
    return frozenset(
        card.name
        for state in directory.engines.values()
        if whose(state) and state.phase in (EnginePhase.READY, EnginePhase.DRAINING)
        for card in state.spec.models
    )
