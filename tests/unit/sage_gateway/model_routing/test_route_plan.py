"""What is tried for a name: splits, routes behind routes, and which fallback stands in for which failure."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sage_common.errors import UnprocessableError
from sage_common.model_routes import ModelRoute
from sage_common.tenants import checked
from sage_gateway.model_routing.route_plan import MOST_STEPS, chosen_target, models_behind, plan_of, sticky_draw


def route(name: str, targets: dict[str, int] | None = None, **fields: Any) -> ModelRoute:
    split = [{"model": model, "weight": weight} for model, weight in (targets or {}).items()]
    return checked(ModelRoute, {"name": name, "targets": split, **fields})


def by_name(*routes: ModelRoute) -> dict[str, ModelRoute]:
    return {each.name: each for each in routes}


def first(_route: ModelRoute) -> float:
    return 0.0


def fallback(model: str, *on: str) -> dict[str, Any]:
    return {"model": model, "on": on} if on else {"model": model}


def test_an_alias_is_one_step() -> None:
    plan = plan_of(by_name(route("fast", {"small": 1})), "fast", first)
    assert plan.models == ("small",)
    assert plan.steps[0].path == ("fast",)


def test_a_fallback_stands_in_only_for_the_failures_that_it_names() -> None:
    routes = by_name(route("best", {"big": 1}, fallbacks=[fallback("long", "context_length"), fallback("small")]))
    plan = plan_of(routes, "best", first)
    assert plan.models == ("big", "long", "small")
    assert plan.next_step(0, "context_length") == 1
    assert plan.next_step(0, "refusal") == 2
    assert plan.next_step(2, "failure") is None


def test_the_fallbacks_of_a_fallback_stand_in_for_it_alone() -> None:
    routes = by_name(
        route("best", {"big": 1}, fallbacks=[fallback("other", "refusal"), fallback("last", "failure")]),
        route("other", {"mid": 1}, fallbacks=[fallback("tiny", "failure")]),
    )
    plan = plan_of(routes, "best", first)
    assert plan.models == ("big", "mid", "tiny", "last")
    # A failure of the first model passes the second, and what would stand in for that.
    assert plan.next_step(0, "failure") == 3
    assert plan.next_step(0, "refusal") == 1
    assert plan.next_step(1, "failure") == 2
    assert plan.next_step(2, "failure") == 3


def test_defaults_of_the_route_nearest_to_the_caller_count() -> None:
    routes = by_name(
        route("outer", {"inner": 1}, defaults={"temperature": 0.1}, fallbacks=[fallback("spare")]),
        route("inner", {"served": 1}, defaults={"temperature": 0.9, "max_tokens": 5}),
    )
    served, spare = plan_of(routes, "outer", first).steps
    assert (served.defaults, served.path) == ({"temperature": 0.1, "max_tokens": 5}, ("outer", "inner"))
    assert spare.defaults == {"temperature": 0.1}


def test_a_circle_that_two_operators_made_at_once_is_refused_by_its_names() -> None:
    routes = by_name(route("a", {"b": 1}), route("b", {"a": 1}))
    with pytest.raises(UnprocessableError, match="a → b → a"):
        plan_of(routes, "a", first)


def test_a_plan_is_bounded_and_tries_no_model_twice() -> None:
    wide = [
        route(f"r{depth}", {f"r{depth + 1}": 1}, fallbacks=[fallback(f"m{depth}-{number}") for number in range(8)])
        for depth in range(4)
    ]
    plan = plan_of(by_name(*wide, route("r4", {"m0-1": 1})), "r0", first)
    assert len(plan.models) == len(set(plan.models)) == MOST_STEPS


def test_a_split_gives_each_target_its_share() -> None:
    numbers = random.Random(3)
    split = route("canary", {"old": 90, "new": 10, "off": 0})
    drawn = [chosen_target(split, lambda _: numbers.random()) for _ in range(2000)]
    assert 150 < drawn.count("new") < 250
    assert drawn.count("off") == 0


def test_the_models_behind_a_name_are_all_that_may_answer() -> None:
    routes = by_name(
        route("steady", {"canary": 1}, fallbacks=[fallback("spare"), fallback("round")]),
        route("canary", {"canary": 9, "next": 1, "off": 0}),
        route("round", {"steady": 1}),
    )
    assert models_behind(routes, "steady") == ("canary", "next", "spare")
    assert models_behind(routes, "served") == ("served",)


def test_a_user_stays_with_one_target_and_only_the_growing_target_gains_users() -> None:
    users = [f"user-{number}" for number in range(500)]

    def targets(new: int) -> dict[str, str]:
        split = route("canary", {"old": 100 - new, "new": new})
        return {user: chosen_target(split, lambda r, u=user: sticky_draw(r, "acme", u)) for user in users}  # type: ignore[misc]

    tenth, fifth = targets(10), targets(20)
    assert tenth == targets(10)
    assert 25 < list(tenth.values()).count("new") < 80
    assert all(fifth[user] == "new" for user in users if tenth[user] == "new")


@example("acme", "\ud800")  # as JSON may escape it
@given(st.text(max_size=20), st.text(max_size=20))
def test_a_sticky_draw_is_a_share(tenant: str, key: str) -> None:
    assert 0 <= sticky_draw(route("r"), tenant, key) < 1
