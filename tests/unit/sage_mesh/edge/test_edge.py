"""Edge and executor over a real nats-server, with the thinnest scheduler between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from fixtures.engines import Behaviour, FakeEngine, answer
from fixtures.manual_clock import ManualClock
from fixtures.mesh import CHAT, Mesh, open_mesh, until
from fixtures.nats import NatsProcess
from fixtures.steady_engine import events, read_asked
from structlog.testing import capture_logs

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_client.edge_factory import open_edge
from sage_common.errors import (
    CancelledError,
    DeadlineExceededError,
    EngineFailedError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from sage_control_plane.request.request import Endpoint
from sage_mesh.edge.edge import EdgeTimings
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.openai_answer import read_delta
from sage_mesh.reply import Media, Reply
from sage_mesh.sse import DONE, SseParser
from sage_mesh.wire.errors import error_to_wire
from sage_platform import subjects


@asynccontextmanager
async def mesh_of(
    nats_server: NatsProcess, behaviour: Behaviour = answer, timings: EdgeTimings | None = None, name: str = "a"
) -> AsyncIterator[Mesh]:
    """An engine of this behaviour behind the thinnest scheduler."""
    async with open_mesh(nats_server, name, timings=timings) as mesh:
        await mesh.host(FakeEngine(f"fake-{name}", behaviour))
        await mesh.dispatch_to(f"fake-{name}")
        yield mesh


async def test_a_request_is_answered_even_when_no_classifier_runs(nats_server: NatsProcess) -> None:
    async with mesh_of(nats_server) as mesh:
        reply = mesh.submit()
        head = await reply.head()
        assert (head.media, head.engine_id, head.queue_ms, head.tries) == (Media.JSON, "fake-a", 1.5, 1)
        assert await reply.read() == CHAT
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 2)
        assert mesh.edge.in_flight == 0


async def test_an_answer_of_megabytes_arrives_whole(nats_server: NatsProcess) -> None:
    async def large(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.JSON)
        reply.data(bytes(range(256)) * 12_000)

    async with mesh_of(nats_server, large) as mesh:
        assert await mesh.submit().read() == bytes(range(256)) * 12_000


async def test_pieces_arrive_one_by_one_while_the_engine_still_works(nats_server: NatsProcess) -> None:
    go_on = asyncio.Event()

    async def stream(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: one\n\n")
        await go_on.wait()
        reply.data(b"data: two\n\n")

    async with mesh_of(nats_server, stream) as mesh:
        reply = mesh.submit()
        pieces = aiter(reply)
        assert await anext(pieces) == b"data: one\n\n"
        assert not reply.ended
        go_on.set()
        assert await anext(pieces) == b"data: two\n\n"
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_bad_requests_fail_with_the_classifiers_error(nats_server: NatsProcess) -> None:
    async with mesh_of(nats_server) as mesh:
        with pytest.raises(InvalidRequestError, match="not valid JSON"):
            await mesh.submit("r1", b"{").head()
        with pytest.raises(NotFoundError, match="'nope' does not exist"):
            await mesh.submit("r2", b'{"model":"nope","messages":[{"role":"user","content":"x"}]}').head()


async def test_requests_with_one_callers_id_in_flight_are_each_answered(nats_server: NatsProcess) -> None:
    async with mesh_of(nats_server) as mesh:
        first = mesh.submit("same")
        second = mesh.submit("same", CHAT + b" ")
        assert (first.correlation_id, second.correlation_id) == ("same", "same")
        assert await asyncio.wait_for(asyncio.gather(first.read(), second.read()), 5) == [CHAT, CHAT + b" "]
        assert {job.request_id for job in mesh.engine.jobs} == {first.request_id, second.request_id}
        assert len({first.request_id, second.request_id, "same"}) == 3


@pytest.mark.parametrize("own_edge", [False, True])
async def test_cancelling_one_of_two_requests_with_one_callers_id_leaves_the_others_stream_whole(
    nats_server: NatsProcess, own_edge: bool
) -> None:
    go_on = asyncio.Event()

    async def stream(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: one\n\n")
        await go_on.wait()
        reply.data(b"data: two\n\n")

    async with mesh_of(nats_server, stream) as mesh:
        ring = await mesh.new_ring()
        edge = (await open_edge(ring, "other-edge")).edge if own_edge else mesh.edge
        first = mesh.submit("same")
        pieces = aiter(first)
        assert await anext(pieces) == b"data: one\n\n"
        second = edge.submit(InferenceRequest("same", Endpoint.CHAT_COMPLETIONS, CHAT))
        await asyncio.wait_for(second.head(), 5)
        second.cancel()
        await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)
        assert mesh.engine.cancelled == [second.request_id]
        go_on.set()
        assert await asyncio.wait_for(first.read(), 5) == b"data: two\n\n"
        if own_edge:
            await edge.close()


async def test_a_request_without_a_callers_id_is_known_to_its_caller_by_the_meshs(nats_server: NatsProcess) -> None:
    async with mesh_of(nats_server) as mesh:
        reply = mesh.edge.submit(InferenceRequest(None, Endpoint.CHAT_COMPLETIONS, CHAT))
        await reply.read()
        assert mesh.dispatcher.requests[0].request.correlation_id == ""
        assert reply.caller_id == reply.request_id == mesh.engine.jobs[0].request_id


async def test_cancelling_stops_the_engines_work(nats_server: NatsProcess) -> None:
    async def stall(_job: EngineRequest, _reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    async with mesh_of(nats_server, stall) as mesh:
        reply = mesh.submit("r1")
        await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
        reply.cancel()
        await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)
        assert mesh.engine.cancelled == [reply.request_id]
        with pytest.raises(CancelledError):
            await reply.head()


async def test_a_request_past_its_deadline_fails_and_is_cancelled(nats_server: NatsProcess) -> None:
    async def stall(_job: EngineRequest, _reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    async with mesh_of(nats_server, stall, EdgeTimings(sweep=0.02)) as mesh:
        reply = mesh.submit("r1", timeout_seconds=0.2)
        with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
            await reply.head()
        await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)


async def test_an_engine_failure_before_the_first_frame_is_reported_to_the_scheduler(nats_server: NatsProcess) -> None:
    async def fail(_job: EngineRequest, _reply: ReplyWriter) -> None:
        raise EngineFailedError("it broke", retryable=True)

    async with mesh_of(nats_server, fail) as mesh:
        reply = mesh.submit("r1")

        async def failed() -> engine_pb2.Report:
            while True:
                for report in mesh.dispatcher.reports:
                    if report.event == engine_pb2.REPORT_EVENT_FAILED:
                        return report
                await mesh.ring.connection.flush()

        report = await asyncio.wait_for(failed(), 5)
        assert (report.request_id, report.started_replying, report.error.retryable) == (reply.request_id, False, True)
        assert not reply.ended


async def test_an_error_that_no_other_engine_can_mend_is_the_answer(nats_server: NatsProcess) -> None:
    async def refuse(_job: EngineRequest, _reply: ReplyWriter) -> None:
        raise InvalidRequestError("too many tools", param="tools")

    async with mesh_of(nats_server, refuse) as mesh:
        with pytest.raises(InvalidRequestError, match="too many tools") as caught:
            await mesh.submit().head()
        assert caught.value.param == "tools"


async def test_an_unseen_partial_answer_is_started_over_on_failure(nats_server: NatsProcess) -> None:
    async def fail_first(job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.JSON)
        reply.data(b"part" if job.attempt.submission == 1 else b"whole")
        if job.attempt.submission == 1:
            raise EngineFailedError("died half way", retryable=True)

    async with mesh_of(nats_server, fail_first) as mesh:
        assert await mesh.submit().read() == b"whole"


async def test_a_stream_that_was_seen_ends_in_a_clear_error(nats_server: NatsProcess) -> None:
    go_on = asyncio.Event()

    async def fail_late(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: part\n\n")
        await go_on.wait()
        raise EngineFailedError("died half way", retryable=True)

    async with mesh_of(nats_server, fail_late) as mesh:
        pieces = aiter(mesh.submit())
        assert await anext(pieces) == b"data: part\n\n"
        go_on.set()
        with pytest.raises(EngineFailedError, match="died half way"):
            await anext(pieces)


async def test_a_request_that_no_scheduler_holds_is_submitted_again(nats_server: NatsProcess) -> None:
    timings = EdgeTimings(sweep=0.02, ask_after=0.1, answer_within=0.1)
    async with mesh_of(nats_server, answer, timings) as mesh:
        mesh.dispatcher.paused = True
        reply = mesh.submit("r1")
        while not mesh.dispatcher.requests:
            await mesh.ring.connection.flush()
        mesh.dispatcher.paused = False  # the first submission is lost; nobody answers the inquiry
        assert await asyncio.wait_for(reply.read(), 5) == CHAT
        assert len(mesh.dispatcher.requests) == 2
        first, again = (item.request for item in mesh.dispatcher.requests)
        assert again.submission == 1
        assert again.age_ms >= 100
        # The one that held it may have died, with all that it held.
        assert (first.admitted, again.admitted) == (False, True)


async def test_what_was_submitted_again_is_asked_for_sooner(
    nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that dies takes messages with it for seconds: the second submission is as easily lost as the first."""
    async with mesh_of(nats_server, answer, EdgeTimings(sweep=0.01, ask_after=1, answer_within=0.5)) as mesh:
        monkeypatch.setattr(mesh.edge, "_clock", clock := ManualClock())
        mesh.dispatcher.paused = True
        inquiries: list[engine_pb2.Inquiry] = []
        await mesh.ring.subscribe(subjects.INQUIRE, engine_pb2.InquiryBatch, inquiries.extend)
        reply = mesh.submit("r1")
        for lost in (1, 2, 3):
            clock.advance(1 if lost == 1 else 0.25)
            await until(lambda lost=lost: len(inquiries) == lost)
            clock.advance(0.5)
            await until(lambda lost=lost: len(mesh.dispatcher.requests) == lost + 1)
        held = inquiries[0]
        mesh.ring.send(held.reply_subject, frame_pb2.Frame(request_id=held.request_id, held=True))
        await until(lambda: not mesh.edge._requests[held.request_id].sent_again)
        reply.cancel()


