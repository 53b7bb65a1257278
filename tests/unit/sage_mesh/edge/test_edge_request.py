"""A stream that breaks anywhere and goes on elsewhere is, to its client, the stream of one engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson
import pytest
from fixtures.steady_engine import events, read_asked
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import EngineFailedError
from sage_control_plane.request.request import Attempt, Endpoint
from sage_mesh.edge.answer_stream import MAX_STREAM_BYTES, RecordBudget
from sage_mesh.edge.continuation import StreamContinuation
from sage_mesh.edge.edge_request import MAX_SUBMISSIONS, EdgeRequest
from sage_mesh.edge.outcome import Outcome
from sage_mesh.edge.partial_answer import NotResumableError, PartialAnswer
from sage_mesh.edge.whole_answer import WholeAnswer
from sage_mesh.reply import Media, Reply, TokenUsage
from sage_mesh.sse import DONE, SseParser
from sage_mesh.wire.errors import error_to_wire

BROKE_OFF = error_to_wire(EngineFailedError("it broke off", retryable=True))


def body_of(endpoint: Endpoint, tokens: int, **options: Any) -> bytes:
    prompt = f"count to {tokens}"
    asked = {"prompt": prompt + "\n"}
    if endpoint is Endpoint.CHAT_COMPLETIONS:
        asked = {"messages": [{"role": "user", "content": prompt}]}  # type: ignore[dict-item]
    return orjson.dumps({"model": "steady", "stream": True, **asked, **options})


@dataclass
class Life:
    """A request with its engines and its client."""

    endpoint: Endpoint
    body: bytes
    tokens_in_chunk: int = 1
    received: bytes = b""
    request: EdgeRequest = field(init=False)

    def __post_init__(self) -> None:
        message = request_pb2.InferenceRequest(
            request_id="r",
            endpoint=int(self.endpoint),  # type: ignore[arg-type]
            body=self.body,
            submission=1,
        )
        self.request = EdgeRequest(message, Reply("r", lambda _reason: None), 0.0, 60.0, 0.0, RecordBudget())

    def uninterrupted(self) -> bytes:
        return b"".join(events(read_asked(self.endpoint, self.body), "answer-1", 1, self.tokens_in_chunk))

    def stream(self) -> bytes:
        """What the engine of the present submission would send."""
        number = self.request.sent.submission
        asked = read_asked(self.endpoint, self.request.sent.body)
        return b"".join(events(asked, f"answer-{number}", number, self.tokens_in_chunk))

    def take(self) -> None:
        self.received += self.request.reply.take()

    def send(self, pieces: list[tuple[bytes, bool]], *, resumable: bool = True, end: Any = None) -> Outcome:
        """Deliver pieces as one attempt's frames; the client reads after those that say so."""
        attempt = frame_pb2.Attempt(submission=self.request.sent.submission, dispatch=1)
        head = frame_pb2.FrameHead(media=int(Media.EVENT_STREAM), engine_id="e", resumable=resumable)  # type: ignore[arg-type]
        frames = [frame_pb2.Frame(request_id="r", attempt=attempt, seq=0, head=head)]
        frames += [frame_pb2.Frame(request_id="r", attempt=attempt, seq=at) for at in range(1, len(pieces) + 2)]
        outcome = self.request.on_frame(frames[0], 0.0)
        for frame, (piece, reads) in zip(frames[1:], pieces, strict=False):
            frame.data = piece
            outcome = self.request.on_frame(frame, 0.0)
            assert outcome in (Outcome.TAKEN, Outcome.TO_ACKNOWLEDGE)
            if reads:
                self.take()
        frames[-1].end.CopyFrom(end or frame_pb2.FrameEnd())
        return self.request.on_frame(frames[-1], 0.0)

    def recover(self) -> bool:
        """What an edge does about a broken attempt; return whether the answer is complete."""
        if not self.request.may_start_over and self.request.continue_stream():
            return True
        self.request.supersede()
        return False


