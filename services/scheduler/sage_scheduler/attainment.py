"""What callers got, by class: time to the first token, time between tokens, and whether their targets were met."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from sage_control_plane.request.request import PendingRequest, ServiceClass, ServiceLevel
from sage_control_plane.tracking.decisions import Outcome

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)
MET, MISSED, UNTARGETED = "met", "missed", "untargeted"


@dataclass(slots=True)
class _Answer:
    """A request that has not ended; times are seconds of the scheduler's clock."""

    service_class: ServiceClass
    level: ServiceLevel
    arrived_at: float
    # Its client had a part of the answer before it came here.
    goes_on: bool
    first_token_at: float | None = None


class _ClassMeters:
    """The meters of one class in one pool."""

    def __init__(self, meters: AnswerMeters, pool: str, service_class: ServiceClass) -> None:
        labels = (pool, service_class.name.lower())
        self.ttft = meters.ttft.labels(*labels)
        self.tpot = meters.tpot.labels(*labels)
        self.seconds = meters.seconds.labels(*labels)
        self.outcomes = {one: meters.answers.labels(*labels, one) for one in (MET, MISSED, UNTARGETED)}


class AnswerMeters:
    """The metrics of all pools."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["pool", "service_class"]
        self.answers = Counter(
            "sage_scheduler_answers",
            "Requests that ended, by whether their targets were met; refused and failed ones missed them.",
            [*labels, "outcome"],
            registry=registry,
        )
        self.ttft = Histogram(
            "sage_scheduler_ttft_seconds",
            "From acceptance by the edge to the first token.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self.tpot = Histogram(
            "sage_scheduler_tpot_seconds",
            "Mean time between the tokens of an answer.",
            labels,
            buckets=_TOKEN_SECONDS,
            registry=registry,
        )
        self.seconds = Histogram(
            "sage_scheduler_answer_seconds",
            "From acceptance by the edge to the whole answer.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self._by_class: dict[tuple[str, ServiceClass], _ClassMeters] = {}

    def of(self, pool: str, service_class: ServiceClass) -> _ClassMeters:
        """Return the meters of a class. Looking up labelled children costs more than using them, so they are kept."""
        found = self._by_class.get((pool, service_class))
        if found is None:
            found = self._by_class[pool, service_class] = _ClassMeters(self, pool, service_class)
        return found


class PoolAnswers:
    """Follows the requests of one pool from arrival to end."""

    def __init__(self, pool: str, meters: AnswerMeters) -> None:
        self._pool = pool
        self._meters = meters
        self._open: dict[str, _Answer] = {}

    def arrived(self, request: PendingRequest) -> None:
        """A request was taken; one that is submitted again begins again here, unless its client has a part of it."""
        found = request.classification
        self._open[request.request_id] = _Answer(found.service_class, found.slo, request.arrived_at, request.goes_on)

    def first_token(self, request_id: str, at: float) -> None:
        """An engine has begun to answer."""
        answer = self._open.get(request_id)
        if answer is not None and answer.first_token_at is None:
            answer.first_token_at = at

    def finished(self, request_id: str, now: float, output_tokens: int, first_token_at: float) -> None:
        """An answer is complete.

        Args:
            output_tokens: 0 where the engine does not say, or generates none.
            first_token_at: when it began, where that was not told before.
        """
        answer = self._open.pop(request_id, None)
        if answer is None:
            return
        self.first_token(request_id, first_token_at)
        began = answer.first_token_at if answer.first_token_at is not None else first_token_at
        seconds = max(0.0, now - answer.arrived_at)
        ttft = None if answer.goes_on else max(0.0, began - answer.arrived_at)
        tpot = max(0.0, now - began) / (output_tokens - 1) if output_tokens > 1 else None
        meters = self._meters.of(self._pool, answer.service_class)
        meters.seconds.observe(seconds)
        if ttft is not None:
            meters.ttft.observe(ttft)
        if tpot is not None:
            meters.tpot.observe(tpot)
        meters.outcomes[attained(answer.level, ttft, tpot, seconds)].inc()

    def ended(self, request_id: str, outcome: Outcome | None) -> None:
        """A request has ended another way; None for a refusal. What its caller cancelled counts as neither."""
        answer = self._open.pop(request_id, None)
        if answer is None or outcome in (Outcome.CANCELLED, Outcome.INTERRUPTED, Outcome.FINISHED):
            return
        has_target = answer.level != ServiceLevel()
        meters = self._meters.of(self._pool, answer.service_class)
        meters.outcomes[MISSED if has_target else UNTARGETED].inc()


def attained(level: ServiceLevel, ttft: float | None, tpot: float | None, seconds: float) -> str:
    """Return whether an answer kept all its targets; times are seconds, None for those that do not apply to it."""
    pairs = ((level.ttft_ms, ttft), (level.tpot_ms, tpot), (level.end_to_end_ms, seconds))
    targets = [(target / 1000, took) for target, took in pairs if target and took is not None]
    if not targets:
        return UNTARGETED
    return MET if all(took <= target for target, took in targets) else MISSED