async def test_a_request_that_a_scheduler_holds_is_left_alone(nats_server: NatsProcess) -> None:
    timings = EdgeTimings(sweep=0.02, ask_after=0.05, answer_within=0.2)
    async with mesh_of(nats_server, answer, timings) as mesh:
        mesh.dispatcher.paused = True
        inquiries = 0
        enough = asyncio.Event()

        def hold(items: list[engine_pb2.Inquiry]) -> None:
            nonlocal inquiries
            for item in items:
                inquiries += 1
                mesh.ring.send(item.reply_subject, frame_pb2.Frame(request_id=item.request_id, held=True))
            if inquiries >= 4:
                enough.set()

        await mesh.ring.subscribe(subjects.INQUIRE, engine_pb2.InquiryBatch, hold)
        reply = mesh.submit("r1")
        await asyncio.wait_for(enough.wait(), 5)
        assert len(mesh.dispatcher.requests) == 1
        mesh.dispatcher.dispatch(mesh.dispatcher.requests[0])
        assert await asyncio.wait_for(reply.read(), 5) == CHAT


async def test_without_any_scheduler_a_request_fails_clearly_before_its_deadline(nats_server: NatsProcess) -> None:
    timings = EdgeTimings(sweep=0.02, ask_after=0.05, answer_within=0.05, give_up_after=0.3)
    async with mesh_of(nats_server, answer, timings) as mesh:
        mesh.dispatcher.paused = True
        with pytest.raises(UnavailableError, match="no scheduler has taken the request"):
            await asyncio.wait_for(mesh.submit(timeout_seconds=60).head(), 5)


