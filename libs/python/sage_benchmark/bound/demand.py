"""What each request needs of the engines at least, and within which time, if it is to meet its targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sage_benchmark.report.outcome import level_of
from sage_benchmark.simulated_engine.engine_config import EMBEDDING_KINDS, EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.request import ServiceClass

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

# The engine model counts in whole nanoseconds, so its steps may be shorter than the formula's by half of one.
STEP_ROUNDING = 2e-9


@dataclass(frozen=True, slots=True)
class Pieces:
    """Work with a release and a due time, several pieces for each request. Arrays of one length.

    Attributes:
        request: whose work it is: its position among the arrivals.
        work: engine-seconds.
    """

    request: Indices
    release: Floats
    due: Floats
    work: Floats

    def of(self, counted: Flags) -> Pieces:
        """Return the pieces of some requests."""
        kept = counted[self.request]
        return Pieces(self.request[kept], self.release[kept], self.due[kept], self.work[kept])


@dataclass(frozen=True, slots=True)
class Residence:
    """When each request holds a seat for certain, in arrays over all arrivals; never, where the end is not later.

    Attributes:
        latest_start: by when it must have been given one, if it is to meet its targets.
        earliest_end: when its answer can be complete.
    """

    latest_start: Floats
    earliest_end: Floats


@dataclass(frozen=True, slots=True)
class Demand:
    """What a workload needs.

    Attributes:
        seats: of one engine.
        possible: for each request, whether an engine that has nothing else to do meets its targets.
        families: pieces of all possible requests, priced in several ways; each way by itself is a lower bound.
    """

    seats: int
    possible: Flags
    families: tuple[Pieces, ...]
    residence: Residence


@dataclass(frozen=True, slots=True)
class _Window:
    """When a request's work can be done.

    Attributes:
        tokens: that are decoded after the first.
        tpot: seconds that a decoded token may take on average; infinite where it may take any time.
        alone: seconds that a token takes at least.
        stays: whether it keeps its seat to its end; bulk work may be stopped and go on later.
    """

    release: float
    prompt_seconds: float
    prompt_due: float
    tokens: int
    due: float
    tpot: float
    alone: float
    stays: bool

    @property
    def begun(self) -> float:
        """When the first token is there at the earliest."""
        return self.release + self.prompt_seconds

    @property
    def earliest_end(self) -> float:
        """When the answer is complete at the earliest."""
        return self.begun + self.tokens * self.alone

    @property
    def latest_start(self) -> float:
        """When the request must hold a seat at the latest."""
        return min(self.prompt_due - self.prompt_seconds, self.due - (self.earliest_end - self.release))

    @property
    def possible(self) -> bool:
        """Whether the targets are met where nothing else is to be done."""
        return self.release <= self.latest_start + STEP_ROUNDING and (not self.tokens or self.alone <= self.tpot)


def demand_of(arrivals: Sequence[Arrival], config: EngineModelConfig, until: float = math.inf) -> Demand:
    """Return what the requests need for their class's targets.

    Args:
        until: when bulk answers must be complete to count.
    """
    windows = [_window(arrival, config, until) for arrival in arrivals]
    within = {index: window for index, window in enumerate(windows) if window.possible}
    limits = {window.tpot for window in within.values() if _batch(window.tpot, config) < config.max_num_seqs}
    return Demand(
        config.max_num_seqs,
        np.array([window.possible for window in windows], dtype=np.bool_),
        tuple(_priced(within, limit, config) for limit in sorted({*limits, math.inf})),
        Residence(
            np.array([window.latest_start for window in windows], dtype=np.float64),
            np.array([window.earliest_end if window.stays else -math.inf for window in windows], dtype=np.float64),
        ),
    )


def _window(arrival: Arrival, config: EngineModelConfig, until: float) -> _Window:
    level, at = level_of(arrival), arrival.at_seconds
    generates = arrival.kind not in EMBEDDING_KINDS
    uncached = arrival.input_tokens
    if generates and config.prefix_cache and arrival.prefix_group:
        uncached = max(1, uncached - arrival.prefix_tokens)
    end = at + level.end_to_end_ms / 1000 if level.end_to_end_ms else math.inf
    if arrival.service_class is ServiceClass.BULK:
        end = min(end, max(at, until))
    first = min(end, at + level.ttft_ms / 1000) if level.ttft_ms else end
    tpot = level.tpot_ms / 1000 if level.tpot_ms and arrival.streaming else math.inf
    tokens = max(0, arrival.output_tokens - 1) if generates else 0
    # An answer in one piece shows its first token with its last.
    due = min(end, first + tpot * tokens if tokens else first) if arrival.streaming else first
    prompt, alone = config.prompt_seconds(arrival.kind, uncached), config.step_seconds(1) - STEP_ROUNDING
    stays = arrival.service_class is not ServiceClass.BULK
    return _Window(at, prompt, min(first, due - tokens * alone), tokens, due, tpot, alone, stays)


def _batch(tpot: float, config: EngineModelConfig) -> float:
    """Return the batch whose steps take ``tpot``, not necessarily a whole number; at most the seats."""
    per = config.step_per_sequence_seconds
    if math.isinf(tpot) or per <= 0:
        return float(config.max_num_seqs)
    return min(float(config.max_num_seqs), max(1.0, (tpot - config.step_base_seconds) / per))


def _priced(windows: Mapping[int, _Window], limit: float, config: EngineModelConfig) -> Pieces:
    """Price tokens of requests with a TPOT of at most ``limit`` at the batch that it allows, others at the margin."""
    margin = config.step_per_sequence_seconds
    limited = margin + config.step_base_seconds / _batch(limit, config)
    rows: list[tuple[int, float, float, float]] = []
    for index, window in windows.items():
        if window.prompt_seconds > 0 and math.isfinite(window.prompt_due):
            rows.append((index, window.release, window.prompt_due, window.prompt_seconds))
        if window.tokens and math.isfinite(window.due):
            token = limited if window.tpot <= limit else margin
            rows.append((index, window.begun, window.due, window.tokens * token))
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    release, due, work = (np.array(column, dtype=np.float64) for column in columns[1:])
    return Pieces(np.array(columns[0], dtype=np.int64), release, due, work)
