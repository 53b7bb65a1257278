"""Running a request on an engine of this process."""

from __future__ import annotations

import asyncio

import pytest
from fixtures.engines import FakeEngine

from sage_common.errors import EngineFailedError, InternalError
from sage_control_plane.request.request import Endpoint
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.executor.direct_call import direct_request, run_here


async def test_an_answer_has_the_head_that_one_over_the_ring_has() -> None:
    engine = FakeEngine()
    async with run_here(engine, direct_request(Endpoint.CHAT_COMPLETIONS, b"body", "fake")) as reply:
        head = await reply.head()
        assert (head.engine_id, head.model, head.tries) == ("fake-0", "fake", 1)
        assert await reply.read() == b"body"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 2)
    assert engine.jobs[0].model == "fake"


async def test_an_engines_failure_is_the_replys() -> None:
    async def refuse(_job: EngineRequest, _reply: ReplyWriter) -> None:
        raise EngineFailedError("no")

    async def crash(_job: EngineRequest, _reply: ReplyWriter) -> None:
        raise ZeroDivisionError("oh")

    async with run_here(FakeEngine(behaviour=refuse), direct_request(Endpoint.COMPLETIONS, b"", "fake")) as reply:
        with pytest.raises(EngineFailedError, match="no"):
            await reply.head()
    async with run_here(FakeEngine(behaviour=crash), direct_request(Endpoint.COMPLETIONS, b"", "fake")) as reply:
        with pytest.raises(InternalError, match="ZeroDivisionError: oh"):
            await reply.head()


async def test_leaving_the_context_cancels_the_work() -> None:
    async def stall(_job: EngineRequest, _reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    engine = FakeEngine(behaviour=stall)
    async with run_here(engine, direct_request(Endpoint.COMPLETIONS, b"", "fake")):
        await asyncio.wait_for(engine.job_arrived.wait(), 5)
    assert engine.job_cancelled.is_set()
