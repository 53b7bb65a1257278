"""The last hour's requests played again in the simulator: other engines, another policy, other targets.

What is played are arrival times, lengths and classes; no text is known. The engines are as fast as the requests show:
tokens a second of prompts, and seconds a token. Playing the hour as it was first says how far that may be believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import SimulationPlan, for_many_engines
from sage_benchmark.workload.arrival import Arrival
from sage_client.management.views import EngineView, RequestView
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.request import RequestKind, ServiceClass, ServiceLevel
from sage_control_plane.settings import ControlSettings
from sage_studio.feed import SeenRequest
from sage_studio.figures import UNANSWERED, targets_met, tpot_ms

HOUR_SECONDS = 3600.0
STEPS = 60
KINDS = {"llm_chat": RequestKind.LLM_CHAT, "llm_generate": RequestKind.LLM_GENERATE}
ENDED = UNANSWERED | {"finished"}
# Fewer say nothing about an engine's pace.
LEAST_ENDED = 5
LEAST_SECONDS = 0.000_1


@dataclass(frozen=True, slots=True)
class Recording:
    """Requests to play, and the pool that had them.

    Attributes:
        seen: what happened, in the order of their arrivals.
        engines: that generate and were ready.
        engine: how fast and how large one of them is.
        settings: numbers of the policy, by name, as they are in force.
    """

    arrivals: tuple[Arrival, ...]
    seen: tuple[RequestView, ...]
    policy: str
    engines: int
    engine: EngineModelConfig
    settings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be different.

    Attributes:
        interactive_ttft_ms: the target of interactive requests; None leaves it.
    """

    policy: str
    engines: int
    interactive_ttft_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the requests.

    Attributes:
        attainment: the share of each class that kept its targets, with how many had any.
        queue_p95_ms, ttft_p95_ms: None where there was none.
        waiting: requests that waited at the same time, over the hour in equal steps.
    """

    requests: int
    attainment: Mapping[str, tuple[float, int]]
    queue_p95_ms: float | None
    ttft_p95_ms: float | None
    refused: int
    waiting: tuple[int, ...]


def recording(
    requests: Iterable[SeenRequest],
    engines: Sequence[EngineView],
    pool: str,
    policy: str,
    now_unix_ms: int,
    settings: Mapping[str, float] | None = None,
) -> Recording | str:
    """Return what can be played of the last hour, or why nothing can."""
    since = now_unix_ms - HOUR_SECONDS * 1000
    chosen = sorted(
        (
            seen
            for seen in requests
            if seen.arrived_unix_ms >= since
            and seen.view.kind in KINDS
            and seen.view.pool == pool
            and seen.view.state in ENDED
        ),
        key=lambda seen: seen.arrived_unix_ms,
    )
    finished = [seen.view for seen in chosen if seen.view.state == "finished" and seen.view.output_tokens]
    if len(finished) < LEAST_ENDED:
        return f"{len(finished)} chats ended in the last hour, and {LEAST_ENDED} are needed to play them again"
    # Engines of models that nobody asked take none of these requests.
    used = {view.engine_id for view in finished}
    seats = [engine.max_concurrency for engine in engines if engine.engine_id in used and engine.phase == "ready"]
    count = len(seats) or len(used)
    usual = max(1, round(median(view.output_tokens or 1 for view in finished)))
    arrivals = tuple(
        Arrival(
            number,
            max(0.0, (seen.arrived_unix_ms - since) / 1000),
            KINDS[seen.view.kind],
            seen.view.tenant,
            max(1, seen.view.input_tokens),
            seen.view.output_tokens or usual,
            ServiceClass[seen.view.service_class.upper()],
            max_tokens=seen.view.output_tokens or usual,
            streaming=seen.view.streaming,
        )
        for number, seen in enumerate(chosen)
    )
    engine = replace(fitted(finished), max_num_seqs=max(1, round(median(seats))) if seats else 1)
    return Recording(arrivals, tuple(seen.view for seen in chosen), policy, count, engine, dict(settings or {}))


def fitted(finished: Sequence[RequestView]) -> EngineModelConfig:
    """Return an engine as fast as requests show: the median seconds a token, and tokens a second of prompts."""
    steps = [step / 1000 for view in finished if (step := tpot_ms(view)) is not None]
    if not steps:
        # Of answers in one piece the whole time is known; that of their prompts is a part of it.
        steps = [
            (view.ended_after_ms - view.queue_ms) / 1000 / view.output_tokens
            for view in finished
            if view.ended_after_ms is not None and view.output_tokens
        ]
    step = max(LEAST_SECONDS, median(steps))
    prefills = [
        max(LEAST_SECONDS, (view.ttft_ms - view.queue_ms) / 1000 - step) / max(1, view.input_tokens)
        for view in finished
        if view.streaming and view.ttft_ms is not None
    ]
    per_token = median(prefills) if prefills else EngineModelConfig().prefill_tokens_per_second ** -1
    return EngineModelConfig(
        prefill_tokens_per_second=1 / per_token,
        step_base_seconds=step,
        step_per_sequence_seconds=0.0,
        prefix_cache=False,
    )


def play(recorded: Recording, change: Change) -> Played:
    """Play the requests to the end of the last one. Takes seconds for thousands."""
    levels = dict(DEFAULT_LEVEL)
    if change.interactive_ttft_ms is not None:
        usual = levels[ServiceClass.INTERACTIVE]
        levels[ServiceClass.INTERACTIVE] = ServiceLevel(change.interactive_ttft_ms, usual.tpot_ms, usual.end_to_end_ms)
    control = for_many_engines(control_of(recorded, change), change.engines)
    plan = SimulationPlan(change.engines, change.policy, recorded.engine, control, levels=levels)
    outcomes = Simulation(plan, recorded.arrivals).run()
    return _summary(
        [(one.arrival.service_class, _kept(one, levels[one.arrival.service_class])) for one in outcomes],
        [(outcome.arrival.at_seconds, outcome.queue_ms) for outcome in outcomes],
        [outcome.ttft_seconds * 1000 for outcome in outcomes if outcome.ttft_seconds is not None],
        sum(not outcome.served for outcome in outcomes),
    )


def control_of(recorded: Recording, change: Change) -> ControlSettings:
    """Return the settings that are played: of the policy that was in force its own, of another its defaults."""
    control = ControlSettings()
    if change.policy != recorded.policy:
        return control
    usual = getattr(control.policies, change.policy)
    # A scheduler of another version may have others. Numbers of integers travel as floats.
    known = {
        name: type(getattr(usual, name))(value) for name, value in recorded.settings.items() if hasattr(usual, name)
    }
    return replace(control, policies=replace(control.policies, **{change.policy: replace(usual, **known)}))  # type: ignore[type-var]  # make_dataclass


def happened(recorded: Recording) -> Played:
    """Return what became of the requests in truth."""
    pairs = list(zip(recorded.arrivals, recorded.seen, strict=True))
    return _summary(
        [(arrival.service_class, targets_met(view)) for arrival, view in pairs],
        [(arrival.at_seconds, view.queue_ms) for arrival, view in pairs],
        [view.ttft_ms for view in recorded.seen if view.ttft_ms is not None],
        sum(view.state in UNANSWERED for view in recorded.seen),
    )


def _kept(outcome: RequestOutcome, level: ServiceLevel) -> bool:
    if not outcome.served:
        return False
    pairs = (
        (outcome.ttft_seconds, level.ttft_ms),
        (outcome.tpot_seconds, level.tpot_ms),
        (outcome.end_to_end_seconds, level.end_to_end_ms),
    )
    return all(not target or value is None or value * 1000 <= target for value, target in pairs)


def _summary(
    kept: Sequence[tuple[ServiceClass, bool | None]],
    queued: Sequence[tuple[float, float]],
    ttfts: Sequence[float],
    refused: int,
) -> Played:
    judged = Counter(name for name, met in kept if met is not None)
    met = Counter(name for name, was_met in kept if was_met)
    step = HOUR_SECONDS / STEPS
    waiting = [0] * STEPS
    for at, queue_ms in queued:
        for number in range(int(at / step), min(STEPS, int((at + queue_ms / 1000) / step) + 1)):
            # Counted where it waited for a good part of a step, not where it passed.
            waiting[number] += queue_ms >= step * 100
    return Played(
        len(kept),
        {name.name.lower(): (met[name] / count, count) for name, count in sorted(judged.items())},
        _p95([queue_ms for _, queue_ms in queued]),
        _p95(ttfts),
        refused,
        tuple(waiting),
    )


def _p95(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] if ordered else None
