"""Runs the manager of one pool while this replica leads it: applies batches from the ring, carries out decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2, request_pb2
from sage_common.clock import Clock
from sage_common.errors import InternalError, InvalidRequestError, TooLargeError
from sage_common.logging import get_logger
from sage_control_plane.manager import ControlPlaneManager
from sage_control_plane.request.engine_state import EngineState
from sage_control_plane.request.request import Attempt, ServiceClass, TokensUsed
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Abort, Decision, Dispatch, Interrupt, Refuse
from sage_mesh.directory import EngineDirectory
from sage_mesh.wire.errors import error_from_wire
from sage_mesh.wire.requests import attempt_from_wire, id_fields
from sage_platform import subjects
from sage_platform.ring import Ring
from sage_scheduler.attainment import AnswerMeters, PoolAnswers
from sage_scheduler.cache_accounts import subscribe_to_caches
from sage_scheduler.metrics import SchedulerMetrics
from sage_scheduler.policy_orders import PolicyChoice, settings_of
from sage_scheduler.queue_spans import QueueSpans
from sage_scheduler.translation import (
    abort_to_wire,
    dispatch_to_wire,
    hedge_to_wire,
    interrupt_to_wire,
    pending_from_wire,
    refusal_to_wire,
    up_to_from_wire,
)

log = get_logger(__name__)

# Longest wait of a new leader for a heartbeat of every executor.
GATHER_SECONDS = 0.6


class PoolRunner:
    """One term of leadership over one pool; not reusable."""

    def __init__(
        self,
        ring: Ring,
        directory: EngineDirectory,
        clock: Clock,
        metrics: SchedulerMetrics,
        settings: ControlSettings,
        decision_log: DecisionLog,
        answers: AnswerMeters,
        *,
        pool: str,
        policy: str,
        epoch: int,
    ) -> None:
        self.pool = pool
        self.epoch = epoch
        self.manager = ControlPlaneManager(
            pool, policy, settings, epoch=epoch, random=Random(epoch), decision_log=decision_log
        )
        self._settings = settings
        self._policy = PolicyChoice(policy)
        self._ring, self._directory, self._clock = ring, directory, clock
        self._metrics = metrics
        self._answers = PoolAnswers(pool, answers)
        self._spans = None if ring.tracer is None else QueueSpans(ring.tracer, pool)
        self._payloads: dict[str, request_pb2.ClassifiedRequest] = {}
        self._subscriptions: list[Subscription] = []
        self._dispatch_subjects: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._deciding = False

    async def start(self) -> None:
        """Subscribe, adopt what the executors run, and start to decide."""
        self._subscriptions = [
            await self._ring.subscribe(
                subjects.schedule(self.pool), request_pb2.ClassifiedRequestBatch, self._on_requests
            ),
            await self._ring.subscribe(subjects.report(self.pool), engine_pb2.ReportBatch, self._on_reports),
            await subscribe_to_caches(self._ring, self.manager, self._directory),
        ]
        now = self._clock.now()
        for state in self._directory.engines.values():
            if state.spec.pool == self.pool:
                self._update(state, now)
        await self._directory.ask()
        complete = await self._directory.wait_until(lambda _directory: self._all_reported(now), GATHER_SECONDS)
        self._deciding = True
        log.info(
            "leading",
            pool=self.pool,
            epoch=self.epoch,
            engines=len(self.manager.engines),
            adopted=self.manager.outstanding,
            queued=self.manager.queued,
            all_executors_reported=complete,
            seconds=round(self._clock.now() - now, 3),
        )
        self._decide()

    def stop_deciding(self) -> None:
        """Stop deciding at once, because the lease is lost."""
        self._deciding = False
        if self._timer is not None:
            self._timer.cancel()
        for subject in self._dispatch_subjects.values():
            self._ring.on_no_responders(subject, None)

    async def stop(self) -> list[request_pb2.ClassifiedRequest]:
        """Unsubscribe; return the waiting requests, for the next leader. Requires ``stop_deciding`` before."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        now = self._clock.now()
        waiting = []
        for request in self.manager.waiting():
            payload = self._payloads[request.request_id]
            payload.request.age_ms = max(0, int((now - request.arrived_at) * 1000))
            waiting.append(payload)
        return waiting

    # Calls from the service

    def holds(self, request_id: str) -> bool:
        """Return whether the request waits or runs here."""
        return self.manager.holds(request_id)

    def cancel(self, cancellations: Sequence[engine_pb2.Cancellation]) -> None:
        """Cancel requests, or attempts at them."""
        now = self._clock.now()
        for cancellation in cancellations:
            # A cancellation of unbegun attempts may come too late; the executor's report says so.
            if self.manager.holds(cancellation.request_id) and not cancellation.unbegun:
                up_to = up_to_from_wire(cancellation)
                self.manager.cancel(cancellation.request_id, up_to, now, cancellation.engine_id or None)
        self._decide()

    def engines_changed(self, updated: Sequence[EngineState], lost: Sequence[EngineState], reason: str) -> None:
        """Update engines of this pool, and remove the lost ones."""
        now = self._clock.now()
        for state in updated:
            self._update(state, now)
        for state in lost:
            engine_id = state.spec.engine_id
            self._metrics.engine_lost(self.pool)
            self.manager.engine_lost(engine_id, reason, now)
            subject = self._dispatch_subjects.pop(engine_id, None)
            if subject is not None:
                self._ring.on_no_responders(subject, None)
        self._decide()

    def apply_orders(self, order: PolicyChoice, drained: set[str]) -> None:
        """Apply operators' orders: the policy with its settings, and the ids of all drained engines."""
        now = self._clock.now()
        if order != self._policy:
            self._change_policy(order, now)
        for engine_id in drained ^ self.manager.draining:
            self.manager.set_draining(engine_id, engine_id in drained, now)
        self._decide()

    def _change_policy(self, order: PolicyChoice, now: float) -> None:
        before, self._policy = self._policy, order
        try:
            settings = settings_of(order, self._settings.policies)
        except InvalidRequestError as error:
            # Of another version, whose settings are others.
            log.error("settings of the policy are not known to this version; using its own", error=error.message)
            settings = self._settings.policies
        log.info("policy changed", pool=self.pool, before=before.stored(), now=order.stored())
        self.manager.set_policy(order.policy, now, settings)

    # Batches from the ring

    def _on_requests(self, items: Sequence[request_pb2.ClassifiedRequest]) -> None:
        now = self._clock.now()
        for item in items:
            try:
                request = pending_from_wire(item, now)
            except ValueError as error:
                self._refuse_unreadable(item, error)
                continue
            if self.manager.submit(request, now):
                self._payloads[request.request_id] = item
                self._answers.arrived(request)
        self._decide()

    def _on_reports(self, items: Sequence[engine_pb2.Report]) -> None:
        now = self._clock.now()
        manager = self.manager
        for report in items:
            event, request_id, attempt = report.event, report.request_id, attempt_from_wire(report.attempt)
            # The wire has 0 for what is not reported.
            ttft_seconds = report.ttft_us / 1_000_000 or None
            if event == engine_pb2.REPORT_EVENT_FINISHED:
                began = now - (report.elapsed_us - report.ttft_us) / 1_000_000
                self._answers.finished(request_id, now, report.usage.completion_tokens, began)
                manager.finished(request_id, attempt, now, _used(report), ttft_seconds)
            elif event == engine_pb2.REPORT_EVENT_FIRST_TOKEN:
                self._answers.first_token(request_id, now)
                used, resumable = _used(report), report.resumable
                manager.first_token(request_id, attempt, now, ttft_seconds, resumable=resumable, used=used)
            elif event == engine_pb2.REPORT_EVENT_FAILED:
                error = error_from_wire(report.error)
                manager.failed(request_id, attempt, error, now, started_replying=report.started_replying)
            elif event == engine_pb2.REPORT_EVENT_CANCELLED:
                manager.cancelled(request_id, attempt, now)
        self._decide()

    def _on_no_responders(self, engine_id: str) -> None:
        log.warning("no subscriber for dispatches to an engine", engine=engine_id)
        self._directory.forget(engine_id, "there is no subscriber for its dispatches")

    # Decisions

    def _update(self, state: EngineState, now: float) -> None:
        engine_id = state.spec.engine_id
        if engine_id not in self._dispatch_subjects:
            subject = subjects.dispatch(engine_id)
            self._dispatch_subjects[engine_id] = subject
            self._ring.on_no_responders(subject, lambda _subject, _items: self._on_no_responders(engine_id))
        self.manager.engine_updated(state, now)

    def _decide(self) -> None:
        if not self._deciding:
            return
        now = self._clock.now()
        while decisions := self.manager.decide(now):
            for decision in decisions:
                self._carry_out(decision, now)
        self._wake_at(self.manager.next_deadline())

    def _carry_out(self, decision: Decision, now: float) -> None:
        if isinstance(decision, Dispatch):
            self._dispatch(decision, now)
        elif isinstance(decision, Abort):
            self._ring.send(subjects.CANCEL, abort_to_wire(decision))
        elif isinstance(decision, Interrupt):
            reply_subject = self._payloads[decision.request_id].request.reply_subject
            self._ring.send(reply_subject, interrupt_to_wire(decision))
        else:
            payload = self._payloads.get(decision.request_id)
            if payload is None:
                return
            if not self.manager.holds(decision.request_id):
                # Otherwise the payload belongs to a later submission of the same request.
                del self._payloads[decision.request_id]
                self._answers.ended(decision.request_id, None if isinstance(decision, Refuse) else decision.outcome)
                if self._spans is not None:
                    self._spans.ended(decision.request_id)
            if isinstance(decision, Refuse):
                service_class = ServiceClass(payload.classification.service_class)
                self._metrics.refused(self.pool, service_class, decision.error.code)
                self._ring.send(payload.request.reply_subject, refusal_to_wire(decision))
                if self._spans is not None:
                    self._spans.refused(payload, decision, self.manager.policy)

    def _dispatch(self, decision: Dispatch, now: float) -> None:
        payload = self._payloads[decision.request_id]
        subject = self._dispatch_subjects[decision.engine_id]
        reply_subject = payload.request.reply_subject
        if decision.hedge:
            # Sent before the dispatch, so that the edge knows of both attempts when the first bytes come.
            self._ring.send(reply_subject, hedge_to_wire(decision))
        try:
            self._ring.send_item(subject, dispatch_to_wire(decision, payload))
        except TooLargeError as error:
            # The request itself fitted; with the fields that a dispatch adds it does not.
            if not decision.hedge:
                self._ring.send(reply_subject, refusal_to_wire(Refuse(decision.request_id, decision.attempt, error)))
            self.manager.failed(decision.request_id, decision.attempt, error, now, started_replying=False)
            return
        service_class = decision.request.classification.service_class
        if decision.hedge:
            self._metrics.hedged(self.pool, service_class)
        else:
            self._metrics.dispatched(self.pool, service_class, decision.queue_us, decision.tries)
        if self._spans is not None:
            self._spans.dispatched(payload, decision, self.manager.policy)

    def _refuse_unreadable(self, item: request_pb2.ClassifiedRequest, error: ValueError) -> None:
        request = item.request
        log.error("request not understood", **id_fields(request), error=str(error))
        failure = InternalError(f"the scheduler does not understand the request's classification: {error}")
        frame = refusal_to_wire(Refuse(request.request_id, Attempt(request.submission, 0), failure))
        self._ring.send(request.reply_subject, frame)

    def _wake_at(self, deadline: float | None) -> None:
        """Have ``tick`` called by ``deadline``; a timer that is set for earlier serves too."""
        if deadline is None or deadline >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(0.0, deadline - self._clock.now())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self.manager.tick(self._clock.now())
        self._decide()

    def _all_reported(self, since: float) -> bool:
        """Return whether there are executors and each has sent a heartbeat since then."""
        executors = {state.executor_id for state in self._directory.engines.values()}
        age = self._clock.now() - since
        return bool(executors) and all(self._directory.heartbeat_age_seconds(e) <= age for e in executors)


def _used(report: engine_pb2.Report) -> TokensUsed:
    usage = report.usage
    return TokensUsed(usage.prompt_tokens or None, usage.completion_tokens or None, usage.cached_tokens)