def read(stream: bytes) -> dict[str, Any]:
    """What a client makes of a stream, every anomaly of it included."""
    seen: dict[str, Any] = {"text": "", "roles": 0, "finish": [], "usage": [], "done": 0, "ids": set()}
    assert stream.endswith(b"\n\n")
    for event in SseParser().feed(stream):
        assert not seen["done"]
        if event.data == DONE:
            seen["done"] += 1
            continue
        chunk = orjson.loads(event.data)
        seen["ids"].add((chunk["id"], chunk["created"], chunk["model"], chunk["object"]))
        if chunk.get("usage"):
            seen["usage"].append(chunk["usage"])
        for choice in chunk["choices"]:
            delta = choice.get("delta", choice)
            seen["text"] += delta.get("content") or delta.get("text") or ""
            seen["roles"] += "role" in delta
            if choice["finish_reason"]:
                seen["finish"].append(choice["finish_reason"])
    return seen


@st.composite
def chopped(draw: st.DrawFn, data: bytes) -> list[tuple[bytes, bool]]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    bounds = [0, *places, len(data)]
    return [(data[start:stop], draw(st.booleans())) for start, stop in pairwise(bounds) if stop > start]


ENDPOINTS = st.sampled_from([Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS])


@given(st.data(), ENDPOINTS, st.integers(1, 12), st.none() | st.integers(1, 14), st.booleans())
def test_wherever_a_stream_breaks_its_client_sees_the_answer_of_one_engine(
    data: st.DataObject, endpoint: Endpoint, tokens: int, limit: int | None, usage: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": usage}}
    if limit is not None:
        options[data.draw(st.sampled_from(["max_tokens", "max_completion_tokens"]))] = limit
    life = Life(endpoint, body_of(endpoint, tokens, **options))
    complete = False
    for _ in range(data.draw(st.integers(1, MAX_SUBMISSIONS - 1))):
        stream = life.stream()
        torn = stream[: data.draw(st.integers(0, len(stream)))]
        assert life.send(data.draw(chopped(torn)), end=frame_pb2.FrameEnd(error=BROKE_OFF)) is Outcome.BROKEN
        complete = life.recover()
        if complete:
            break
    if not complete:
        assert life.send(data.draw(chopped(life.stream()))) is Outcome.ENDED
    life.take()
    life.take()
    seen, expected = read(life.received), read(life.uninterrupted())
    assert len(seen.pop("ids")) == len(expected.pop("ids")) == 1
    assert seen == expected


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS])
@pytest.mark.parametrize("limit", [None, 2, 3, 4])
@pytest.mark.parametrize("usage", [True, False])
def test_a_short_stream_may_break_at_any_of_its_bytes(endpoint: Endpoint, limit: int | None, usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": usage}}
    if limit is not None:
        options["max_tokens"] = limit
    body = body_of(endpoint, 3, **options)
    whole = Life(endpoint, body).uninterrupted()
    expected = read(whole)
    for place in range(len(whole) + 1):
        life = Life(endpoint, body)
        life.send([(whole[:place], True)], end=frame_pb2.FrameEnd(error=BROKE_OFF))
        if not life.recover():
            life.send([(life.stream(), True)])
        life.take()
        life.take()
        seen = read(life.received)
        assert len(seen["ids"]) == 1
        assert {**seen, "ids": 0} == {**expected, "ids": 0}, place


@given(st.data(), ENDPOINTS, st.integers(1, 30), st.integers(2, 5))
def test_no_text_is_lost_or_told_twice_where_an_engine_sends_several_tokens_in_a_chunk(
    data: st.DataObject, endpoint: Endpoint, tokens: int, in_chunk: int
) -> None:
    life = Life(endpoint, body_of(endpoint, tokens), in_chunk)
    stream = life.stream()
    torn = stream[: data.draw(st.integers(0, len(stream)))]
    life.send(data.draw(chopped(torn)), end=frame_pb2.FrameEnd(error=BROKE_OFF))
    if not life.recover():
        life.send([(life.stream(), True)])
    life.take()
    life.take()
    assert read(life.received)["text"] == read(life.uninterrupted())["text"]


def broken(endpoint: Endpoint = Endpoint.CHAT_COMPLETIONS, after: int = 4, **options: Any) -> Life:
    """A stream that broke off after so many whole events were read."""
    life = Life(endpoint, body_of(endpoint, 10, **options))
    whole = [event + b"\n\n" for event in life.stream().split(b"\n\n")][:after]
    assert life.send([(event, True) for event in whole], end=frame_pb2.FrameEnd(error=BROKE_OFF)) is Outcome.BROKEN
    return life


def test_a_chat_goes_on_with_the_text_so_far_as_the_assistants_message_and_what_is_left_of_its_limit() -> None:
    life = broken(max_tokens=8, temperature=0.5)
    assert not life.recover()
    body = orjson.loads(life.request.sent.body)
    assert body["messages"][-1]["role"] == "assistant"
    assert body["messages"][-1]["content"] == read(life.received)["text"] != ""
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (body["max_tokens"], body["temperature"], body["stream"]) == (5, 0.5, True)
    assert life.request.sent.submission == 2
    assert list(life.request.sent.avoided_engines) == ["e"]


def test_an_answer_that_the_caller_began_goes_on_in_the_callers_own_message() -> None:
    messages = [{"role": "user", "content": "count to 10"}, {"role": "assistant", "content": "Well:"}]
    life = Life(Endpoint.CHAT_COMPLETIONS, body_of(Endpoint.CHAT_COMPLETIONS, 10))
    stream = life.stream().split(b"\n\n")
    life = Life(
        Endpoint.CHAT_COMPLETIONS,
        orjson.dumps({"messages": messages, "continue_final_message": True, "add_generation_prompt": False}),
    )
    life.send([(b"\n\n".join(stream[:3]) + b"\n\n", True)], end=frame_pb2.FrameEnd(error=BROKE_OFF))
    assert not life.recover()
    sent = orjson.loads(life.request.sent.body)["messages"]
    assert [message["content"] for message in sent] == ["count to 10", "Well:" + read(life.received)["text"]]


def test_a_limit_that_is_used_up_ends_the_answer_without_another_engine() -> None:
    life = Life(Endpoint.COMPLETIONS, body_of(Endpoint.COMPLETIONS, 10, max_tokens=3))
    chunks = [event + b"\n\n" for event in life.stream().split(b"\n\n")]
    # The engine dies between the last token and the word that it was the last.
    last = chunks[2].replace(b'"finish_reason":"length"', b'"finish_reason":null')
    life.send([(chunks[0] + chunks[1] + last, True)], end=frame_pb2.FrameEnd(error=BROKE_OFF))
    assert life.recover()
    life.take()
    assert read(life.received) == read(life.uninterrupted())
    assert life.request.reply.ended


def test_a_stream_is_continued_only_so_often() -> None:
    life = broken()
    for _ in range(MAX_SUBMISSIONS - 1):
        assert not life.recover()
        pieces = [(event + b"\n\n", True) for event in life.stream().split(b"\n\n")[:2]]
        assert life.send(pieces, end=frame_pb2.FrameEnd(error=BROKE_OFF)) is Outcome.BROKEN
    with pytest.raises(NotResumableError, match="submitted 3 times"):
        life.recover()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b'{"choices":[{"index":1,"delta":{"content":"x"}}]}', "several choices"),
        (b'{"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":[]}}]}', "log probabilities"),
        (b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}', "tool_calls"),
        (b'{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}', "reasoning_content"),
        (b'{"error":{"message":"no"}}', "error"),
        (b"plain", "not JSON"),
    ],
)
def test_what_is_more_than_one_plain_text_is_not_continued(event: bytes, reason: str) -> None:
    life = Life(Endpoint.CHAT_COMPLETIONS, body_of(Endpoint.CHAT_COMPLETIONS, 10))
    life.send([(b"data: " + event + b"\n\n", True)], end=frame_pb2.FrameEnd(error=BROKE_OFF))
    with pytest.raises(NotResumableError, match=reason):
        life.recover()


