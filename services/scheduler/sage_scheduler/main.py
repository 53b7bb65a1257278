"""Wires the scheduler's objects together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import prometheus_client
from nats.js.client import JetStreamContext
from prometheus_client import CollectorRegistry

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_common.clock import Clock, MonotonicClock
from sage_control_plane.request.classification import RequestClassifier
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge.edge import Edge
from sage_middleware.features import load_feature_extractor
from sage_platform import leases, registry, subjects
from sage_platform.background import ServiceHealth
from sage_platform.kv import open_bucket
from sage_platform.operator_records import tenant_records
from sage_platform.ring import Ring
from sage_platform.service_host import ServiceHost, Stop, run
from sage_scheduler.attainment import AnswerMeters
from sage_scheduler.config import SchedulerSettings
from sage_scheduler.control_board import ControlBoard
from sage_scheduler.drain_pruning import DrainPruning
from sage_scheduler.explanation_exchange import ExplanationExchange
from sage_scheduler.explanations import Explanations
from sage_scheduler.inspection import Inspection
from sage_scheduler.lease_board import LeaseBoard
from sage_scheduler.lease_placement import LeasePlacement
from sage_scheduler.metrics import PoolGauges, SchedulerMetrics
from sage_scheduler.pool_leases import PoolLeases
from sage_scheduler.pool_runner import PoolRunner
from sage_scheduler.ring import SchedulerRing
from sage_scheduler.service import SchedulerServicer
from sage_scheduler.tenant_weights import TenantWeights


@dataclass(frozen=True)
class Scheduler:
    """A running scheduler.

    Attributes:
        leases: the pools that it leads.
        servicer: its gRPC API.
        reconnected: has to be called after each NATS reconnection.
        stop: gives the pools up, hands waiting requests over, and stops all tasks.
    """

    leases: PoolLeases
    servicer: SchedulerServicer
    reconnected: Callable[[], None]
    stop: Callable[[], Awaitable[None]]


async def assemble(
    ring: Ring,
    js: JetStreamContext,
    replica: str,
    settings: SchedulerSettings,
    clock: Clock,
    metrics_registry: CollectorRegistry,
    health: ServiceHealth | None = None,
) -> Scheduler:
    """Make a scheduler on a ring and start it.

    Args:
        health: is given what keeps it from its work.

    Raises:
        ConfigurationError: an unknown policy or picker.
    """
    weights = TenantWeights(settings.control())
    control = weights.control
    tenants = tenant_records(js)
    tenants.on_change(lambda: weights.follow(tenants.records.values()))
    directory = EngineDirectory(ring, replica, clock)
    edge = Edge(ring, replica, directory, RequestClassifier(load_feature_extractor()[0]), clock)
    lease_bucket = await open_bucket(js, subjects.BUCKET_LEASES, ttl_seconds=leases.TTL_SECONDS)
    service_bucket = await open_bucket(js, subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS)
    control_bucket = await open_bucket(js, subjects.BUCKET_CONTROL)
    lease_board = LeaseBoard(lease_bucket, service_bucket, replica, clock)
    board = ControlBoard(control_bucket, clock, settings.policy, lambda: scheduler_ring.apply_orders())
    metrics = SchedulerMetrics(metrics_registry)
    answers = AnswerMeters(metrics_registry)
    decision_log = DecisionLog(control.explained)

    def make_runner(pool: str, epoch: int) -> PoolRunner:
        order = board.policy(pool)
        runner = PoolRunner(
            ring, directory, clock, metrics, control, decision_log, answers, pool=pool, policy=order.policy, epoch=epoch
        )
        runner.apply_orders(order, board.drained())
        return runner

    pool_leases = PoolLeases(lease_bucket, lease_board, replica, ring, clock, make_runner, health or ServiceHealth())
    placement = LeasePlacement(lease_bucket, lambda: pool_leases.leads_first, settings.advertise_host)
    scheduler_ring = SchedulerRing(ring, directory, pool_leases, board)
    metrics_registry.register(PoolGauges(lambda: [runner.manager for runner in pool_leases.runners.values()], clock))
    explanations = Explanations(replica, decision_log, clock)
    exchange = ExplanationExchange(ring.connection, replica, explanations, lambda: lease_board.others)
    pruning = DrainPruning(board, lambda: directory.engines, clock, settings.forget_drained_seconds)
    inspection = Inspection(replica, directory, pool_leases, lease_board, board)

    def reconnected() -> None:
        lease_board.restart()
        board.restart()
        tenants.reconnected()

    async def stop() -> None:
        await placement.stop()
        await pool_leases.stop()
        await scheduler_ring.stop()
        await exchange.stop()
        await pruning.stop()
        await edge.close()
        await board.stop()
        await lease_board.stop()
        await directory.stop()
        await tenants.stop()

    await directory.start()
    await lease_board.start()
    await board.start()
    await tenants.start()
    await edge.start()
    await scheduler_ring.start()
    await exchange.start()
    pool_leases.start()
    placement.start()
    pruning.start()
    servicer = SchedulerServicer(
        edge, inspection, board, exchange, explanations, control.policies, settings.submit_timeout_seconds
    )
    return Scheduler(pool_leases, servicer, reconnected, stop)


async def start(host: ServiceHost[SchedulerSettings]) -> Stop:
    """Wire the service onto its host."""
    scheduler = await assemble(
        host.ring, host.js, host.instance_id, host.settings, MonotonicClock(), prometheus_client.REGISTRY, host.health
    )
    host.on_reconnect(scheduler.reconnected)
    host.grpc.add(
        scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server,
        scheduler.servicer,
        scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"].full_name,
    )
    return scheduler.stop


def main() -> None:
    """Run the service."""
    run("scheduler", SchedulerSettings, start)


if __name__ == "__main__":
    main()
