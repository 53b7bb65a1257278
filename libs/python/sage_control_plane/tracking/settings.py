"""Settings of retries, hedges and interruptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sage_common.setting_marks import Alias
from sage_control_plane.tracking.backoff import Backoff


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When a request is tried again, and how long it waits for an engine to return.

    Attributes:
        max_tries: dispatches of one submission, at most; hedges come on top.
        ratio: retries allowed for each request.
        floor_per_second: retries allowed whatever the traffic.
        backoff: waits between the tries.
        absence_seconds: how long queued work waits for an engine after the last that served it is gone.
    """

    max_tries: Annotated[int, Ge(1), Alias()] = 3
    ratio: Annotated[float, Ge(0), Alias("retry_ratio")] = 0.2
    floor_per_second: Annotated[float, Ge(0), Alias("retry_floor_per_second")] = 1.0
    backoff: Backoff = Backoff()
    absence_seconds: Annotated[float, Ge(0), Alias()] = 5.0


@dataclass(frozen=True, slots=True)
class HedgeSettings:
    """When a second attempt is made while the first is running.

    Attributes:
        ratio: hedged requests as a share of all; 0 for none.
        factor: multiple of its predicted TTFT after which a request without a first token may be hedged.
        least_seconds: no request is hedged before this.
    """

    ratio: Annotated[float, Ge(0), Le(1), Alias("hedge_ratio")] = 0.05
    factor: Annotated[float, Ge(1), Alias("hedge_factor")] = 3.0
    least_seconds: Annotated[float, Gt(0), Alias("hedge_least_seconds")] = 0.1


@dataclass(frozen=True, slots=True)
class InterruptionSettings:
    """When running bulk answers give up their seats for more urgent work.

    Attributes:
        ratio: tokens that may be computed again as a share of all tokens of late; 0 for no interruptions.
        window_seconds: what counts as of late.
        floor_tokens: tokens that may be computed again within that time whatever the traffic.
    """

    ratio: Annotated[float, Ge(0), Le(1)] = 0.05
    window_seconds: Annotated[float, Gt(0)] = 300.0
    floor_tokens: Annotated[float, Ge(0)] = 1000.0
