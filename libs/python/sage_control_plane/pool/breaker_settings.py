"""Settings of the circuit breakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sage_common.setting_marks import Alias


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens.

    Attributes:
        consecutive_failures: failures in a row that open it.
        base_ejection_seconds: time open after the first ejection; doubles with each further one.
        max_ejection_seconds: longest time open.
        max_ejection_percent: share of a model's engines that may be open at once, rounded down; so the only engine of a
            model is never ejected.
        max_cooling_seconds: longest time without new work that an engine gets by its ``Retry-After``.
    """

    consecutive_failures: Annotated[int, Ge(1), Alias()] = 5
    base_ejection_seconds: Annotated[float, Gt(0), Alias()] = 1.0
    max_ejection_seconds: Annotated[float, Gt(0), Alias()] = 60.0
    max_ejection_percent: Annotated[float, Ge(0), Le(100), Alias()] = 50.0
    max_cooling_seconds: Annotated[float, Ge(0), Alias()] = 60.0