def test_a_stream_that_its_engine_or_its_class_does_not_allow_to_continue_is_not_continued() -> None:
    life = Life(Endpoint.CHAT_COMPLETIONS, body_of(Endpoint.CHAT_COMPLETIONS, 10))
    pieces = [(event + b"\n\n", True) for event in life.stream().split(b"\n\n")[:4]]
    life.send(pieces, resumable=False, end=frame_pb2.FrameEnd(error=BROKE_OFF))
    with pytest.raises(NotResumableError, match="not resumable"):
        life.recover()


def test_a_stream_beyond_the_bound_is_passed_on_but_not_continued_and_its_room_is_given_back() -> None:
    life = Life(Endpoint.CHAT_COMPLETIONS, body_of(Endpoint.CHAT_COMPLETIONS, 10))
    chunk = next(iter(life.stream().split(b"\n\n"))) + b"\n\n"
    event = chunk * 1000
    count = MAX_STREAM_BYTES // len(event) + 1
    life.send([(event, True)] * count, end=frame_pb2.FrameEnd(error=BROKE_OFF))
    assert len(life.received) == count * len(event)
    assert life.request.budget.used == 0
    with pytest.raises(NotResumableError, match="not resumable"):
        life.recover()


def test_the_usage_of_the_reply_is_that_of_the_whole_answer() -> None:
    life = broken()
    assert not life.recover()
    told = frame_pb2.FrameEnd(usage=frame_pb2.Usage(prompt_tokens=12, completion_tokens=8, cached_tokens=12))
    assert life.send([(life.stream(), True)], end=told) is Outcome.ENDED
    assert life.request.reply.usage == TokenUsage(9, 11, 9)


