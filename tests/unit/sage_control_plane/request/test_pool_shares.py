"""Which pool a request goes to whose model several serve."""

from __future__ import annotations

import pytest

from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState, ModelCard, RunningRequest
from sage_control_plane.request.pool_shares import AS_GOOD, PoolSeats, pick_pool, seats_by_pool
from sage_control_plane.request.request import Attempt, RequestKind

CHAT, EMBEDDING = RequestKind.LLM_CHAT, RequestKind.EMBEDDING


def engine(
    pool: str,
    running: int = 0,
    phase: EnginePhase = EnginePhase.READY,
    *,
    kind: RequestKind = CHAT,
    seats: int = 8,
    name: str = "",
) -> EngineState:
    card = ModelCard("m", frozenset({kind}), aliases=("alias",))
    requests = tuple(RunningRequest(f"r{n}", Attempt(1, n)) for n in range(running))
    spec = EngineSpec(name or f"of-{pool}", "x", (card,), pool, max_concurrency=seats)
    return EngineState(spec, phase, running=requests)


def test_seats_are_those_of_ready_engines_that_do_the_work() -> None:
    engines = [
        engine("a", 3),
        engine("a", 1, name="second"),
        engine("a", 5, EnginePhase.UNHEALTHY, name="third"),
        engine("b", 2, EnginePhase.STARTING),
        engine("c", 2, kind=EMBEDDING),
        engine("d", 2, EnginePhase.STOPPED),
    ]
    assert seats_by_pool(engines, "m", CHAT) == {"a": PoolSeats(16, 4), "b": PoolSeats(0, 0)}
    assert seats_by_pool(engines, "alias", EMBEDDING) == {"c": PoolSeats(8, 2)}
    assert seats_by_pool(engines, "n", CHAT) == {}


def test_the_pool_with_the_smallest_share_taken_gets_it() -> None:
    pools = {"a": PoolSeats(8, 4), "b": PoolSeats(100, 30)}
    assert pick_pool(pools, {}, None) == "b"
    assert pick_pool(pools, {"b": 30}, None) == "a"


@pytest.mark.parametrize("beginning", [None, 7])
def test_a_pool_without_a_ready_engine_waits_until_none_has_one(beginning: int | None) -> None:
    assert pick_pool({"a": PoolSeats(0, 0), "b": PoolSeats(8, 80)}, {}, beginning) == "b"
    assert pick_pool({"a": PoolSeats(0, 0)}, {"a": 5}, beginning) == "a"


def test_a_burst_is_shared_out_by_seats() -> None:
    pools, sent = {"a": PoolSeats(10), "b": PoolSeats(30)}, {"a": 0, "b": 0}
    for _ in range(400):
        sent[pick_pool(pools, sent, None)] += 1
    assert sent == {"a": 100, "b": 300}


def test_prompts_with_one_beginning_stay_together_until_their_pool_is_fuller() -> None:
    pools = {"a": PoolSeats(100), "b": PoolSeats(100)}
    homes = {beginning: pick_pool(pools, {}, beginning) for beginning in range(100)}
    assert set(homes.values()) == {"a", "b"}
    assert homes == {beginning: pick_pool(pools, {}, beginning) for beginning in range(100)}
    sent = {"a": 0, "b": 0}
    for _ in range(200):
        sent[pick_pool(pools, sent, 1)] += 1
    # All the same beginning: its pool is never ahead by more than what counts as equal.
    assert sent[homes[1]] - sent["b" if homes[1] == "a" else "a"] == pytest.approx(100 * AS_GOOD, abs=1)
