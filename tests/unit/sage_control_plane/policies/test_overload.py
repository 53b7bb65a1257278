"""Who is refused under a lasting overload, and who is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import request
from fixtures.pool_view import FakePoolView

from sage_control_plane.policies.bands import Band
from sage_control_plane.policies.hybrid import OVERLOADED, HybridSchedulingPolicy
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.overload import RATE_SECONDS, UNKNOWN_SECONDS, VAIN_DISPATCHES
from sage_control_plane.policies.pick import Pick
from sage_control_plane.request.request import PendingRequest, ServiceClass

# Chats have 500 ms, so they may wait for 10 s, in which 20 of them begin.
VIEW = FakePoolView(turnover_per_second=2.0)
MAY_WAIT = 20


class Overloaded:
    """A policy with 30 chats of one tenant that have become late, beside one that was dispatched."""

    def __init__(self, view: FakePoolView = VIEW) -> None:
        self.view = view
        self.policy = HybridSchedulingPolicy(HybridSettings(late_multiple=20.0, starvation_seconds=1000.0))
        for number in range(31):
            self.push(request(f"c{number}", 0.0, tenant="loud"), 0.0)
        self.serve(0.0)
        self.refused: list[str] = []

    def push(self, made: PendingRequest, now: float) -> None:
        self.policy.push(made, Lane(made.classification.route), now, self.view)

    def serve(self, now: float) -> Pick:
        """Dispatch the next request; refuse those before it that the policy refuses."""
        while (pick := self.policy.next(now, self.view)) is not None:
            assert self.policy.remove(pick.request.request_id)
            if pick.shed is None:
                self.policy.dispatched(pick.request, 0.1, now)
                return pick
            self.refused.append(pick.request.request_id)
        raise AssertionError("nothing is queued")

    def refusal(
        self, now: float, tenant: str = "loud", service_class: ServiceClass = ServiceClass.INTERACTIVE
    ) -> str | None:
        """Why one more would be refused that arrives behind one that can still meet its target."""
        waiting = request(f"waiting {now}", now, tenant=tenant, service_class=service_class)
        self.push(waiting, now)
        answer = self.policy.refusal(request("more", now, tenant=tenant, service_class=service_class), now, self.view)
        self.policy.remove(waiting.request_id)
        return answer


def test_as_many_may_be_late_as_begin_before_they_are_far_beyond_their_target() -> None:
    overloaded = Overloaded()
    pick = overloaded.serve(1.0)
    assert pick.band == "interactive, late"
    assert len(overloaded.refused) == 30 - MAY_WAIT
    assert len(overloaded.policy) == MAY_WAIT - 1


def test_the_overload_of_a_model_refuses_nobody_who_wants_another() -> None:
    overloaded = Overloaded()
    overloaded.serve(1.0)
    assert overloaded.refusal(1.0) == OVERLOADED
    overloaded.push(request("waiting", 1.0, tenant="loud"), 1.0)
    other = request("other", 1.0, tenant="loud", model="other")
    assert overloaded.policy.refusal(other, 1.0, overloaded.view) is None


def test_once_some_were_refused_those_that_cannot_begin_in_time_are_refused_as_they_come() -> None:
    overloaded = Overloaded()
    assert overloaded.refusal(0.5) is None
    overloaded.serve(1.0)
    assert overloaded.refusal(1.0) == OVERLOADED
    # It ends when none had to be refused for a while.
    overloaded.serve(1.1 + RATE_SECONDS)
    assert overloaded.refusal(1.1 + RATE_SECONDS) is None


def test_one_that_finds_nobody_before_it_is_never_refused() -> None:
    overloaded = Overloaded()
    overloaded.serve(1.0)
    assert overloaded.policy.refusal(request("more", 1.0, tenant="loud"), 1.0, VIEW) is None


def test_where_only_fresh_ones_are_dispatched_the_late_wait_in_vain() -> None:
    overloaded = Overloaded()
    overloaded.view = FakePoolView(turnover_per_second=2.0, full_for={(Band.INTERACTIVE, True)})
    overloaded.policy.next(0.6, overloaded.view)
    refused = len(overloaded.refused)
    answers = []
    for step in range(VAIN_DISPATCHES + 1):
        now = 0.7 + 0.5 * step
        overloaded.push(request(f"fresh{step}", now, tenant="other"), now)
        assert overloaded.serve(now).band == "interactive"
        answers.append(overloaded.refusal(now, tenant="third"))
    assert len(overloaded.refused) - refused == 30 - MAY_WAIT
    # Nobody else has refused anything to the third tenant, and its own queue is short: it is the engines that are full.
    assert answers[0] is None
    assert answers[-1] == OVERLOADED


def test_another_tenant_is_not_refused_for_it() -> None:
    overloaded = Overloaded()
    overloaded.serve(1.0)
    assert overloaded.refusal(1.0) == OVERLOADED
    assert overloaded.refusal(1.0, tenant="quiet") is None


@pytest.mark.parametrize("service_class", [ServiceClass.EMBEDDING, ServiceClass.BULK])
def test_vectors_and_bulk_work_wait(service_class: ServiceClass) -> None:
    policy = HybridSchedulingPolicy()
    for number in range(100):
        made = request(f"r{number}", 0.0, service_class=service_class)
        policy.push(made, Lane(made.classification.route), 0.0, VIEW)
    for now in (0.0, 1.0, 1.5, 100.0):
        pick = policy.next(now, VIEW)
        assert pick is not None
        assert pick.shed is None
        policy.remove(pick.request.request_id)
        policy.dispatched(pick.request, 0.1, now)
        assert policy.refusal(request("more", now, service_class=service_class), now, VIEW) is None


def test_nothing_is_refused_while_it_is_not_known_how_fast_requests_begin() -> None:
    overloaded = Overloaded(FakePoolView(turnover_per_second=0.0))
    overloaded.serve(1.0)
    assert overloaded.refused == []
    silent = Overloaded()
    # Nothing was dispatched for a while: engines are away rather than too slow.
    silent.serve(UNKNOWN_SECONDS + 0.1)
    assert silent.refused == []


def test_what_has_waited_far_beyond_its_target_is_refused_when_it_is_due() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(late_multiple=20.0)), FakePoolView()
    made = request("late", 0.0)
    policy.push(made, Lane(made.classification.route), 0.0, view)
    policy.close(Lane(made.classification.route))
    policy.open(Lane(made.classification.route))
    pick = policy.next(1.0, view)
    assert pick is not None
    assert pick.shed is None
    policy.close(Lane(made.classification.route))
    assert policy.next(9.9, view) is None
    assert policy.next_change_at() == 10.0
    pick = policy.next(10.0, view)
    assert pick is not None
    assert pick.shed


def test_what_goes_on_from_a_part_of_its_answer_is_not_refused() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    made = replace(request("goes on", 0.0), delivered_tokens=10)
    policy.push(made, Lane(made.classification.route), 0.0, view)
    for now in (1.0, 60.0):
        pick = policy.next(now, view)
        assert pick is not None
        assert pick.shed is None
