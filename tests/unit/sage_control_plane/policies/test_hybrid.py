"""Bands, fair flows, laxity and feasibility of the hybrid policy."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.pool_view import FakePoolView

from sage_control_plane.policies.bands import Band
from sage_control_plane.policies.hybrid import FADING_SECONDS, HybridSchedulingPolicy
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.pick import Pick
from sage_control_plane.policies.virtual_counters import VirtualCounters
from sage_control_plane.request.request import PendingRequest, Priority, ServiceClass, ServiceLevel
from sage_control_plane.settings import ControlSettings

BULK_FULL = {(Band.BULK, False), (Band.BULK, True)}


def bulk(request_id: str, arrived_at: float = 0.0, tenant: str = "default") -> PendingRequest:
    made = request(request_id, arrived_at, service_class=ServiceClass.BULK, tenant=tenant)
    classification = replace(made.classification, slo=ServiceLevel(end_to_end_ms=3_600_000), sheddable=True)
    return replace(made, classification=classification)


def push(policy: HybridSchedulingPolicy, view: FakePoolView, *requests: PendingRequest, now: float = 0.0) -> None:
    for item in requests:
        policy.push(item, Lane(item.classification.route), now, view)


def serve(policy: HybridSchedulingPolicy, view: FakePoolView, now: float = 0.0, cost: float = 0.1) -> Pick | None:
    pick = policy.next(now, view)
    if pick is not None:
        policy.remove(pick.request.request_id)
        policy.dispatched(pick.request, cost, now)
    return pick


def served_ids(policy: HybridSchedulingPolicy, view: FakePoolView, now: float = 0.0) -> list[str]:
    served = []
    while (pick := serve(policy, view, now)) is not None:
        served.append(pick.request.request_id)
    return served


def test_bands_go_in_order_of_importance() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    push(
        policy,
        view,
        bulk("bulk"),
        request("generate", service_class=ServiceClass.DEFAULT),
        request("chat"),
        request("vector", service_class=ServiceClass.EMBEDDING),
        request("critical", priority=Priority.CRITICAL),
    )
    assert served_ids(policy, view) == ["critical", "vector", "chat", "generate", "bulk"]


def test_bulk_work_waits_where_its_seat_is_kept_for_others_and_is_looked_at_again() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView(full_for=BULK_FULL)
    push(policy, view, request("chat"), bulk("bulk"))
    assert served_ids(policy, view) == ["chat"]
    assert policy.next_change_at() == FADING_SECONDS
    view.full_for = set()
    pick = policy.next(FADING_SECONDS, view)
    assert pick is not None
    assert (pick.request.request_id, pick.band) == ("bulk", "bulk")


def test_every_band_asks_for_room_of_its_own() -> None:
    view = FakePoolView(full_for={(Band.INTERACTIVE, False), (Band.DEFAULT, True)})
    policy = HybridSchedulingPolicy()
    push(policy, view, request("chat"), request("generate", service_class=ServiceClass.DEFAULT), bulk("bulk"))
    assert served_ids(policy, view) == ["generate", "bulk"]
    view.full_for.clear()
    assert served_ids(policy, view) == ["chat"]


def test_a_band_that_waits_and_holds_no_seat_is_served_whatever_is_kept() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(starvation_seconds=5.0)), FakePoolView(full_for=BULK_FULL)
    push(policy, view, bulk("first"), bulk("second"))
    for step in range(50):
        push(policy, view, request(f"chat{step}", step * 0.1), now=step * 0.1)
        pick = serve(policy, view, now=step * 0.1)
        assert pick is not None
        assert pick.band == "interactive"
    push(policy, view, request("chat", 5.0), now=5.0)
    assert [serve(policy, view, now=5.0).request.request_id for _ in range(2)] == ["first", "chat"]  # type: ignore[union-attr]
    assert policy.next(9.9, view) is None
    pick = policy.next(10.0, view)
    assert pick is not None
    assert pick.request.request_id == "second"


def test_a_band_that_holds_a_seat_does_not_starve() -> None:
    policy = HybridSchedulingPolicy(HybridSettings(starvation_seconds=5.0))
    view = FakePoolView(full_for=BULK_FULL, holding={Band.BULK})
    push(policy, view, bulk("second"))
    assert policy.next(60.0, view) is None
    view.holding.clear()
    pick = policy.next(60.0, view)
    assert pick is not None
    assert pick.request.request_id == "second"


def test_late_requests_go_before_those_of_less_urgent_bands_by_arrival() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    late = [request("late b", 0.2), request("late a", 0.1)]
    push(policy, view, *late, request("generate", 0.8, service_class=ServiceClass.DEFAULT), bulk("bulk"), now=0.8)
    push(policy, view, request("fresh", 0.9), now=0.9)
    served = [(pick.request.request_id, pick.band) for _ in range(5) if (pick := serve(policy, view, now=1.0))]
    assert served == [
        ("fresh", "interactive"),
        ("late a", "interactive, late"),
        ("late b", "interactive, late"),
        ("generate", "default"),
        ("bulk", "bulk"),
    ]


def test_late_requests_leave_room_to_the_fresh_of_their_own_band() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView(full_for={(Band.INTERACTIVE, True)})
    push(policy, view, request("late", 0.0), now=0.0)
    assert policy.next(0.8, view) is None
    push(policy, view, request("fresh", 0.8), now=0.8)
    assert served_ids(policy, view, now=0.8) == ["fresh"]
    view.full_for.clear()
    assert served_ids(policy, view, now=0.8) == ["late"]


def test_the_tenant_that_was_served_least_goes_first() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    push(policy, view, *(request(f"g{n}", tenant="greedy") for n in range(100)))
    push(policy, view, *(request(f"m{n}", tenant="modest") for n in range(10)))
    first = [serve(policy, view).request.tenant for _ in range(20)]  # type: ignore[union-attr]
    assert Counter(first) == {"greedy": 10, "modest": 10}


def test_weights_share_service_out() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(weights={"large": 3.0})), FakePoolView()
    push(policy, view, *(request(f"{tenant}{n}", tenant=tenant) for n in range(100) for tenant in ("large", "small")))
    first = Counter(serve(policy, view).request.tenant for _ in range(80))  # type: ignore[union-attr]
    assert 58 <= first["large"] <= 62


def test_a_tenant_far_ahead_has_no_claim_on_its_band() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(lead_seconds=0.5)), FakePoolView()
    push(policy, view, *(request(f"g{n}", tenant="greedy") for n in range(100)))
    push(policy, view, request("modest", tenant="modest", service_class=ServiceClass.DEFAULT))
    bands = [serve(policy, view).band for _ in range(10)]  # type: ignore[union-attr]
    assert bands.count("default") == 1
    assert bands.index("default") in (5, 6)


def test_bulk_work_of_a_tenant_that_is_far_behind_goes_before_more_of_the_greedy_ones_chats() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(bulk_lead_seconds=1.0)), FakePoolView()
    push(policy, view, *(request(f"g{n}", tenant="greedy") for n in range(100)))
    push(policy, view, *(bulk(f"b{n}", tenant="modest") for n in range(20)))
    tenants = [serve(policy, view).request.tenant for _ in range(40)]  # type: ignore[union-attr]
    # Ten chats of 0.1 s are the lead; after that both get the same.
    assert tenants[:10] == ["greedy"] * 10
    assert 14 <= tenants[10:].count("modest") <= 16


def test_bulk_work_is_not_held_against_a_tenants_chats() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    push(policy, view, *(bulk(f"b{n}", tenant="worker") for n in range(50)))
    for _ in range(50):
        serve(policy, view)
    push(policy, view, *(request(f"w{n}", tenant="worker") for n in range(10)))
    push(policy, view, *(request(f"o{n}", tenant="other") for n in range(10)))
    first = Counter(serve(policy, view).request.tenant for _ in range(10))  # type: ignore[union-attr]
    assert first == {"worker": 5, "other": 5}


def test_who_begins_with_bulk_work_has_no_claim_for_the_time_before() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(bulk_lead_seconds=1.0)), FakePoolView()
    push(policy, view, *(request(f"g{n}", tenant="busy") for n in range(200)))
    for _ in range(100):
        serve(policy, view)
    push(policy, view, *(bulk(f"b{n}", tenant="new") for n in range(50)))
    tenants = [serve(policy, view).request.tenant for _ in range(11)]  # type: ignore[union-attr]
    assert tenants[:10] == ["busy"] * 10


def test_after_a_pause_a_tenant_may_run_ahead_by_its_credit_and_no_further() -> None:
    policy, view = HybridSchedulingPolicy(HybridSettings(credit_seconds=0.5)), FakePoolView()
    push(policy, view, *(request(f"g{n}", tenant="greedy") for n in range(200)))
    push(policy, view, request("early", tenant="modest"))
    for _ in range(100):
        serve(policy, view)
    push(policy, view, *(request(f"m{n}", tenant="modest") for n in range(20)))
    tenants = [serve(policy, view).request.tenant for _ in range(20)]  # type: ignore[union-attr]
    assert 5 <= [*tenants, "greedy"].index("greedy") <= 6
    assert 5 <= tenants[6:].count("modest") <= 9


def test_within_a_flow_the_one_that_can_wait_least_goes_first() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    patient = request("patient", 0.0)
    patient = replace(patient, classification=replace(patient.classification, slo=ServiceLevel(ttft_ms=5000)))
    push(policy, view, patient, request("hurried", 1.0), now=1.0)
    assert served_ids(policy, view, now=1.0) == ["hurried", "patient"]


def test_what_cannot_be_met_any_more_gives_way() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    view.begins_after_seconds = 0.2
    push(policy, view, request("late", 0.0), request("on time", 0.4), now=0.4)
    picks = [serve(policy, view, now=0.4) for _ in range(2)]
    assert [(pick.request.request_id, pick.band) for pick in picks if pick] == [
        ("on time", "interactive"),
        ("late", "interactive, late"),
    ]


def test_what_may_be_shed_and_cannot_be_met_is_refused() -> None:
    policy, view = HybridSchedulingPolicy(), FakePoolView()
    push(policy, view, bulk("hopeless", arrived_at=-4000.0))
    pick = policy.next(0.0, view)
    assert pick is not None
    assert pick.shed


def test_a_shed_request_gets_429_with_a_time_to_come_back() -> None:
    pool = Pool(engine("e", concurrency=1), policy="hybrid", settings=ControlSettings(headroom=0.0))
    late = replace(bulk("late", pool.now - 4000.0), expires_at=pool.now + 60)
    pool.submit(late)
    (refusal,) = pool.refusals()
    assert refusal.error.code == "queue_full"
    assert refusal.error.retry_after_seconds


def test_a_tenant_that_wakes_has_no_credit_from_its_sleep() -> None:
    counters = VirtualCounters({})
    counters.joined("busy")
    counters.charge("busy", 100.0)
    counters.joined("waking")
    assert counters.value("waking") == pytest.approx(100.0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="margin is"):
        HybridSettings(margin=1.0)
    with pytest.raises(ValueError, match="weight of tenant 'x'"):
        HybridSettings(weights={"x": 0.0})
