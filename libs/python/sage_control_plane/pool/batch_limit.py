"""The largest batch of an engine that keeps the targets for the time between tokens."""

from __future__ import annotations

from math import erfc, hypot, sqrt

from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.prediction.demand import Demand
from sage_control_plane.prediction.forecast import Forecast

# Standard deviations of the time that prompts take, which less urgent work leaves to them beside the usual time.
DEVIATIONS = 2.0
# The batch of an engine with such a target while nothing is known of its pace.
FIRST_BATCH = 4
# The most by which a batch grows at once that is judged by the pace which an engine reports: that of a moment ago.
MOST_GROWTH = 1.5
# Streams after whose ends an engine that never said how many tokens they had is one that does not say it.
UNTOLD_ANSWERS = 8
# No batch is larger.
MOST_BATCH = 1_000_000


def limit_batch(entry: EngineEntry, tightest: Demand | None) -> None:
    """Cap an engine's credits at the batch that keeps the tightest target.

    Bulk work may fill the engine at any time, so what it fills has to be within the target also for an answer beside
    which more prompts are computed than usual.

    While nothing is known of how the engine slows down it begins small, and gets what it shows to be within the target:
    a larger batch generates no fewer tokens a second, so one of (tokens a second) x target keeps it. A target that no
    batch keeps limits nothing, nor does one of which nothing shows whether it is kept.

    Args:
        tightest: the stream of requests with the smallest target between tokens; None where none has one.

    Requires the forecast's ``advance`` before.
    """
    forecast, credits = entry.forecast, entry.credits
    seconds = None if tightest is None else tightest.tpot_ms / 1000
    batch = None if seconds is None else forecast.batch_within(seconds)
    entry.pace_known = batch is not None
    entry.steady = None
    if batch is not None and tightest is not None and seconds is not None and 1.0 <= batch <= MOST_BATCH:
        prompts = forecast.prompt_share_deviation(max(1.0, tightest.output_tokens) * seconds)
        deviation = hypot(prompts, forecast.tpot_deviation)
        batch = most_in_time(forecast, seconds, deviation, int(batch))
        steady = forecast.batch_within(seconds, DEVIATIONS * deviation)
        # Fewer than two leave nothing beside a chat: that would not spare chats, but keep bulk work out altogether.
        entry.steady = None if steady is None or steady < 2.0 else int(min(steady, batch))
    if batch is not None:
        credits.limit_batch(int(batch) if 1.0 <= batch <= MOST_BATCH else None)
    elif seconds is None or entry.untold_answers >= UNTOLD_ANSWERS:
        credits.limit_batch(None)
    else:
        # Also where answers always run as many at once, so that nothing shows how it slows down.
        shown = forecast.observed_throughput * seconds
        if pace := forecast.reported_tpot_seconds:
            shown = credits.requests * min(MOST_GROWTH, seconds / pace)
        credits.limit_batch(max(FIRST_BATCH, int(shown)))


def most_in_time(forecast: Forecast, target_seconds: float, deviation: float, most: int) -> int:
    """Return the batch, of up to ``most``, of which the most answers are expected to keep their time between tokens.

    A larger batch serves more, and each of them is less likely to keep its target. The number of those that do is
    log-concave in the batch, so its maximum is where it no longer rises.

    Args:
        deviation: standard deviation of the share of the time of an answer that it takes more or less than expected.
    """
    prompts = forecast.usual_prompt_share

    def in_time(batch: int) -> float:
        step = forecast.step_seconds(batch - prompts)
        if step is None or not deviation:
            return float(batch)
        left = 1.0 - step / target_seconds - prompts
        return batch * 0.5 * erfc(-left / (deviation * sqrt(2.0)))

    best, found = most, in_time(most)
    while best > 1 and (fewer := in_time(best - 1)) > found:
        best, found = best - 1, fewer
    return best