async def test_an_executor_that_falls_silent_ends_a_seen_stream_with_a_clear_error(nats_server: NatsProcess) -> None:
    async def stall_after_first(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: part\n\n")
        await asyncio.Event().wait()

    async with mesh_of(nats_server, stall_after_first) as mesh:
        pieces = aiter(mesh.submit(timeout_seconds=60))
        assert await anext(pieces) == b"data: part\n\n"
        assert mesh.executor._beat is not None
        mesh.executor._beat.cancel()  # as kill -9 would
        with pytest.raises(EngineFailedError, match="is silent"):
            await asyncio.wait_for(anext(pieces), 5)


async def test_an_engine_that_forgot_the_request_is_noticed_by_its_heartbeats(nats_server: NatsProcess) -> None:
    async def stall_after_first(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: part\n\n")
        await asyncio.Event().wait()

    async with mesh_of(nats_server, stall_after_first) as mesh:
        pieces = aiter(mesh.submit(timeout_seconds=60))
        assert await anext(pieces) == b"data: part\n\n"
        mesh.executor._hosted["fake-a"].attempts.clear()
        with pytest.raises(EngineFailedError, match="no longer runs the request"):
            await asyncio.wait_for(anext(pieces), 5)


async def test_draining_lets_running_work_finish_and_leaves(nats_server: NatsProcess) -> None:
    go_on = asyncio.Event()

    async def wait(job: EngineRequest, reply: ReplyWriter) -> None:
        await go_on.wait()
        await answer(job, reply)

    async with mesh_of(nats_server, wait) as mesh:
        reply = mesh.submit()
        await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
        stopping = asyncio.create_task(mesh.executor.stop(5))
        assert await mesh.directory.wait_until(
            lambda d: any(state.phase.name == "DRAINING" for state in d.engines.values()), 5
        )
        go_on.set()
        assert await reply.read() == CHAT
        await stopping
        assert mesh.engine.stopped
        assert await mesh.directory.wait_until(lambda d: not d.engines, 5)


async def test_log_lines_of_edge_and_executor_name_a_request_by_both_ids(nats_server: NatsProcess) -> None:
    async def tear() -> None:
        raise RuntimeError("a bug of the engine")

    async with mesh_of(nats_server, steady(tear)) as mesh:
        with capture_logs() as logs:
            reply = mesh.submit("hers", STEADY)
            with pytest.raises(InternalError):
                await reply.read()
            await mesh.edge.submit(InferenceRequest(None, Endpoint.CHAT_COMPLETIONS, STEADY)).until_ended()
    named = [(line["request_id"], line["correlation_id"]) for line in logs if "request_id" in line]
    assert named.count((reply.request_id, "hers")) >= 1
    assert {own for _, own in named} == {"hers", None}


async def test_a_newer_attempt_replaces_the_older_one_on_the_same_engine(nats_server: NatsProcess) -> None:
    started: list[int] = []

    async def wait_for_second(job: EngineRequest, reply: ReplyWriter) -> None:
        started.append(job.attempt.dispatch)
        if len(started) == 1:
            await asyncio.Event().wait()
        await answer(job, reply)

    async with mesh_of(nats_server, wait_for_second) as mesh:
        reply = mesh.submit()
        await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
        mesh.dispatcher.dispatch(mesh.dispatcher.requests[0])
        assert await asyncio.wait_for(reply.read(), 5) == CHAT
        assert started == [1, 2]
        assert mesh.engine.cancelled == [reply.request_id]


async def test_a_classified_request_keeps_its_body_byte_for_byte(nats_server: NatsProcess) -> None:
    body = b'{ "model":"fake",\n"messages":[{"role":"user","content":"\\u00e9"}], "unknown_field": {"x": [1, 2]} }'
    async with mesh_of(nats_server) as mesh:
        await mesh.submit(body=body).read()
        assert mesh.engine.jobs[0].body == body
        assert mesh.dispatcher.requests[0].classification.kind == request_pb2.REQUEST_KIND_LLM_CHAT


async def test_the_schedulers_word_that_a_seen_stream_is_over_ends_it(nats_server: NatsProcess) -> None:
    async def stall_after_first(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: part\n\n")
        await asyncio.Event().wait()

    async with mesh_of(nats_server, stall_after_first) as mesh:
        pieces = aiter(mesh.submit("r1", timeout_seconds=60))
        assert await anext(pieces) == b"data: part\n\n"
        request = mesh.dispatcher.requests[0].request
        end = frame_pb2.FrameEnd(error=error_to_wire(EngineFailedError("its engine is lost", retryable=True)))
        attempt = frame_pb2.Attempt(submission=1, dispatch=99)
        mesh.ring.send(request.reply_subject, frame_pb2.Frame(request_id=request.request_id, attempt=attempt, end=end))
        with pytest.raises(EngineFailedError, match="its engine is lost"):
            await asyncio.wait_for(anext(pieces), 5)


def steady(then: Callable[[], Awaitable[object]]) -> Behaviour:
    """Stream a steady answer; the first attempt is torn in the middle of an event, and ``then`` says how it ends."""

    async def run(job: EngineRequest, reply: ReplyWriter) -> None:
        first = job.attempt.submission == 1
        parts = list(events(read_asked(job.endpoint, job.body), f"answer-{job.attempt.submission}", 1))
        reply.head(Media.EVENT_STREAM)
        for event in parts[:4] if first else parts:
            reply.data(event)
        if first:
            reply.data(parts[4][:10])
            await then()
            raise EngineFailedError("the engine died", retryable=True)

    return run


STEADY = b'{"model":"fake","stream":true,"messages":[{"role":"user","content":"count to 10"}]}'


def text_of(stream: bytes) -> str:
    return "".join(read_delta(event.data).text for event in SseParser().feed(stream) if event.data != DONE)


async def read_part(reply: Reply) -> tuple[bytes, AsyncIterator[bytes]]:
    """Read until some text was seen."""
    pieces = aiter(reply)
    part = b""
    while not text_of(part):
        part += await anext(pieces)
    return part, pieces


@pytest.mark.parametrize("how", ["breaks", "silent", "forgotten"])
async def test_a_seen_stream_goes_on_elsewhere_whatever_ended_its_engine(nats_server: NatsProcess, how: str) -> None:
    expected = b"".join(events(read_asked(Endpoint.CHAT_COMPLETIONS, STEADY), "answer-1", 1))
    go_on = asyncio.Event()
    behaviour = steady(go_on.wait)
    async with mesh_of(nats_server, behaviour) as mesh, mesh_of(nats_server, behaviour, name="b") as other:
        other.dispatcher.paused = True  # mesh's own dispatches to either engine
        part, pieces = await read_part(mesh.submit("r1", STEADY))
        mesh.dispatcher.engine_id = "fake-b"
        if how == "breaks":
            go_on.set()
        elif how == "silent":
            assert mesh.executor._beat is not None
            mesh.executor._beat.cancel()  # as kill -9 would
        else:
            mesh.executor._hosted["fake-a"].attempts.clear()
        rest = b"".join([piece async for piece in pieces])
        assert part + rest == expected
        assert [job.attempt.submission for job in other.engine.jobs] == [2]
        assert list(mesh.dispatcher.requests[-1].request.avoided_engines) == ["fake-a"]
        assert mesh.edge._record_budget.used == 0


@pytest.mark.parametrize("asked", [b'"tools":[{"type":"function"}]', b'"n":2', b'"logprobs":true'])
async def test_a_stream_of_more_than_one_plain_text_is_not_continued(nats_server: NatsProcess, asked: bytes) -> None:
    go_on = asyncio.Event()
    async with mesh_of(nats_server, steady(go_on.wait)) as mesh:
        part, pieces = await read_part(mesh.submit("r1", STEADY[:-1] + b"," + asked + b"}"))
        go_on.set()
        with pytest.raises(EngineFailedError, match="the engine died"):
            part += b"".join([piece async for piece in pieces])
        assert part.endswith(b"\n\n")
        assert len(mesh.engine.jobs) == 1


async def test_an_edge_takes_no_more_than_its_bound_and_gives_it_back(nats_server: NatsProcess) -> None:
    go_on = asyncio.Event()
    async with mesh_of(nats_server, steady(go_on.wait)) as mesh:
        reply = mesh.submit("r1", STEADY)
        part, _ = await read_part(reply)
        assert mesh.edge._record_budget.used >= len(part)
        reply.cancel()
        assert mesh.edge._record_budget.used == 0