def test_the_cached_tokens_of_a_continued_stream_are_at_most_those_of_its_prompt() -> None:
    delivered = PartialAnswer(text="a b c", tokens=3)
    event = b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":8,"total_tokens":20,%b}}\n\n'
    details = b'"prompt_tokens_details":{"cached_tokens":12}'
    (rewritten,) = SseParser().feed(StreamContinuation(delivered).take(event % details))
    assert orjson.loads(rewritten.data)["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 11,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 9},
    }


def test_what_arrived_but_was_not_read_before_the_break_is_read_after_it() -> None:
    life = Life(Endpoint.CHAT_COMPLETIONS, body_of(Endpoint.CHAT_COMPLETIONS, 10))
    chunks = [event + b"\n\n" for event in life.stream().split(b"\n\n")]
    life.send([(chunks[0], True), *((chunk, False) for chunk in chunks[1:5])], end=frame_pb2.FrameEnd(error=BROKE_OFF))
    assert not life.recover()
    assert life.send([(life.stream(), False)]) is Outcome.ENDED
    life.take()
    life.take()
    assert read(life.received)["text"] == read(life.uninterrupted())["text"]


def test_the_record_is_given_back_when_the_request_ends() -> None:
    life = broken()
    assert life.request.budget.used == len(life.received)
    life.request.close()
    assert life.request.budget.used == 0


def token_frame(request: EdgeRequest, seq: int, text: str, ids: list[int]) -> frame_pb2.Frame:
    chunk = {"id": "a", "object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": None}]}
    return frame_pb2.Frame(
        request_id="r",
        attempt=frame_pb2.Attempt(submission=request.sent.submission, dispatch=1),
        seq=seq,
        head=frame_pb2.FrameHead(media=2, engine_id="e", resumable=True, tells_tokens=True) if not seq else None,
        data=b"data: " + orjson.dumps(chunk) + b"\n\n",
        token_ids=ids,
    )


def broken_end(request: EdgeRequest, seq: int, completion_tokens: int = 0) -> frame_pb2.Frame:
    usage = frame_pb2.Usage(prompt_tokens=5, completion_tokens=completion_tokens)
    return frame_pb2.Frame(
        request_id="r",
        attempt=frame_pb2.Attempt(submission=request.sent.submission, dispatch=1),
        seq=seq,
        end=frame_pb2.FrameEnd(error=BROKE_OFF, usage=usage),
    )


def test_the_tokens_told_by_all_engines_so_far_go_with_the_continuation() -> None:
    life = Life(Endpoint.COMPLETIONS, orjson.dumps({"prompt": "p", "stream": True, "max_tokens": 9}))
    request = life.request
    request.on_frame(token_frame(request, 0, "ä", [7, 8]), 0.0)
    life.take()
    request.on_frame(token_frame(request, 1, "b", [9]), 0.0)
    assert request.on_frame(broken_end(request, 2), 0.0) is Outcome.BROKEN
    assert not life.recover()
    assert (list(request.sent.told.ids), request.sent.told.characters) == ([7, 8, 9], 2)
    assert orjson.loads(request.sent.body)["max_tokens"] == 6
    request.on_frame(token_frame(request, 0, "cd", [4]), 0.0)
    life.take()
    life.take()
    assert request.on_frame(broken_end(request, 1), 0.0) is Outcome.BROKEN
    assert not life.recover()
    assert (list(request.sent.told.ids), request.sent.told.characters) == ([7, 8, 9, 4], 4)


