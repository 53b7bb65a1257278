"""Faults that can be put into a running simulated engine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from sage_common.errors import InvalidRequestError

DROP: Final = "drop"
EXIT: Final = "exit"


@dataclass(frozen=True, slots=True)
class Faults:
    """What ``POST /sim/faults`` takes; what is not given is as here, so ``{}`` ends all faults.

    Attributes:
        refuse_seconds: for which connections are refused; open ones close when their answer is complete.
        stall_seconds: for which the engine makes no progress. Its connections stay open.
        stall_health: whether ``/health`` does not answer either in that time.
        slowdown: factor by which every step takes longer.
        die_after_tokens: a request is cut off after this number of tokens; 0: before the first.
        die_how: ``drop`` breaks the request's connection, ``exit`` ends the process, as ``kill -9`` would.
        die_requests: how many requests are cut off; None: every one that gets so far.
        error_rate: share of generation and embedding requests that are answered with ``error_status``.
        seed: of the choice of those.
    """

    refuse_seconds: float = 0.0
    stall_seconds: float = 0.0
    stall_health: bool = False
    slowdown: float = 1.0
    die_after_tokens: int | None = None
    die_how: str = DROP
    die_requests: int | None = None
    error_rate: float = 0.0
    error_status: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidRequestError for a value out of range."""
        for name, low, high in (
            ("refuse_seconds", 0, 3600),
            ("stall_seconds", 0, 3600),
            ("slowdown", 0.001, 1000),
            ("error_rate", 0, 1),
            ("error_status", 500, 599),
            ("seed", 0, 2**63),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidRequestError(f"{name} is {value}; it must be from {low} to {high}", param=name)
        for name in ("die_after_tokens", "die_requests"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InvalidRequestError(f"{name} is {value}; it must be at least 0", param=name)
        if self.die_how not in (DROP, EXIT):
            raise InvalidRequestError(f"die_how is {self.die_how!r}; it must be {DROP!r} or {EXIT!r}", param="die_how")


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "float": (int, float),
    "bool": (bool,),
    "int": (int,),
    "int | None": (int, type(None)),
    "str": (str,),
}


def read_faults(value: Mapping[str, Any]) -> Faults:
    """Read the body of ``POST /sim/faults``. Raises InvalidRequestError for an unknown or ill-typed field."""
    known = {field.name: str(field.type) for field in fields(Faults)}
    for name, given in value.items():
        if name not in known:
            raise InvalidRequestError(f"no fault {name!r}; there are {', '.join(known)}", param=name)
        allowed = _TYPES[known[name]]
        if not isinstance(given, allowed) or (isinstance(given, bool) and bool not in allowed):
            raise InvalidRequestError(f"{name} is {given!r}; it must be of type {known[name]}", param=name)
    return Faults(**value)


class FaultDice:
    """Decides which requests the present faults hit."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)
        self._deaths_left = faults.die_requests

    def errs(self) -> bool:
        """Whether the next request is answered with an error."""
        return self.faults.error_rate > 0 and self._random.random() < self.faults.error_rate

    def cut_at(self, sent: int, *, finished: bool) -> int | None:
        """After how many tokens a request is cut off that is about to have been sent ``sent``; a death is counted.

        None when it goes on. Where several tokens leave at once, those after the cut do not.
        """
        after = self.faults.die_after_tokens
        if after is None or sent < after or (finished and sent == after) or self._deaths_left == 0:
            return None
        if self._deaths_left is not None:
            self._deaths_left -= 1
        return after
