"""Running a mesh from start to end: one supervisor at a time, its state on file, no process left at the end."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sage_cli.mesh.engine_readiness import open_directory, wait_for_engines, wait_for_gateway
from sage_cli.mesh.gateway_listeners import GatewayListeners
from sage_cli.mesh.plan import PLAN_FACT, MeshPlan
from sage_cli.mesh.registrations import Registrations
from sage_cli.mesh.rolling_restart import RollingRestart, chosen_services
from sage_cli.mesh.security import TLS_FACT, secured_folder
from sage_cli.mesh.services import NATS
from sage_cli.mesh.specs import choose_nats, fixed_ports, nats_spec, service_specs
from sage_cli.mesh.supervisor_orders import OrderServer, RestartOrder
from sage_cli.mesh.token import make_token, remove_token, token_variables
from sage_common import paths
from sage_common.clock import MonotonicClock
from sage_common.config import load
from sage_common.errors import SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.service_settings import LogSettings
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import RequestKind
from sage_platform.background import SERVICE_HEALTH, ServiceHealth, keep_running
from sage_platform.nats_server import LOOPBACK, NatsServer
from sage_platform.nats_storage import NatsStorageWatch
from sage_platform.port_wait import wait_for_port
from sage_platform.ring import Ring
from sage_platform.supervision.guarded_sweep import end_guarded
from sage_platform.supervision.process_log import LogLimits, LogRotation
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import (
    StateWriter,
    SupervisorPhase,
    SupervisorState,
    remove_state,
    supervisor_lock,
)
from sage_platform.supervision.supervisor import ProcessFailedError, Supervisor

# Which service brings which kind of work; a mesh without that service is not expected to do it.
WORK_OF_SERVICE = {"llm-coordinator": RequestKind.LLM_CHAT, "embed-executor": RequestKind.EMBEDDING}

WRITE_AGAIN_SECONDS = 1.0

log = get_logger(__name__)

Report = Callable[[SupervisorState], None]


class MeshRunner:
    """Brings a mesh up, keeps it up and takes it down.

    Args:
        report: called with each new state, beside its being written to the state file. What it raises is logged.
    """

    def __init__(self, plan: MeshPlan, report: Report) -> None:
        self._plan = plan
        self._report = report
        self._directory: Path = paths.state_dir()
        self._writer = StateWriter(self._directory)
        self._health = ServiceHealth(self._health_changed)
        self._supervisor: Supervisor | None = None
        self._state = SupervisorState(
            supervisor=ProcessIdentity.of(os.getpid()),
            phase=SupervisorPhase.STARTING,
            started_unix_seconds=time.time(),
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set, or until the start fails.

        Raises:
            AlreadySupervisedError: another supervisor runs; nothing was touched.
            SageError: the mesh did not come up. Everything started is stopped again, and the state file says why.
        """
        SERVICE_HEALTH.set(self._health)
        with supervisor_lock(self._directory):
            rotation = LogRotation(paths.log_dir(), LogLimits.of(load(LogSettings)))
            background = [
                keep_running(self._keep_written, name="state-file"),
                keep_running(rotation.run, name="log-rotation"),
            ]
            try:
                await self._run(stopping)
            except SageError as error:
                output = error.output if isinstance(error, ProcessFailedError) else ()
                self._change(phase=SupervisorPhase.FAILED, message=error.message, output=output)
                raise
            finally:
                await end_tasks(*background)
                remove_token()
            remove_state(self._directory)

    async def _run(self, stopping: asyncio.Event) -> None:
        folder = secured_folder()
        if self._plan.advertise or self._plan.join:
            # Certificates take a library that no other mesh needs.
            from sage_cli.mesh.machines import prepare_machine

            folder = prepare_machine(self._plan, folder)
        token_file = make_token()
        nats = choose_nats(self._plan, token_file, folder)
        # Another's NATS server has identities of its own.
        tls_folder = folder if nats.server is not None or self._plan.join else None
        facts = {"nats_url": nats.settings.url, PLAN_FACT: self._plan.to_json()}
        if tls_folder is not None:
            facts[TLS_FACT] = str(tls_folder)
        self._change(facts=facts, message="starting")
        registrations = Registrations(nats.settings, f"supervisor-{os.getpid()}")
        tokens = token_variables(token_file, ours=nats.server is not None)
        listeners = GatewayListeners()
        specs = service_specs(self._plan, nats.settings.url, registrations.ready_check(), tokens, tls_folder)
        specs = listeners.given(specs, shared=self._plan.gateways > 0)
        if nats.server is not None:
            specs.insert(0, nats_spec(nats.server, self._plan.timeout_seconds if self._plan.cluster else None))
        self._supervisor = Supervisor(
            specs,
            log_directory=paths.private_dir(paths.log_dir()),
            on_change=self._process_changed,
            clock=MonotonicClock(),
            generator=random.Random(),
        )
        watches = self._watches(nats.server, self._supervisor)
        orders = OrderServer(partial(self._restart, self._supervisor, registrations))
        try:
            if nats.server is None:
                # A server that SAGE does not run: it must answer before anything is started.
                await registrations.connection()
            coming_up = self._come_up(self._supervisor, registrations, fixed_ports(specs))
            if await self._up_or_stopped(coming_up, stopping):
                await orders.start()
                self._change(phase=SupervisorPhase.READY, message=self._health.summary or "")
                await stopping.wait()
        finally:
            await orders.stop()
            await end_tasks(*watches)
            if self._state.phase is not SupervisorPhase.FAILED:
                self._change(phase=SupervisorPhase.STOPPING, message="stopping")
            await registrations.close()
            # From here on the gateways alone hold them: once they leave, who connects is refused and does not wait.
            listeners.close()
            await self._supervisor.stop()
            # Servers that a killed coordinator had started and no other has adopted.
            await asyncio.to_thread(end_guarded, self._directory)

    async def _restart(
        self,
        supervisor: Supervisor,
        registrations: Registrations,
        order: RestartOrder,
        tell: Callable[[str], None],
    ) -> Sequence[str]:
        restart = RollingRestart(
            supervisor, registrations, self._plan.timeout_seconds, f"supervisor-{os.getpid()}", tell
        )
        return await restart.run(chosen_services(order.services), order.drain_seconds)

    def _watches(self, server: NatsServer | None, supervisor: Supervisor) -> list[asyncio.Task[None]]:
        if server is None:
            return []
        storage = NatsStorageWatch(
            server.directory,
            lambda: server.monitor_url,
            lambda: supervisor.restart(NATS),
            lambda reason: self._health.report(NATS, reason),
        )
        return [keep_running(storage.watch, name="nats-storage")]

    async def _keep_written(self) -> None:
        while True:
            await asyncio.sleep(WRITE_AGAIN_SECONDS)
            self._writer.write_pending()

    def _health_changed(self) -> None:
        if self._state.phase is SupervisorPhase.READY:
            self._change(message=self._health.summary or "")

    async def _up_or_stopped(self, come_up: Coroutine[None, None, None], stopping: asyncio.Event) -> bool:
        """Await ``come_up``; return False when ``stopping`` is set first."""
        coming = asyncio.ensure_future(come_up)
        stop = asyncio.ensure_future(stopping.wait())
        both: set[asyncio.Future[object]] = {coming, stop}  # type: ignore[arg-type]
        try:
            await asyncio.wait(both, timeout=self._plan.timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                coming.result()
                return True
            if stop.done():
                return False
            raise UnavailableError(
                f"not ready after {self._plan.timeout_seconds:g} s: {self._state.message}; "
                "`sage logs` shows what the services wrote, --timeout waits longer",
                code="start_timed_out",
            )
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _come_up(
        self, supervisor: Supervisor, registrations: Registrations, fixed_ports: Mapping[str, int]
    ) -> None:
        for setting, port in fixed_ports.items():
            await wait_for_port(LOOPBACK, port, setting, tell=lambda text: self._change(message=text))
        await supervisor.start()
        kinds = frozenset(kind for name, kind in WORK_OF_SERVICE.items() if self._plan.replicas.get(name, 1) > 0)
        ring = Ring(await registrations.connection())
        await ring.start()
        directory = open_directory(ring, f"supervisor-{os.getpid()}")
        await directory.start()
        try:
            engines = await wait_for_engines(
                directory, kinds, lambda text: self._change(message=text), of_settings=bool(self._plan.llm)
            )
            models = frozenset(card.name for engine in engines for card in engine.spec.models if card.kinds & kinds)
            for status in supervisor.statuses:
                url = _gateway_url(status)
                if url:
                    await wait_for_gateway(url, models, lambda text: self._change(message=text))
        finally:
            await directory.stop()
            await ring.close()

    def _process_changed(self, status: ProcessStatus) -> None:
        statuses = self._supervisor.statuses if self._supervisor is not None else ()
        changes: dict[str, object] = {"processes": statuses}
        if self._state.phase is SupervisorPhase.STARTING:
            waiting = [s.name for s in statuses if s.phase is not ProcessPhase.READY]
            changes["message"] = f"waiting for {', '.join(waiting)}" if waiting else "waiting for engines"
            if NATS in waiting and self._plan.cluster:
                changes["message"] = f"waiting for {self._plan.most_of_cluster()}"
        gateway_url = next(filter(None, map(_gateway_url, statuses)), None)
        if gateway_url is not None:
            changes["facts"] = {**self._state.facts, "gateway_url": gateway_url}
        self._change(**changes)

    def _change(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
        self._writer.write(self._state)
        try:
            self._report(self._state)
        except OSError as error:
            log.error("change not shown", error=str(error))


def _gateway_url(status: ProcessStatus) -> str | None:
    """Return where a gateway's process serves HTTP; None for another process, and for one that does not yet."""
    if status.service != "gateway":
        return None
    scheme = next((name for name in ("https", "http") if name in status.ports), None)
    return f"{scheme}://{LOOPBACK}:{status.ports[scheme]}" if scheme else None
