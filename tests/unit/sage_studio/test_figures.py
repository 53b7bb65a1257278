"""Rates, queues and attainment of the latest requests."""

from __future__ import annotations

import pytest
from fixtures.seen_requests import NOW_UNIX_MS, seen, view

from sage_studio.figures import attainment, rates, targets_met, tpot_ms, waiting


def test_rates_count_the_last_ten_seconds() -> None:
    requests = [
        seen(arrived_ms_ago=2000),
        seen(arrived_ms_ago=12_000, changed_ms_ago=500, ended_after_ms=11_500.0, queue_ms=9_000.0),
        seen(arrived_ms_ago=60_000, changed_ms_ago=50_000),
    ]
    measured = rates(requests, NOW_UNIX_MS)
    assert (measured.arrived, measured.ended, measured.tokens) == (0.1, 0.2, 2.0)
    assert measured.placed == {"a": 0.2}


def test_what_waits_is_counted_by_class_and_tenant() -> None:
    requests = [
        seen(state="queued"),
        seen(state="queued"),
        seen(state="queued", tenant="bob", service_class="bulk"),
        seen(state="running"),
    ]
    assert list(waiting(requests).items()) == [(("interactive", "ann"), 2), (("bulk", "bob"), 1)]


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"ttft_ms": 501.0}, False),
        # Nine tokens after the first in 500 ms take more than 50 ms each.
        ({"ended_after_ms": 600.0}, False),
        ({"slo_end_to_end_ms": 500}, False),
        ({"state": "refused", "ttft_ms": None}, False),
        ({"state": "cancelled"}, None),
        ({"state": "running", "ended_after_ms": None}, None),
        ({"slo_ttft_ms": 0, "slo_tpot_ms": 0}, None),
        ({"output_tokens": None, "ended_after_ms": 90_000.0}, True),
    ],
)
def test_targets_are_kept_missed_or_not_there(changes: dict[str, object], met: bool | None) -> None:
    assert targets_met(view(**{"ended_after_ms": 550.0, **changes})) is met


def test_a_token_takes_its_share_of_the_time_after_the_first() -> None:
    assert tpot_ms(view(ttft_ms=100.0, ended_after_ms=190.0, output_tokens=10)) == 10.0
    assert tpot_ms(view(output_tokens=1)) is None
    assert tpot_ms(view(ttft_ms=None)) is None
    assert tpot_ms(view(streaming=False)) is None


def test_attainment_is_by_class_of_what_ended_lately() -> None:
    requests = [
        seen(ended_after_ms=300.0),
        seen(ended_after_ms=300.0, ttft_ms=501.0),
        seen(service_class="bulk", ended_after_ms=300.0),
        seen(arrived_ms_ago=400_000, ended_after_ms=300.0, ttft_ms=501.0),
    ]
    assert [(a.service_class, a.kept, a.ended) for a in attainment(requests, NOW_UNIX_MS)] == [
        ("bulk", 1, 1),
        ("interactive", 1, 2),
    ]
    assert attainment([], NOW_UNIX_MS) == []
