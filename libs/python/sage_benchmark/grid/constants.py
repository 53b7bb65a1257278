"""The constants of the control plane's settings that decide on order and capacity, by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from sage_common.errors import InvalidRequestError
from sage_control_plane.settings import ControlSettings

# Groups and fields that say how much is queued, retried, hedged, ejected, weighed or kept: no part of any order.
_OTHER = frozenset({"admission", "breaker", "retries", "hedging", "scorers", "explained"})


def constants_of(control: ControlSettings, policy: str) -> dict[str, float]:
    """Return the numbers that a policy works with: its own settings, those of prediction, and those of capacity.

    The names are those of the scheduler's settings, such as ``hybrid.margin`` and ``headroom``.
    """
    found: dict[str, float] = {}
    for name, value in _numbers(control, ""):
        group = name.partition(".")[0]
        if group not in _OTHER and (group == policy or not hasattr(control.policies, group)):
            found[name] = value
    return found


def with_constant(control: ControlSettings, name: str, value: float) -> ControlSettings:
    """Return the settings with one constant changed; a whole number stays one.

    Raises:
        InvalidRequestError: there is no such constant, or the value is out of its range.
    """
    group, _, rest = name.partition(".")
    path = ["policies", *name.split(".")] if rest and hasattr(control.policies, group) else name.split(".")
    try:
        changed: ControlSettings = _replaced(control, path, value)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidRequestError(f"the setting {name} cannot be {value:g}: {error}", param=name) from None
    return changed


def _numbers(settings: Any, prefix: str) -> Iterator[tuple[str, float]]:
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            # The policies' group has no name of its own among the settings.
            yield from _numbers(value, prefix if item.name == "policies" else f"{prefix}{item.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{item.name}", value


def _replaced(settings: Any, path: list[str], value: float) -> Any:
    name, *rest = path
    before = getattr(settings, name)
    if rest:
        return replace(settings, **{name: _replaced(before, rest, value)})
    if not isinstance(before, (int, float)) or isinstance(before, bool):
        raise ValueError("it is no number")
    now = max(1, round(value)) if isinstance(before, int) else float(value)
    _check(get_type_hints(type(settings), include_extras=True).get(name), now)
    return replace(settings, **{name: now})


def _check(hint: Any, value: float) -> None:
    """Raise ValueError for a value outside the range that its field is annotated with."""
    for mark in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(mark, Ge) and not value >= mark.ge:  # type: ignore[operator]
            raise ValueError(f"it must be at least {mark.ge}")
        if isinstance(mark, Gt) and not value > mark.gt:  # type: ignore[operator]
            raise ValueError(f"it must be above {mark.gt}")
        if isinstance(mark, Le) and not value <= mark.le:  # type: ignore[operator]
            raise ValueError(f"it must be at most {mark.le}")
        if isinstance(mark, Lt) and not value < mark.lt:  # type: ignore[operator]
            raise ValueError(f"it must be below {mark.lt}")
