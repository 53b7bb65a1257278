"""How many requests an engine may have outstanding: an operator's ceiling, and what its server computes at once.

Pure. Whatever waits beyond what a server computes waits in the server's own queue, where no policy orders it; so the
smaller of the two counts, and where nobody says anything, the engine's spec says that too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sage_control_plane.request.engine_state import CapacitySource, EngineSpec

# What no one has limited has to end somewhere: vLLM's own default on its largest GPUs.
TECHNICAL_CEILING: Final = 1024


def with_capacity(
    spec: EngineSpec,
    *,
    ceiling: int | None,
    told: int | None,
    admitted: int | None = None,
    technical_ceiling: int = TECHNICAL_CEILING,
) -> EngineSpec:
    """Return the spec with the requests that may be outstanding at once, and who said so.

    Args:
        ceiling: requests, as an operator set them; None where none did.
        told: requests that the server computes at once, as it says; None where it does not.
        admitted: requests beyond which the server refuses; None where it does not say.
        technical_ceiling: the number where nobody says anything.
    """
    if admitted is not None:
        told, ceiling = told and min(told, admitted), ceiling and min(ceiling, admitted)
        technical_ceiling = min(technical_ceiling, admitted)
    if told is not None and (ceiling is None or told <= ceiling):
        limit, source = told, CapacitySource.TOLD
    elif ceiling is not None:
        limit, source = ceiling, CapacitySource.CONFIGURED
    else:
        limit, source = technical_ceiling, CapacitySource.UNKNOWN
    if (limit, source) == (spec.max_concurrency, spec.capacity_source):
        return spec
    return replace(spec, max_concurrency=limit, capacity_source=source)
