"""What a request for a model route tries, in order: a split is drawn, routes behind routes are followed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sage_common.errors import UnprocessableError
from sage_common.model_routes import ALL_REASONS, MOST_DEPTH, FallbackReason, ModelRoute

# Of one request, however many fallbacks lie behind its name.
MOST_STEPS = 16

Routes = Mapping[str, ModelRoute]
# A number of at least 0 and below 1 that says which target of a route a request gets.
Draw = Callable[[ModelRoute], float]


@dataclass(frozen=True, slots=True)
class RouteStep:
    """A served model to try.

    Attributes:
        on: failures of the model before for which it stands in; it does not matter for the first step.
        group: number of the step that its fallbacks belong to: it is tried only after that one, or one behind it, was.
        path: the routes to it.
        defaults: what a request has that does not name the field itself.
    """

    model: str
    on: frozenset[FallbackReason] = frozenset(ALL_REASONS)
    group: int = 0
    path: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What to try for the name of a route."""

    name: str
    steps: tuple[RouteStep, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The served models that may answer."""
        return tuple(step.model for step in self.steps)

    def next_step(self, tried: int, reason: FallbackReason) -> int | None:
        """Return the number of the step that stands in where ``tried`` has failed; None for none."""
        for number in range(tried + 1, len(self.steps)):
            step = self.steps[number]
            if reason in step.on and step.group <= tried:
                return number
        return None


def plan_of(routes: Routes, name: str, draw: Draw) -> RoutePlan:
    """Return what to try for the route ``name``, which must be one of ``routes``.

    A model is tried once, where it comes first. Where routes give defaults for one field, that of the route nearest to
    the caller counts.

    Raises:
        UnprocessableError: the routes go in a circle, as two that were set at the same moment may.
    """
    steps: list[RouteStep] = []
    _add(steps, routes, name, draw, frozenset(ALL_REASONS), 0, (), {})
    return RoutePlan(name, tuple(steps))


def _add(
    steps: list[RouteStep],
    routes: Routes,
    name: str,
    draw: Draw,
    on: frozenset[FallbackReason],
    group: int,
    above: tuple[str, ...],
    defaults: Mapping[str, Any],
) -> None:
    """Add the steps behind a route, of which ``on`` and ``group`` are those of the first."""
    path = (*above, name)
    if name in above or len(path) > MOST_DEPTH:
        raise UnprocessableError(
            f"model routes lead to no served model: {' → '.join(path)}; an operator sets one of them anew with "
            f"`sage model set {name}`",
            code="route_circle",
            param="model",
        )
    route = routes[name]
    defaults = {**route.defaults.given, **defaults}
    first = len(steps)
    _add_model(steps, routes, chosen_target(route, draw), draw, on, group, path, defaults)
    if len(steps) > first:
        group = first
    for fallback in route.fallbacks:
        _add_model(steps, routes, fallback.model, draw, frozenset(fallback.on or ALL_REASONS), group, path, defaults)


def _add_model(
    steps: list[RouteStep],
    routes: Routes,
    model: str,
    draw: Draw,
    on: frozenset[FallbackReason],
    group: int,
    path: tuple[str, ...],
    defaults: Mapping[str, Any],
) -> None:
    if model != path[-1] and model in routes:
        _add(steps, routes, model, draw, on, group, path, defaults)
    elif len(steps) < MOST_STEPS and all(step.model != model for step in steps):
        steps.append(RouteStep(model, on, group, path, defaults))


def chosen_target(route: ModelRoute, draw: Draw) -> str:
    """Return the target of a route for a request; each gets its part of the numbers from 0 to 1, in their order."""
    split = route.split
    if len(split) == 1:
        return split[0].model
    left = draw(route) * sum(target.weight for target in split)
    for target in split:
        left -= target.weight
        if left < 0:
            return target.model
    return split[-1].model


def models_behind(routes: Routes, name: str) -> tuple[str, ...]:
    """Return every served model that may answer requests for a route, each once, targets before fallbacks."""
    found: dict[str, None] = {}

    def follow(model: str, above: tuple[str, ...]) -> None:
        if model not in routes or (above and model == above[-1]):
            found.setdefault(model)
        elif model not in above:
            route = routes[model]
            for each in (*(target.model for target in route.split), *(other.model for other in route.fallbacks)):
                follow(each, (*above, model))

    follow(name, ())
    return tuple(found)


def sticky_draw(route: ModelRoute, tenant: str, key: str) -> float:
    """Return the number that a key of a tenant has at a route, always the same one.

    Where a target's share grows at the cost of its neighbour's, only keys of that neighbour move.
    """
    # JSON may escape a lone surrogate.
    named = "\0".join((route.name, tenant, key)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(named, digest_size=7).digest()
    # 53 bits, which a float holds: with more the quotient may be rounded up to 1.
    return (int.from_bytes(digest, "big") >> 3) / 2**53