def test_tokens_of_a_continuation_that_nobody_read_are_forgotten_with_it() -> None:
    life = Life(Endpoint.COMPLETIONS, orjson.dumps({"prompt": "p", "stream": True}))
    request = life.request
    request.on_frame(token_frame(request, 0, "a", [7]), 0.0)
    life.take()
    request.on_frame(broken_end(request, 1), 0.0)
    assert not life.recover()
    request.on_frame(token_frame(request, 0, "b", [8]), 0.0)
    request.on_frame(broken_end(request, 1), 0.0)
    assert not life.recover()
    assert list(request.sent.told.ids) == [7]


def test_the_engines_own_count_is_what_the_limit_is_reduced_by() -> None:
    life = Life(Endpoint.COMPLETIONS, orjson.dumps({"prompt": "p", "stream": True, "max_tokens": 9}))
    request = life.request
    frame = token_frame(request, 0, "three words here", [])
    frame.head.tells_tokens = False
    request.on_frame(frame, 0.0)
    life.take()
    request.on_frame(broken_end(request, 1, completion_tokens=4), 0.0)
    assert not life.recover()
    assert orjson.loads(request.sent.body)["max_tokens"] == 5
    assert not request.sent.HasField("told")


def frames_so_far(life: Life, torn: bytes, dispatch: int = 1) -> None:
    """Deliver a part of an attempt's stream, without its end."""
    attempt = frame_pb2.Attempt(submission=life.request.sent.submission, dispatch=dispatch)
    head = frame_pb2.FrameHead(media=int(Media.EVENT_STREAM), engine_id="e", resumable=True, tries=1)  # type: ignore[arg-type]
    life.request.on_frame(frame_pb2.Frame(request_id="r", attempt=attempt, seq=0, head=head), 0.0)
    life.request.on_frame(frame_pb2.Frame(request_id="r", attempt=attempt, seq=1, data=torn), 0.0)


@given(st.data(), ENDPOINTS, st.integers(2, 12), st.integers(1, 8), st.booleans())
def test_wherever_and_however_often_a_stream_is_interrupted_its_client_sees_one_answer(
    data: st.DataObject, endpoint: Endpoint, tokens: int, times: int, reads: bool
) -> None:
    life = Life(endpoint, body_of(endpoint, tokens, stream_options={"include_usage": True}))
    done = 0
    for _ in range(times):
        stream = life.stream()
        torn = stream[: data.draw(st.integers(0, len(stream)))]
        submission = life.request.sent.submission
        frames_so_far(life, torn)
        if reads:
            life.take()
        interrupted = life.request.interrupt(Attempt(submission, 1), 1, 1 << 20)
        if not interrupted:
            # Nothing but the end is missing, so the engine goes on to it.
            rest = frame_pb2.Frame(request_id="r", attempt=frame_pb2.Attempt(submission=submission, dispatch=1), seq=2)
            rest.data = stream[len(torn) :]
            rest.end.SetInParent()
            assert life.request.on_frame(rest, 0.0) is Outcome.ENDED
            break
        done += 1
        assert life.request.sent.interrupted
        assert not life.request.sent.avoided_engines
        assert life.request.sent.submission == submission + 1
    else:
        assert life.send([(life.stream(), True)]) is Outcome.ENDED
    for _ in range(9):
        life.take()
    seen, whole = read(life.received), read(life.uninterrupted())
    assert {**seen, "ids": len(seen["ids"])} == {**whole, "ids": 1}
    # The rest was asked for once for each interruption.
    assert life.request.sent.submission == done + 1


def test_an_interruption_before_the_first_byte_starts_over_and_counts_the_try() -> None:
    life = Life(Endpoint.COMPLETIONS, body_of(Endpoint.COMPLETIONS, 3))
    assert life.request.interrupt(Attempt(1, 7), 2, 1 << 20)
    assert (life.request.sent.body, life.request.sent.submission) == (life.body, 2)
    assert life.request.sent.delivered_tokens == 0
    frames_so_far(life, b"")
    assert life.request.reply._head is not None
    assert life.request.reply._head.tries == 3


