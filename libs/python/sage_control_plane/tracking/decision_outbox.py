"""The decisions of a pool until they are carried out: numbered, counted, and recorded for explanations."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage_common.errors import SageError
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.request.request import Attempt, PendingRequest
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Abort, Decision, Dispatch, Ended, Interrupt, Outcome, Refuse
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT


@dataclass(slots=True)
class Totals:
    """Counts of decisions.

    Attributes:
        interrupted: attempts whose edges were asked to stop them.
        recomputed_tokens: tokens of prompts and partial answers that engines were given again after that.
        ejected: engines that get no work for a while after failures in a row.
        refused: by machine code of the error.
    """

    dispatched: int = 0
    retried: int = 0
    hedged: int = 0
    interrupted: int = 0
    recomputed_tokens: int = 0
    ejected: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class DecisionOutbox:
    """Collects decisions until they are taken.

    Args:
        epoch: of the lease; attempt numbers are above those of earlier epochs.
    """

    def __init__(self, queue: WorkQueue, log: DecisionLog, epoch: int) -> None:
        self._queue = queue
        self._log = log
        self._number = epoch << EPOCH_SHIFT
        self._decisions: list[Decision] = []
        self.totals = Totals()

    def take(self) -> list[Decision]:
        """Return the decisions since the last call."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def next_number(self, submission: int) -> Attempt:
        """Return the number of a new attempt at a submission, above all earlier ones."""
        self._number += 1
        return Attempt(submission, self._number)

    def wait(self, request: PendingRequest, now: float) -> None:
        """Record that a request waits for an engine, for the first time or again."""
        self._log.waits(request, self._queue.policy.name, now)

    def dispatch(self, decision: Dispatch, now: float) -> None:
        """Add a dispatch."""
        if decision.hedge:
            self.totals.hedged += 1
        else:
            self.totals.dispatched += 1
            self.totals.retried += decision.tries > 1
        self._decisions.append(decision)
        self._log.dispatched(decision, self._queue.policy.name, now)

    def abort(
        self, attempt: DispatchedAttempt, reason: str, *, one_engine: bool = False, unbegun: bool = False
    ) -> None:
        """Add an order to stop an attempt.

        Args:
            one_engine: whether only its own engine stops it, rather than every one that runs an attempt up to this.
            unbegun: whether to stop it only if its answer has not begun.
        """
        engine_id = attempt.engine_id if one_engine else None
        self._decisions.append(Abort(attempt.request_id, attempt.number, reason, engine_id, unbegun))

    def interrupt(self, attempt: DispatchedAttempt, tries: int, reason: str) -> None:
        """Add a request to its edge to stop an attempt."""
        self.totals.interrupted += 1
        self._decisions.append(Interrupt(attempt.request_id, attempt.number, attempt.engine_id, tries, reason))

    def end(self, request_id: str, outcome: Outcome, now: float) -> None:
        """Add the end of a request other than by refusal."""
        self._decisions.append(Ended(request_id, outcome))
        self._log.ended(request_id, outcome, now)

    def refuse(
        self, request_id: str, submission: int, request: PendingRequest | None, error: SageError, now: float
    ) -> None:
        """Add the end of a request with an error to its edge."""
        self.totals.refused[error.code] = self.totals.refused.get(error.code, 0) + 1
        self._decisions.append(Refuse(request_id, self.next_number(submission), error))
        self._log.refused(request_id, request, error, self._queue.policy.name, now)
