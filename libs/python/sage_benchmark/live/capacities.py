"""Whether what is in front of the engines is told how many requests each of them computes at once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from sage_common.errors import InvalidRequestError


class Capacity(str, Enum):
    """Told, or to be found out."""

    TOLD = "told"
    UNTOLD = "untold"

    __str__ = str.__str__


TOLD = Capacity.TOLD
UNTOLD = Capacity.UNTOLD


def read_capacities(names: Sequence[str]) -> list[Capacity]:
    """Read ``told`` and ``untold``. Raises InvalidRequestError for other names, and for none."""
    known = {capacity.value: capacity for capacity in Capacity}
    if not names or any(name not in known for name in names):
        raise InvalidRequestError(f"--capacity {','.join(names)!r}: it is told, untold, or both", param="capacity")
    return [known[name] for name in names]


def capacity_suffixes(capacities: Sequence[Capacity]) -> dict[Capacity, str]:
    """What tells the systems of several capacities apart; nothing is needed for one."""
    return {capacity: f", {capacity}" if len(capacities) > 1 else "" for capacity in capacities}
