"""How many stand before one more of a tenant's requests."""

from __future__ import annotations

from sage_control_plane.policies.fair_flows import TENANTS_ASKED, FairFlows
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.virtual_counters import VirtualCounters
from sage_control_plane.request.request import RequestKind, Route

CHATS = Route("m", RequestKind.LLM_CHAT)
OTHERS = Route("other", RequestKind.LLM_CHAT)
BOTH = frozenset((CHATS, OTHERS))


class Queue:
    """Flows of tenants with the charges that the test makes."""

    def __init__(self) -> None:
        self.counters = VirtualCounters({})
        self.flows = FairFlows(self.counters, set())
        self._number = 0

    def push(self, tenant: str, requests: int, route: Route = CHATS) -> None:
        for _ in range(requests):
            self._number += 1
            self.flows.push(f"r{self._number}", tenant, Lane(route), (0.0, self._number))

    def before(self, tenant: str, routes: frozenset[Route] = BOTH) -> int:
        return self.flows.turns_before(tenant, routes)


def test_a_tenant_waits_behind_its_own_and_as_many_turns_of_the_others() -> None:
    queue = Queue()
    queue.push("loud", 20)
    queue.push("quiet", 2)
    assert queue.before("loud") == 22
    assert queue.before("quiet") == 4


def test_who_was_served_less_goes_first_once_more() -> None:
    queue = Queue()
    queue.push("a", 3)
    queue.push("b", 1)
    queue.counters.charge("b", 1.0)
    assert queue.before("b") == 3
    assert queue.before("a") == 4
    assert queue.before("new") == 0


def test_a_newcomer_waits_for_all_who_were_served_less() -> None:
    queue = Queue()
    for number in range(10):
        queue.push(f"t{number}", 1)
    queue.push("served", 1)
    queue.counters.charge("served", 1.0)
    assert queue.before("served") == 11


def test_what_waits_for_other_seats_does_not_stand_before_it() -> None:
    queue = Queue()
    queue.push("a", 5, OTHERS)
    queue.push("a", 1)
    queue.push("b", 3)
    assert queue.before("a", frozenset((CHATS,))) == 2
    assert queue.before("a") == 9
    assert queue.flows.queued(frozenset((CHATS,))) == 4
    assert queue.flows.queued(BOTH) == 9


def test_of_many_tenants_some_stand_for_all() -> None:
    queue = Queue()
    for number in range(3 * TENANTS_ASKED):
        queue.push(f"t{number}", 2)
    # Two turns of each other, and two of its own; all have the same counter.
    assert abs(queue.before("t0") - 6 * TENANTS_ASKED) <= 6