def test_an_interruption_of_an_attempt_that_is_not_the_present_one_is_ignored() -> None:
    life = Life(Endpoint.COMPLETIONS, body_of(Endpoint.COMPLETIONS, 3))
    frames_so_far(life, life.stream()[:-40], dispatch=2)
    assert not life.request.interrupt(Attempt(1, 1), 1, 1 << 20)
    assert not life.request.interrupt(Attempt(2, 3), 1, 1 << 20)
    assert life.request.sent.submission == 1
    assert life.request.interrupt(Attempt(1, 2), 1, 1 << 20)


def test_what_cannot_be_continued_or_sent_is_not_interrupted() -> None:
    life = Life(Endpoint.COMPLETIONS, body_of(Endpoint.COMPLETIONS, 8))
    frames_so_far(life, life.stream()[:-60])
    assert not life.request.interrupt(Attempt(1, 1), 1, 50)
    life.request._stream.record.close()  # type: ignore[union-attr]
    assert not life.request.interrupt(Attempt(1, 1), 1, 1 << 20)
    assert life.request.attempt == Attempt(1, 1)


def test_interruptions_use_up_none_of_the_submissions_that_failures_may_take() -> None:
    life = Life(Endpoint.COMPLETIONS, body_of(Endpoint.COMPLETIONS, 40))
    for number in range(6):
        frames_so_far(life, life.stream()[: 300 + number])
        life.take()
        assert life.request.interrupt(Attempt(number + 1, 1), 1, 1 << 20)
    broken = frame_pb2.FrameEnd(error=BROKE_OFF)
    for _ in range(MAX_SUBMISSIONS - 1):
        assert life.send([(life.stream()[:300], True)], end=broken) is Outcome.BROKEN
        assert not life.recover()
        assert not life.request.sent.interrupted
    assert life.send([(life.stream(), True)]) is Outcome.ENDED
    life.take()
    assert read(life.received)["text"] == read(life.uninterrupted())["text"]


@given(st.data(), ENDPOINTS, st.integers(2, 12))
def test_a_document_made_of_a_stream_says_what_the_stream_says(
    data: st.DataObject, endpoint: Endpoint, tokens: int
) -> None:
    life = Life(endpoint, body_of(endpoint, tokens))
    life.request.whole = WholeAnswer(endpoint)
    stream = life.stream()
    frames_so_far(life, stream[: data.draw(st.integers(0, len(stream)))])
    assert life.request.reply.take() == b""
    interrupted = life.request.interrupt(Attempt(1, 1), 1, 1 << 20)
    if not interrupted:
        life = Life(endpoint, body_of(endpoint, tokens))
        life.request.whole = WholeAnswer(endpoint)
    counted = frame_pb2.FrameEnd(usage=frame_pb2.Usage(prompt_tokens=100, completion_tokens=5))
    assert life.send([(life.stream(), False)], end=counted) is Outcome.ENDED
    document = orjson.loads(life.request.reply.take())
    (choice,) = document["choices"]
    whole = read(life.uninterrupted())
    assert (choice.get("message") or choice).get("content", choice.get("text")) == whole["text"]
    assert [choice["finish_reason"]] == whole["finish"]
    assert document["object"] == ("chat.completion" if endpoint is Endpoint.CHAT_COMPLETIONS else "text_completion")
    usage = document["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"] == 105
    assert life.request.reply._head is not None
    assert life.request.reply._head.media is Media.JSON


@pytest.mark.parametrize("resumable", [True, False])
def test_of_an_answer_that_ends_in_the_middle_the_delivered_tokens_are_known(resumable: bool) -> None:
    life = Life(Endpoint.CHAT_COMPLETIONS, body_of(Endpoint.CHAT_COMPLETIONS, 40))
    chunks = life.stream().split(b"\n\n")
    delivered = b"\n\n".join(chunks[:21]) + b"\n\n"
    refusal = frame_pb2.FrameEnd(error=error_to_wire(EngineFailedError("no more")))
    assert life.send([(delivered, True)], resumable=resumable, end=refusal) is Outcome.ENDED
    tokens = life.request.reply.usage.completion_tokens
    # From its record, and without one from its bytes.
    assert tokens == 20 if resumable else 10 <= tokens <= 40
