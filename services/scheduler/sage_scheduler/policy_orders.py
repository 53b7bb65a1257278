"""Orders about a pool's policy: its name, and settings of it other than those that the scheduler was started with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sage_common.errors import InvalidRequestError
from sage_common.setting_table import dataclass_fields, nearest
from sage_control_plane.policies.registry import POLICIES, PolicySettings, check_policy


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """A policy and what is set of it.

    Attributes:
        settings: by name, without that of the policy.
    """

    policy: str
    settings: Mapping[str, float] = field(default_factory=dict)

    def stored(self) -> str:
        """Return the order as it is kept: the name alone where nothing is set, which every version reads."""
        if not self.settings:
            return self.policy
        return json.dumps({"policy": self.policy, "settings": dict(self.settings)}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class NumberSetting:
    """A setting of a policy that is a number.

    Attributes:
        configured: what the scheduler was started with.
    """

    name: str
    value: float
    configured: float
    meaning: str


def read_order(text: str) -> PolicyChoice:
    """Return a stored order. Raises ValueError for one that is none, or of a policy that is not known here."""
    try:
        if not text.startswith("{"):
            return PolicyChoice(check_policy(text))
        kept = json.loads(text)
        settings = {str(name): float(value) for name, value in kept["settings"].items()}
        return PolicyChoice(check_policy(str(kept["policy"])), settings)
    except (InvalidRequestError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{text!r} is no order about a policy: {error}") from None


def settings_of(order: PolicyChoice, configured: PolicySettings) -> PolicySettings:
    """Return the settings of all policies as an order has them.

    Raises:
        InvalidRequestError: a name that is no setting of the policy, or no number; or a value out of its range.
    """
    if not order.settings:
        return configured
    known = _numbers(order.policy)
    values = {name: _checked(order.policy, name, value, known) for name, value in order.settings.items()}
    try:
        of_policy = replace(getattr(configured, order.policy), **values)
    except ValueError as error:
        # What a policy says of its settings together, or beyond their ranges.
        raise InvalidRequestError(f"{order.policy}: {error}", code="invalid_setting") from None
    changed: PolicySettings = replace(configured, **{order.policy: of_policy})  # type: ignore[type-var]  # make_dataclass
    return changed


def number_settings(order: PolicyChoice, configured: PolicySettings) -> Iterator[NumberSetting]:
    """Yield the settings of an order's policy that are numbers."""
    try:
        ordered = settings_of(order, configured)
    except InvalidRequestError:
        # Of another version; the pool's scheduler goes by what is configured too.
        ordered = configured
    now, before = getattr(ordered, order.policy), getattr(configured, order.policy)
    for name, described in _numbers(order.policy).items():
        yield NumberSetting(name, getattr(now, name), getattr(before, name), described.description or "")


def _numbers(policy: str) -> dict[str, FieldInfo]:
    fields = dataclass_fields(POLICIES[policy].settings)
    return {name: described for name, described in fields.items() if described.annotation in (int, float)}


def _checked(policy: str, name: str, value: float, known: Mapping[str, FieldInfo]) -> Any:
    if name not in known:
        hint = nearest(name, known) if known else ""
        raise InvalidRequestError(
            f"the policy {policy!r} has no setting {name!r} that is a number{hint}", code="unknown_setting", param=name
        )
    if not math.isfinite(value):
        # Every comparison with NaN is false, so that ranges let it pass.
        raise InvalidRequestError(
            f"{policy}.{name} is {value}; give a finite number", code="invalid_setting", param=name
        )
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[(known[name].annotation, *known[name].metadata)])  # type: ignore[arg-type]
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        said = f"{policy}.{name}: {why} (got {value!r})"
        raise InvalidRequestError(said, code="invalid_setting", param=name) from None
