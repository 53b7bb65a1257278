"""Engines that share work are one group, whatever the order in which they come."""

from __future__ import annotations

from random import Random

import pytest
from fixtures.control_plane import Pool

from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.pool.reservation_settings import ReservationSettings
from sage_control_plane.request.engine_state import EngineSpec, EngineState, ModelCard
from sage_control_plane.request.request import RequestKind, Route

CHAT = frozenset({RequestKind.LLM_CHAT})


def engine(number: int, *models: str) -> EngineState:
    return EngineState(
        EngineSpec(f"e{number}", "x", tuple(ModelCard(name, CHAT) for name in models), max_concurrency=4)
    )


def groups(reservation: Reservation, entries: dict[str, EngineEntry]) -> set[frozenset[str]]:
    """The groups, each as the ids of its engines; checks that each knows its own."""
    found = set()
    for entry in entries.values():
        group = reservation.group(entry)
        assert entry in group.entries
        assert all(reservation.group(other) is group for other in group.entries)
        assert group.capacity == sum(other.capacity for other in group.entries)
        found.add(frozenset(other.engine_id for other in group.entries))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_engines_that_come_one_by_one_are_grouped_as_all_at_once(seed: int) -> None:
    random = Random(seed)
    pool = Pool()
    reservation = pool.manager._reservation
    for number in range(random.randrange(2, 25)):
        models = random.sample("abcdefgh", random.choice((0, 1, 1, 2)))
        pool.manager.engine_updated(engine(number, *models), pool.now)
        # Asked for each time, as a scheduler does, or only at the end.
        if random.random() < 0.7:
            groups(reservation, pool.manager.engines)
    together = Reservation(pool.manager.engines, ReservationSettings().prices)
    assert groups(reservation, pool.manager.engines) == groups(together, pool.manager.engines)


def test_a_route_without_an_engine_finds_the_group_of_one_that_comes() -> None:
    pool = Pool(engine(1, "a"))
    reservation = pool.manager._reservation
    route = Route("b", RequestKind.LLM_CHAT)
    groups(reservation, pool.manager.engines)
    assert reservation.seats(route) == 0
    pool.manager.engine_updated(engine(2, "b"), pool.now)
    assert reservation.seats(route) == 4
    assert reservation.seats(Route("a", RequestKind.LLM_CHAT)) == 4


def test_an_engine_that_serves_the_models_of_two_groups_makes_them_one() -> None:
    pool = Pool(engine(1, "a"), engine(2, "b"))
    reservation = pool.manager._reservation
    assert len(groups(reservation, pool.manager.engines)) == 2
    pool.manager.engine_updated(engine(3, "a", "b"), pool.now)
    assert len(groups(reservation, pool.manager.engines)) == 1
    assert reservation.seats(Route("a", RequestKind.LLM_CHAT)) == 12
