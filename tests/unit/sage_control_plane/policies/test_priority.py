"""Urgent first, and nobody starves: the bound that the policy states."""

from __future__ import annotations

from fixtures.control_plane import request
from fixtures.pool_view import FakePoolView
from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.priority import LEVELS, PrioritySchedulingPolicy
from sage_control_plane.request.request import PendingRequest, Priority, ServiceClass

AGEING = 5.0
VIEW = FakePoolView()


def order(requests: list[PendingRequest]) -> list[str]:
    policy = PrioritySchedulingPolicy(AGEING)
    for item in requests:
        policy.push(item, Lane(item.classification.route), 0.0, VIEW)
    served = []
    while (pick := policy.next(0.0, VIEW)) is not None:
        policy.remove(pick.request.request_id)
        served.append(pick.request.request_id)
    return served


def test_classes_go_in_order_of_their_targets() -> None:
    requests = [request(c.name, service_class=c) for c in reversed(ServiceClass)]
    assert order(requests) == ["INTERACTIVE", "EMBEDDING", "DEFAULT", "BULK"]


def test_a_callers_priority_moves_a_request_among_the_classes() -> None:
    requests = [
        request("chat"),
        request("critical batch", service_class=ServiceClass.BULK, priority=Priority.CRITICAL),
        request("background chat", priority=Priority.BACKGROUND),
        request("critical chat", priority=Priority.CRITICAL),
    ]
    assert order(requests) == ["critical chat", "chat", "critical batch", "background chat"]


def test_equal_requests_go_by_arrival() -> None:
    requests = [request("late", 2.0), request("early", 1.0), request("first", 0.5)]
    assert order(requests) == ["first", "early", "late"]


def test_a_bulk_request_that_has_waited_goes_before_fresh_chat() -> None:
    bulk = request("bulk", 0.0, service_class=ServiceClass.BULK)
    levels_ahead = 3
    assert order([bulk, request("chat", levels_ahead * AGEING - 0.1)]) == ["chat", "bulk"]
    assert order([bulk, request("chat", levels_ahead * AGEING + 0.1)]) == ["bulk", "chat"]


REQUEST = st.tuples(st.floats(0, 200), st.sampled_from(ServiceClass), st.sampled_from(Priority))


@given(st.lists(REQUEST, min_size=2, max_size=40))
def test_nobody_is_overtaken_from_beyond_the_bound(drawn: list[tuple[float, ServiceClass, Priority]]) -> None:
    requests = {
        str(n): request(str(n), at, service_class=service_class, priority=priority)
        for n, (at, service_class, priority) in enumerate(drawn)
    }
    served = order(list(requests.values()))
    for position, request_id in enumerate(served):
        for overtaker in served[:position]:
            assert requests[overtaker].arrived_at - requests[request_id].arrived_at <= LEVELS * AGEING + 1e-9
