"""What an engine could stop to free a seat, what that costs, and when its seats come free by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sage_control_plane.pool.dispatched_attempt import TIME_TO_GO_ON_SECONDS, DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.kept_answers import KeptAnswers
from sage_control_plane.request.request import PendingRequest, ServiceClass

# Time between tokens while there is no prediction: that of a fast engine, so that rather too much is charged.
UNPREDICTED_TPOT_SECONDS = 0.01

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Victim:
    """An attempt that could be stopped.

    Attributes:
        tokens: of its answer so far, as estimated.
        at_risk: tokens that may be computed again.
        cost: tokens that are expected to be: none of an answer that has not begun.
    """

    attempt: DispatchedAttempt
    tokens: float
    at_risk: float

    @property
    def cost(self) -> float:
        return self.at_risk if self.attempt.begun else 0.0

    @property
    def size(self) -> float:
        """Tokens of prompt and answer so far."""
        request = self.attempt.request
        return self.tokens + (0 if request is None else request.classification.input_tokens)

    @property
    def order(self) -> tuple[float, int]:
        """The least goes first: the cheapest, and of several the latest dispatch."""
        return self.cost, -self.attempt.number.dispatch


@dataclass(slots=True)
class SeatOffer:
    """What an engine could stop.

    Attributes:
        victims: what could be stopped, the first to go last.
        needed: how many of them have to go for one more seat.
        running: tokens so far of all answers that run there.
    """

    victims: list[Victim]
    needed: int
    running: float

    @property
    def cost(self) -> float:
        """Tokens that are computed again for one more seat; infinite where there are too few victims."""
        if len(self.victims) < self.needed:
            return _NEVER
        return sum(victim.cost for victim in self.victims[-self.needed :])

    @property
    def tokens(self) -> float:
        """The most tokens that may turn out to be computed again: prompts that have not begun may be under way."""
        return sum(victim.at_risk for victim in self.victims[-self.needed :])

    @property
    def size(self) -> float:
        """Tokens of prompts and answers that are stopped."""
        return sum(victim.size for victim in self.victims[-self.needed :])

    def take(self) -> list[Victim]:
        """Remove and return what has to go for one more seat. Another costs one more."""
        taken = [self.victims.pop() for _ in range(self.needed)]
        self.needed = 1
        return taken


def offer_of(
    entry: EngineEntry,
    kept: KeptAnswers,
    dispatched_by: float,
    is_leaving: Callable[[DispatchedAttempt], bool | None],
    now: float,
) -> SeatOffer:
    """Return what an engine could stop for one more seat.

    Its own queue is served before a request that comes now, so as many more have to go as wait there.

    Args:
        dispatched_by: later dispatches are not stopped.
        is_leaving: whether an attempt is being stopped; None for one that is not and was not asked for either.
    """
    tpot = tpot_seconds(entry)
    victims, running, leaving = list[Victim](), 0.0, 0
    for attempt in entry.running.values():
        request = attempt.request
        if request is None or not request.classification.generates:
            continue
        tokens = tokens_so_far(attempt, tpot, now)
        running += attempt.uncached_tokens + tokens
        if not is_bulk(request):
            continue
        stopping = is_leaving(attempt)
        leaving += bool(stopping)
        if stopping is not None or attempt.dispatched_at > dispatched_by:
            continue
        victim = Victim(attempt, tokens, _at_risk(entry, kept, attempt, request, tokens))
        if _may_stop(entry, victim, now):
            victims.append(victim)
    victims.sort(key=lambda victim: victim.order, reverse=True)
    seats = min(entry.credits.request_cap, entry.state.spec.max_concurrency)
    return SeatOffer(victims, max(1, entry.credits.requests - leaving - seats + 1), running)


def _at_risk(
    entry: EngineEntry, kept: KeptAnswers, attempt: DispatchedAttempt, request: PendingRequest, tokens: float
) -> float:
    """Return the tokens of prompt and answer that the engine may compute again, as far as it loses what it has."""
    classification = request.classification
    share = kept.recomputed_share(entry.engine_id, classification.model)
    return min(attempt.uncached_tokens + tokens, share * (classification.input_tokens + tokens))


def _may_stop(entry: EngineEntry, victim: Victim, now: float) -> bool:
    attempt, request = victim.attempt, victim.attempt.request
    if request is None or attempt.adopted or not is_bulk(request):
        return False
    if request.interrupted and victim.tokens <= victim.at_risk:
        return False
    if request.expires_at - now < TIME_TO_GO_ON_SECONDS:
        return False
    if attempt.begun:
        return attempt.resumable
    # Of an answer in one piece, only the assumption that its prompt is not computed yet says that it has not begun.
    return request.classification.shows_beginning or attempt.request_id in entry.prefill_pending


def is_bulk(request: PendingRequest) -> bool:
    """Return whether a request's answer is generated and of the class that gives way."""
    classification = request.classification
    return classification.service_class is ServiceClass.BULK and classification.generates


def tpot_seconds(entry: EngineEntry) -> float | None:
    """Return the time between tokens on the engine now; None while it is not known."""
    forecast = entry.forecast
    return forecast.step_seconds(max(1, forecast.decoding)) or forecast.reported_tpot_seconds


def tokens_so_far(attempt: DispatchedAttempt, tpot_seconds: float | None, now: float) -> float:
    """Return the estimated tokens of a running answer."""
    if not attempt.decoding and not attempt.begun:
        return 0.0
    began_at = attempt.counters_at_begin.at if attempt.decoding else attempt.begun_at
    return 1.0 + max(0.0, now - began_at) / (tpot_seconds or UNPREDICTED_TPOT_SECONDS)


def natural_ends(entry: EngineEntry, now: float) -> list[float]:
    """Return when the answers on an engine are expected to end, the first first.

    Those that are longer than expected already are left out: nothing is known of their end.
    """
    tpot = tpot_seconds(entry)
    if tpot is None:
        return []
    left = (attempt.output_tokens - tokens_so_far(attempt, tpot, now) for attempt in entry.running.values())
    return sorted(now + tokens * tpot for tokens in left if tokens > 0)


def seats_at(entry: EngineEntry, now: float) -> list[float]:
    """Return when an engine is expected to take further requests by itself."""
    if not entry.usable:
        return []
    if entry.credits.has_slot:
        # It has a seat, and only its queue of prompts keeps work away.
        return [now + entry.forecast.prompt_seconds()]
    return natural_ends(entry, now)
