"""Model routes: what makes a good one, and which do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from sage_common.errors import InvalidRequestError
from sage_common.model_routes import MOST_DEPTH, ModelRoute, check_routes
from sage_common.tenants import checked


def route(name: str, *targets: str, **fields: Any) -> ModelRoute:
    return checked(ModelRoute, {"name": name, "targets": [{"model": target} for target in targets], **fields})


def by_name(*routes: ModelRoute) -> dict[str, ModelRoute]:
    return {each.name: each for each in routes}


def test_routes_in_a_circle_are_refused_by_their_names() -> None:
    routes = by_name(route("a", "served", "b"), route("b", fallbacks=[{"model": "c"}]), route("c", "a"))
    with pytest.raises(InvalidRequestError, match="a → b → c → a") as refused:
        check_routes(routes)
    assert refused.value.code == "route_circle"


def test_a_route_may_name_the_served_model_of_its_own_name() -> None:
    check_routes(by_name(route("big", "big", "canary", fallbacks=[{"model": "small"}]), route("small")))
    assert [target.model for target in route("big").split] == ["big"]


def test_routes_one_behind_the_other_are_bounded() -> None:
    chain = [route(f"r{number}", f"r{number + 1}") for number in range(MOST_DEPTH)]
    check_routes(by_name(*chain))
    with pytest.raises(InvalidRequestError, match=r"'above' on 6 routes"):
        check_routes(by_name(*chain, route("above", "r0")))


def test_a_new_route_is_checked_together_with_those_that_name_it() -> None:
    routes = by_name(route("a", "b"))
    check_routes(routes)
    with pytest.raises(InvalidRequestError, match="circle"):
        check_routes({**routes, "b": route("b", "a")})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"targets": [{"model": "x"}, {"model": "x"}]}, "route 'r' has 'x' among its targets twice"),
        ({"fallbacks": [{"model": "x"}, {"model": "x"}]}, "route 'r' has 'x' among its fallbacks twice"),
        ({"targets": [{"model": "x", "weight": 0}]}, "every target of route 'r' has weight 0"),
        ({"targets": [{"model": "x", "weight": -1}]}, r"targets\.0\.weight"),
        ({"fallbacks": [{"model": "x", "on": ["tiredness"]}]}, r"fallbacks\.0\.on\.0.*tiredness"),
        ({"defaults": {"temperature": 9}}, r"defaults\.temperature"),
        ({"defaults": {"colour": 1}}, r"defaults\.colour"),
        ({"targets": [{"model": "a\nb"}]}, r"targets\.0\.model"),
    ],
)
def test_a_bad_route_is_refused_with_what_is_wrong(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        checked(ModelRoute, {"name": "r", **fields})


def test_only_defaults_that_are_set_are_given() -> None:
    assert route("r", defaults={"temperature": 0, "stop": ["\n"]}).defaults.given == {"temperature": 0, "stop": ["\n"]}
