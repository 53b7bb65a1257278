"""Who has the leases' bucket moved, and what an answer that does not come is to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from sage_scheduler import lease_placement
from sage_scheduler.lease_placement import LeasePlacement


async def test_only_the_leader_of_the_first_pool_has_it_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def moved(bucket: object, *, own_server: str) -> str:
        asked.append(own_server)
        return "b"

    monkeypatch.setattr(lease_placement, "lead_elsewhere", moved)
    bucket: Any = object()
    assert await LeasePlacement(bucket, lambda: False, "a").look()
    assert asked == []
    with capture_logs() as logs:
        assert await LeasePlacement(bucket, lambda: True, "a").look()
    assert (asked, [entry["server"] for entry in logs]) == (["a"], ["b"])


async def test_a_server_that_does_not_answer_is_no_fault_of_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(bucket: object, *, own_server: str) -> str:
        raise asyncio.TimeoutError

    monkeypatch.setattr(lease_placement, "lead_elsewhere", silent)
    bucket: Any = object()
    with capture_logs() as logs:
        assert not await LeasePlacement(bucket, lambda: True, "a").look()
    assert logs[0]["log_level"] == "warning"
