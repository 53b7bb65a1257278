"""The measurement measures what it says."""

from __future__ import annotations

import pytest

from sage_benchmark.decision_rate import measure
from sage_control_plane.policies.registry import policy_names


@pytest.mark.parametrize("policy", policy_names())
def test_the_queue_stays_as_deep_as_stated_while_requests_go_through(policy: str) -> None:
    rate = measure(policy, engines=3, queued=200, requests=300)
    assert (rate.policy, rate.engines) == (policy, 3)
    # A policy that holds work back keeps a deeper queue.
    assert rate.queued >= 200
    assert rate.per_second > 0
