"""What an executor reports of an answer: its beginning where the end is yet to come, else both at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from fixtures.engines import Behaviour, FakeEngine, answer
from fixtures.mesh import open_mesh
from fixtures.nats import NatsProcess

from sage.inference.v1 import engine_pb2
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media
from sage_platform import subjects

FIRST_TOKEN, FINISHED = engine_pb2.REPORT_EVENT_FIRST_TOKEN, engine_pb2.REPORT_EVENT_FINISHED


async def in_two_turns(job: EngineRequest, reply: ReplyWriter) -> None:
    reply.head(Media.JSON)
    reply.data(job.body)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize(("behaviour", "events"), [(answer, [FINISHED]), (in_two_turns, [FIRST_TOKEN, FINISHED])])
async def test_an_answer_in_one_turn_of_the_loop_is_one_report(
    nats_server: NatsProcess, behaviour: Behaviour, events: list[int]
) -> None:
    reports: list[engine_pb2.Report] = []
    complete = asyncio.Event()

    def take(items: Sequence[engine_pb2.Report]) -> None:
        reports.extend(items)
        if items[-1].event == FINISHED:
            complete.set()

    async with open_mesh(nats_server) as mesh:
        await mesh.scheduler("s")
        await mesh.host(FakeEngine(behaviour=behaviour))
        ring = await mesh.new_ring()
        await ring.subscribe(subjects.report(DEFAULT_POOL), engine_pb2.ReportBatch, take)
        await ring.flush()
        assert await mesh.submit("r").read()
        await asyncio.wait_for(complete.wait(), 10)
    assert [report.event for report in reports] == events
    assert all(report.ttft_us > 0 and report.started_replying for report in reports)
