"""Requests of a pool without leader are kept and sent again."""

from __future__ import annotations

import asyncio

from fixtures.manual_clock import ManualClock

from sage.inference.v1 import request_pb2
from sage_common.clock import MonotonicClock
from sage_mesh.pool_sender import KEEP_SECONDS, PoolSender
from sage_platform import subjects
from sage_platform.ring import Ring


def request(request_id: str, pool: str) -> request_pb2.ClassifiedRequest:
    return request_pb2.ClassifiedRequest(
        request=request_pb2.InferenceRequest(request_id=request_id),
        classification=request_pb2.Classification(pool=pool),
    )


async def test_what_a_leaderless_pool_did_not_get_reaches_its_next_leader_once(ring: Ring) -> None:
    sender = PoolSender(ring, MonotonicClock())
    for number in range(5):
        sender.send(request(str(number), "kept"))
    while sender.kept < 5:
        await ring.flush()
    got: list[str] = []
    all_there = asyncio.Event()

    def lead(items: list[request_pb2.ClassifiedRequest]) -> None:
        got.extend(item.request.request_id for item in items)
        if len(got) >= 5:
            all_there.set()

    await ring.subscribe(subjects.schedule("kept"), request_pb2.ClassifiedRequestBatch, lead)
    await asyncio.wait_for(all_there.wait(), 5)
    assert got == [str(number) for number in range(5)]
    assert sender.kept == 0
    await sender.close()


async def test_it_gives_up_after_a_while_because_the_edge_takes_over_then(ring: Ring) -> None:
    clock = ManualClock()
    sender = PoolSender(ring, clock)
    sender.send(request("r", "dropped"))
    while not sender.kept:
        await ring.flush()
    clock.advance(KEEP_SECONDS)
    while sender.kept:
        await asyncio.sleep(0)
        await ring.flush()
    await sender.close()
    assert sender.kept == 0
