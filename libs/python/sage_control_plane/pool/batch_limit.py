"""The largest batch of an engine that keeps the targets for the time between tokens."""

from __future__ import annotations

from math import erfc, sqrt

from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.prediction.demand import Demand
from sage_control_plane.prediction.forecast import Forecast

# Share of a target for the time between tokens that is planned for.
PACE_MARGIN = 0.9
# Standard deviations of the time that prompts take, which less urgent work leaves to them beside the usual time.
DEVIATIONS = 2.0
# The batch of an engine with such a target while nothing is known of its pace.
FIRST_BATCH = 16
# Streams after whose ends an engine that never said how many tokens they had is one that does not say it.
UNTOLD_ANSWERS = 8
# No batch is larger.
MOST_BATCH = 1_000_000


def limit_batch(entry: EngineEntry, tightest: Demand | None) -> None:
    """Cap an engine's credits at the batch that keeps the tightest target.

    Bulk work may fill the engine at any time, so what it fills has to be within the target also for an answer beside
    which more prompts are computed than usual.

    While nothing is known of how the engine slows down it begins small, and may go on with what it runs already, with
    half as much again where the pace that it reports, or else that of its answers, is within the target. A target that
    no batch keeps limits nothing, nor does one of which nothing shows whether it is kept.

    Args:
        tightest: the stream of requests with the smallest target between tokens; None where none has one.

    Requires the forecast's ``advance`` before.
    """
    forecast, credits = entry.forecast, entry.credits
    seconds = None if tightest is None else PACE_MARGIN * tightest.tpot_ms / 1000
    batch = None if seconds is None else forecast.batch_within(seconds)
    entry.pace_known = batch is not None
    entry.steady = None
    if batch is not None and tightest is not None and 1.0 <= batch <= MOST_BATCH:
        target = tightest.tpot_ms / 1000
        deviation = forecast.prompt_share_deviation(max(1.0, tightest.output_tokens) * target)
        batch = most_in_time(forecast, target, deviation, int(batch))
        steady = forecast.batch_within(target, DEVIATIONS * deviation)
        # Fewer than two leave nothing beside a chat: that would not spare chats, but keep bulk work out altogether.
        entry.steady = None if steady is None or steady < 2.0 else int(min(steady, batch))
    if batch is not None:
        credits.limit_batch(int(batch) if 1.0 <= batch <= MOST_BATCH else None)
    elif seconds is None or entry.untold_answers >= UNTOLD_ANSWERS:
        credits.limit_batch(None)
    else:
        # Where answers always run as many at once, nothing shows how it slows down: their own pace has to do.
        pace = forecast.reported_tpot_seconds or forecast.observed_tpot_seconds
        more = credits.requests // 2 if pace is not None and pace <= seconds else 0
        credits.limit_batch(max(FIRST_BATCH, credits.requests + more))


def most_in_time(forecast: Forecast, target_seconds: float, deviation: float, most: int) -> int:
    """Return the batch, of up to ``most``, of which the most answers are expected to keep their time between tokens.

    A larger batch serves more, and each of them is less likely to keep its target. The number of those that do is
    log-concave in the batch, so its maximum is where it no longer rises.

    Args:
        deviation: standard deviation of the share of the time of an answer that prompts take.
    """

    def in_time(batch: int) -> float:
        step = forecast.step_seconds(batch)
        if step is None or not deviation:
            return float(batch)
        left = 1.0 - step / target_seconds - forecast.usual_prompt_share
        return batch * 0.5 * erfc(-left / (deviation * sqrt(2.0)))

    best, found = most, in_time(most)
    while best > 1 and (fewer := in_time(best - 1)) > found:
        best, found = best - 1, fewer
    return best
