"""Model routes: names that callers use for models, and what is behind each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sage_common.errors import InvalidRequestError
from sage_common.labels import MAX_MODEL_CHARACTERS

# Why a request goes on with another model: the queue or the server has no room for it, its engine failed or there is
# none, or its prompt is too long for the model.
FallbackReason = Literal["refusal", "failure", "context_length"]
ALL_REASONS: tuple[FallbackReason, ...] = get_args(FallbackReason)

MOST_TARGETS = 16
MOST_FALLBACKS = 8
# Routes from a name to a served model, one behind the other.
MOST_DEPTH = 5

ModelName = Annotated[str, Field(min_length=1, max_length=MAX_MODEL_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]+$")]


class RouteTarget(BaseModel):
    """A part of a split; ``weight`` of the sum of all weights is its share, 0 takes it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelName
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1


class RouteFallback(BaseModel):
    """A model to go on with, and what it stands in for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelName
    on: tuple[FallbackReason, ...] = Field(ALL_REASONS, max_length=len(ALL_REASONS))


class RouteDefaults(BaseModel):
    """What a request has that does not name the field itself. What is None, or empty, is left to the engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field((), max_length=16)
    seed: Annotated[int, Field(ge=-(2**53), le=2**53)] | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    service_class: Literal["interactive", "default", "bulk"] | None = None

    @property
    def given(self) -> Mapping[str, Any]:
        """Those that are set, by name."""
        return self.model_dump(mode="json", exclude_defaults=True)


class ModelRoute(BaseModel):
    """What is behind the name of a model.

    Attributes:
        name: that callers use; it goes before a served model of the same name.
        targets: what requests are split over, served models or routes; none for the served model of the route's own
            name, which the name also stands for among targets and fallbacks.
        fallbacks: what is tried next, in order.
        defaults: for requests that do not name the fields themselves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ModelName
    targets: tuple[RouteTarget, ...] = Field((), max_length=MOST_TARGETS)
    fallbacks: tuple[RouteFallback, ...] = Field((), max_length=MOST_FALLBACKS)
    defaults: RouteDefaults = RouteDefaults()

    @model_validator(mode="after")
    def _is_consistent(self) -> ModelRoute:
        if not self.name:
            # The body of an order, whose path names the route: what is wrong is told by that name.
            return self
        for what, models in (
            ("targets", [target.model for target in self.targets]),
            ("fallbacks", [fallback.model for fallback in self.fallbacks]),
        ):
            twice = next((model for model in models if models.count(model) > 1), None)
            if twice is not None:
                raise ValueError(f"route {self.name!r} has {twice!r} among its {what} twice")
        if self.targets and not any(target.weight for target in self.targets):
            raise ValueError(f"every target of route {self.name!r} has weight 0; give one a weight")
        return self

    @property
    def split(self) -> tuple[RouteTarget, ...]:
        """The targets that get requests."""
        return tuple(each for each in self.targets if each.weight) or (RouteTarget(model=self.name),)

    @property
    def models(self) -> tuple[str, ...]:
        """What the route names, targets first."""
        targets = tuple(target.model for target in self.targets) or (self.name,)
        return (*targets, *(fallback.model for fallback in self.fallbacks))


def check_routes(routes: Mapping[str, ModelRoute]) -> None:
    """Refuse routes that lead to no served model.

    Raises:
        InvalidRequestError: they go in a circle, or one behind the other for too long; the message names them.
    """
    checked: dict[str, int] = {}
    for name in routes:
        _depth(name, routes, (), checked)


def _depth(name: str, routes: Mapping[str, ModelRoute], above: tuple[str, ...], checked: dict[str, int]) -> int:
    """Return how many routes lie behind each other from ``name`` on; 0 for a served model."""
    if name in above:
        circle = " → ".join((*above[above.index(name) :], name))
        raise InvalidRequestError(
            f"model routes go in a circle: {circle}; point one of them at a served model", code="route_circle"
        )
    if name not in checked:
        route = routes[name]
        behind = [
            _depth(model, routes, (*above, name), checked)
            for model in route.models
            if model != name and model in routes
        ]
        depth = checked[name] = 1 + max(behind, default=0)
        if depth > MOST_DEPTH:
            raise InvalidRequestError(
                f"from model route {name!r} on {depth} routes lie behind each other, and {MOST_DEPTH} may; point "
                "one of them at a served model",
                code="route_too_deep",
            )
    return checked[name]
