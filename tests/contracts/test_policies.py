"""What every scheduling policy promises, checked on every policy of the registry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.interpreted_only import interpreted_only
from fixtures.pool_view import FakePoolView

from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.policy import SchedulingPolicy
from sage_control_plane.policies.priority import LEVELS, PrioritySettings
from sage_control_plane.policies.registry import PolicySettings, make_policy, policy_names
from sage_control_plane.request.request import PendingRequest, Priority, RequestKind, Route, ServiceClass
from sage_control_plane.settings import ControlSettings

SETTINGS = PolicySettings(priority=PrioritySettings(ageing_seconds=5.0))
# A request is overtaken by none that arrives this many seconds after it, or later.
OVERTAKEN_WITHIN_SECONDS = {
    "fifo": 0.0,
    "priority": LEVELS * SETTINGS.priority.ageing_seconds,
    # All requests here have the same target.
    "slo_aware": 0.0,
}
# Hybrid's bound is of another kind: a band that waits is served so often.
LONGEST_WAIT_SECONDS = {**OVERTAKEN_WITHIN_SECONDS, "hybrid": SETTINGS.hybrid.starvation_seconds}

pytestmark = pytest.mark.parametrize("name", policy_names())

VIEW = FakePoolView()


def mixed(count: int, seed: int) -> list[PendingRequest]:
    """Requests of every class, priority, size and three tenants and models, arriving over a while."""
    random = Random(seed)
    now = 0.0
    made = []
    for number in range(count):
        now += random.expovariate(10)
        made.append(
            request(
                f"r{number}",
                now,
                model=random.choice("mno"),
                service_class=random.choice(list(ServiceClass)),
                priority=random.choice(list(Priority)),
                tokens=random.choice([10, 100, 1000]),
                tenant=random.choice(["x", "y", "z"]),
                timeout=1e6,
            )
        )
    return made


def lane(item: PendingRequest) -> Lane:
    return Lane(item.classification.route)


def filled(name: str, requests: list[PendingRequest]) -> SchedulingPolicy:
    policy = make_policy(name, SETTINGS)
    for item in requests:
        policy.push(item, lane(item), item.arrived_at, VIEW)
    return policy


def drain(policy: SchedulingPolicy, now: float) -> Iterator[PendingRequest]:
    while (pick := policy.next(now, VIEW)) is not None:
        assert policy.remove(pick.request.request_id)
        policy.dispatched(pick.request, 0.01, now)
        yield pick.request


def test_nothing_is_lost_and_nothing_is_served_twice(name: str) -> None:
    requests = mixed(500, seed=1)
    policy = filled(name, requests)
    assert len(policy) == 500
    served = [item.request_id for item in drain(policy, requests[-1].arrived_at)]
    assert sorted(served) == sorted(item.request_id for item in requests)
    assert len(policy) == 0


def test_what_is_removed_is_not_served(name: str) -> None:
    requests = mixed(200, seed=2)
    policy = filled(name, requests)
    gone = Random(3).sample([item.request_id for item in requests], 80)
    assert all(policy.remove(request_id) for request_id in gone)
    assert not any(policy.remove(request_id) for request_id in gone)
    served = {item.request_id for item in drain(policy, requests[-1].arrived_at)}
    assert served == {item.request_id for item in requests} - set(gone)


def test_asking_what_is_next_changes_nothing(name: str) -> None:
    requests = mixed(50, seed=4)
    policy = filled(name, requests)
    now = requests[-1].arrived_at
    assert policy.next(now, VIEW) == policy.next(now, VIEW)
    assert len(policy) == 50


def test_nobody_starves_beyond_the_stated_bound(name: str) -> None:
    if name not in OVERTAKEN_WITHIN_SECONDS:
        pytest.skip("its bound is on the wait of a band, tested below and with the policy")
    requests = mixed(600, seed=5)
    served = list(drain(filled(name, requests), requests[-1].arrived_at))
    newest_so_far = -math.inf
    for item in served:
        assert newest_so_far - item.arrived_at <= OVERTAKEN_WITHIN_SECONDS[name] + 1e-9
        newest_so_far = max(newest_so_far, item.arrived_at)


def test_a_steady_stream_of_urgent_work_does_not_starve_a_batch(name: str) -> None:
    pool = Pool(engine("e", concurrency=1), policy=name, settings=ControlSettings(headroom=0.0, policies=SETTINGS))
    pool.submit(request("first", pool.now), request("batch", pool.now, service_class=ServiceClass.BULK, timeout=1e6))
    started, step = pool.now, 0
    while "batch" not in pool.running:
        step += 1
        pool.now += 0.1
        pool.manager.submit(request(f"chat{step}", pool.now), pool.now)
        pool.finish(next(iter(pool.running)))
        assert pool.now - started <= LONGEST_WAIT_SECONDS[name] + 1.0


def test_the_same_requests_are_served_in_the_same_order(name: str) -> None:
    requests = mixed(300, seed=6)
    now = requests[-1].arrived_at
    assert list(drain(filled(name, requests), now)) == list(drain(filled(name, requests), now))


def test_a_closed_lane_is_passed_over_until_it_opens(name: str) -> None:
    requests = mixed(90, seed=7)
    policy = filled(name, requests)
    now = requests[-1].arrived_at
    policy.close(Lane(Route("n", RequestKind.LLM_CHAT)))
    first = list(drain(policy, now))
    assert {item.classification.model for item in first} == {"m", "o"}
    policy.open(Lane(Route("n", RequestKind.LLM_CHAT)))
    assert {item.classification.model for item in drain(policy, now)} == {"n"}


def test_switching_to_it_and_away_keeps_every_request(name: str) -> None:
    pool = Pool(engine("e", "m", "n", "o", concurrency=1), policy="fifo")
    # All arrive now: a policy may refuse what has waited for far too long.
    requests = [replace(item, arrived_at=pool.now) for item in mixed(100, seed=8)]
    pool.submit(*requests)
    pool.manager.set_policy(name, pool.now)
    for _ in range(30):
        pool.finish(next(iter(pool.running)))
    pool.manager.set_policy("priority", pool.now)
    while pool.running:
        pool.finish(next(iter(pool.running)))
    assert sorted(d.request_id for d in pool.dispatches()) == sorted(item.request_id for item in requests)


class Counted(float):
    """A time that counts how often it is compared, and stays counted through arithmetic."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        Counted.comparisons += 1
        return float.__lt__(self, other)

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return float.__eq__(self, other)

    __hash__ = float.__hash__

    def __add__(self, other: float) -> Counted:
        return Counted(float.__add__(self, other))

    __radd__ = __add__

    def __sub__(self, other: float) -> Counted:
        return Counted(float.__sub__(self, other))


def comparisons_per_request(name: str, count: int) -> float:
    """Comparisons of times for one push and one removal each, in an order that has nothing to do with arrival."""
    requests = mixed(count, seed=9)
    Random(10).shuffle(requests)
    policy = make_policy(name, SETTINGS)
    Counted.comparisons = 0
    for item in requests:
        counted = request(
            item.request_id,
            Counted(item.arrived_at),
            model=item.classification.model,
            service_class=item.classification.service_class,
            tenant=item.tenant,
        )
        policy.push(counted, lane(counted), 0.0, VIEW)
    assert sum(1 for _ in drain(policy, 1e6)) == count
    return Counted.comparisons / count


@interpreted_only
def test_the_cost_of_a_request_grows_with_the_logarithm_of_the_queue(name: str) -> None:
    small, large = comparisons_per_request(name, 500), comparisons_per_request(name, 16_000)
    assert small > 1  # the times are what orders, so they were counted
    # Five doublings: a logarithm adds a constant to each, while anything linear would grow 32-fold.
    assert large <= small * 2.2
    assert large <= 20 * math.log2(16_000)
