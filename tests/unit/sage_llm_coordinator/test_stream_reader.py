"""A caller gets what the server sent, as JSON, but for what only SAGE asked for. The events are vLLM 0.32's.

What comes before the first content is held back until then, so parts of streams follow some.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_llm_coordinator.engines.stream_events import each_event
from sage_llm_coordinator.engines.stream_reader import StreamReader
from sage_llm_coordinator.engines.stream_rewriter import AnswerEdits
from sage_mesh.reply import TokenUsage

HEAD = b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":17,"model":"m","choices":['
DONE = b"data: [DONE]\n\n"
SIGNATURE = b',"system_fingerprint":"vllm-0.32.0-d2136965"'
HIDDEN = AnswerEdits("m", hides_last_usage=True, hides_each_usage=True)
LAST_HIDDEN = AnswerEdits("m", hides_last_usage=True)


def usage(completion: int, *, each: bool = True) -> bytes:
    details = b',"completion_tokens_details":null' if each else b',"prompt_tokens_details":{"cached_tokens":4}'
    return b',"usage":{"prompt_tokens":9,"total_tokens":%d,"completion_tokens":%d%b}' % (
        9 + completion,
        completion,
        details,
    )


def token(text: str, *, index: int = 0, finish: str = "", extra: bytes = b"", ids: str = "null") -> bytes:
    reason = b'"%b","stop_reason":null' % finish.encode() if finish else b"null"
    choice = b'{"index":%d,"delta":{"content":%b},"logprobs":null,"finish_reason":%b,"token_ids":%b}]%b}\n\n'
    return HEAD + choice % (index, orjson.dumps(text), reason, ids.encode(), extra)


def role(extra: bytes = b"", prompt_ids: bytes = b"null") -> bytes:
    return (
        HEAD
        + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
        + extra
        + b',"prompt_token_ids":%b,"prompt_text":null}\n\n' % prompt_ids
    )


def last(completion: int) -> bytes:
    return HEAD + b"]" + usage(completion, each=False) + SIGNATURE + b"}\n\n"


# What callers may write, and what looks like the protocol without being it.
TEXTS = ['a"usage":{"x":1}', "usage", ',"usage":{}', "\\", '"finish_reason":"stop"', "ä\n\n", "data: [DONE]", "[]"]
PLAIN = role() + b"".join(map(token, TEXTS)) + token(".", finish="length") + DONE
COUNTED = (
    role(usage(0))
    + b"".join(token(text, extra=usage(n + 1)) for n, text in enumerate(TEXTS))
    + token(".", finish="length", extra=usage(9))
    + last(9)
    + DONE
)
ASKED = PLAIN.removesuffix(DONE) + last(9) + DONE


def events_of(stream: bytes) -> list[Any]:
    """The events as JSON that shows the order of keys; what is no JSON as it is."""
    return [_ordered(event) for event in each_event(stream)]


def _ordered(event: bytes) -> Any:
    data = event.strip().removeprefix(b"data:")
    try:
        return json.loads(data, object_pairs_hook=list)
    except ValueError:
        return event


def rewritten(stream: bytes, edits: AnswerEdits, places: list[int] | None = None) -> tuple[bytes, StreamReader]:
    reader = StreamReader(edits)
    bounds = [0, *sorted(places or []), len(stream)]
    delivered = b"".join(taken(reader, stream[start:end]) for start, end in pairwise(bounds))
    return delivered + (reader.end() if reader.failure is None else b""), reader


def taken(reader: StreamReader, piece: bytes) -> bytes:
    return b"".join(reader.take(piece)) if reader.failure is None else b""


def begun(edits: AnswerEdits) -> StreamReader:
    """A reader of a stream that has said something."""
    reader = StreamReader(edits)
    reader.take(token("so"))
    reader.ids()
    return reader


CUTS = st.lists(st.integers(0, len(COUNTED)), max_size=12)


@given(CUTS)
def test_who_did_not_ask_for_usage_gets_none_wherever_the_stream_is_cut(places: list[int]) -> None:
    delivered, reader = rewritten(COUNTED, HIDDEN, places)
    assert events_of(delivered) == events_of(PLAIN)
    assert reader.usage() == TokenUsage(9, 9, 4)
    assert reader.progress.done


@given(CUTS)
def test_who_asked_for_the_last_usage_gets_that_one_alone(places: list[int]) -> None:
    delivered, reader = rewritten(COUNTED, AnswerEdits("m", hides_each_usage=True), places)
    assert events_of(delivered) == events_of(ASKED)
    assert reader.usage() == TokenUsage(9, 9, 4)


@given(CUTS)
def test_who_asked_for_everything_gets_the_bytes_untouched(places: list[int]) -> None:
    delivered, reader = rewritten(COUNTED, AnswerEdits(), places)
    assert delivered == COUNTED
    assert reader.usage() == TokenUsage(9, 9, 4)
    assert reader.progress.done


@given(st.integers(0, len(COUNTED)))
def test_a_stream_that_is_given_up_is_counted_and_nothing_whole_is_lost(at: int) -> None:
    reader = begun(HIDDEN)
    delivered = taken(reader, COUNTED[:at])
    whole = COUNTED[:at].count(b"\n\n")
    assert reader.usage().completion_tokens == min(max(0, whole - 1), 9)
    assert events_of(delivered) == events_of(PLAIN)[: len(events_of(delivered))]
    assert delivered.count(b"\n\n") == whole - COUNTED[:at].rpartition(b"\n\n")[0].count(b'"choices":[]')


def test_null_usage_of_servers_that_write_it_is_taken_out() -> None:
    stream = token("a", extra=b',"usage":null') + token("", finish="stop", extra=b',"usage":null') + last(1) + DONE
    delivered, _ = rewritten(stream, LAST_HIDDEN)
    assert events_of(delivered) == events_of(token("a") + token("", finish="stop") + DONE)


def test_the_servers_signature_stays_where_it_is() -> None:
    every = [token("a", extra=SIGNATURE), token("", finish="stop", extra=SIGNATURE)]
    delivered, _ = rewritten(b"".join([*every, last(1), DONE]), LAST_HIDDEN)
    assert delivered == b"".join([*every, DONE])


def test_a_server_that_sends_no_usage_loses_nothing() -> None:
    stream = token("a") + token("", finish="stop") + DONE
    delivered, reader = rewritten(stream, LAST_HIDDEN)
    assert delivered == stream
    assert reader.usage() == TokenUsage()


def test_all_of_several_choices_are_counted() -> None:
    events = [(0, "a", ""), (1, "b", "stop"), (0, "c", ""), (0, "d", "length")]
    counts = [1, 1, 2, 3]
    stream = b"".join(
        token(text, index=index, finish=finish, extra=usage(count))
        for (index, text, finish), count in zip(events, counts, strict=True)
    )
    reader = StreamReader(HIDDEN)
    delivered = taken(reader, stream)
    assert reader.usage() == TokenUsage(9, 4)
    delivered += taken(reader, last(4) + DONE)
    assert reader.usage() == TokenUsage(9, 4, 4)
    expected = [token(text, index=index, finish=finish) for index, text, finish in events]
    assert events_of(delivered) == events_of(b"".join([*expected, DONE]))


def test_an_event_leaves_when_it_arrives_though_its_usage_comes_later() -> None:
    reader = begun(HIDDEN)
    assert events_of(taken(reader, token("b", finish="stop", extra=usage(1)))) == events_of(token("b", finish="stop"))
    error = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
    assert taken(reader, token("c", extra=usage(2)) + error) == token("c")
    assert reader.failure is not None
    assert reader.failure.status == 500


@pytest.mark.parametrize("edits", [HIDDEN, LAST_HIDDEN, AnswerEdits()])
def test_the_callers_name_stands_for_the_models(edits: AnswerEdits) -> None:
    named = AnswerEdits("m", 'be"st', edits.hides_last_usage, edits.hides_each_usage)
    stream = COUNTED.replace(b'"logprobs":null', b'"logprobs":{"model":"m"}')
    as_named, _ = rewritten(stream, named)
    as_sent, _ = rewritten(stream, edits)
    assert events_of(as_named) == events_of(as_sent.replace(b'17,"model":"m"', b'17,"model":"be\\"st"'))


def test_another_models_name_stays() -> None:
    stream = COUNTED.replace(b'"model":"m"', b'"model":"m-lora"')
    assert rewritten(stream, AnswerEdits("m", "best"))[0] == stream
    assert not AnswerEdits("m", "best").rename([{"model": "m"}])


TOKENS = [
    (role(prompt_ids=b"[4,204]"), role(), []),
    (token("a", ids="[1]"), token("a"), [1]),
    (token("", ids="[2]"), token(""), [1]),
    (token("ä", ids="[3]"), token("ä"), [1, 2, 3]),
    (HEAD + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":null,"token_ids":[4]}]}\n\n', b"", [1, 2, 3]),
    (token(' "token_ids":[9]', ids="[5,6]"), token(' "token_ids":[9]'), [1, 2, 3, 4, 5, 6]),
    (token("", finish="stop", ids="[7]"), token("", finish="stop"), [1, 2, 3, 4, 5, 6]),
    (DONE, DONE, [1, 2, 3, 4, 5, 6]),
]


@given(st.integers(0, len(TOKENS)), st.lists(st.integers(0, len(TOKENS)), max_size=4))
def test_the_ids_given_are_those_of_the_text_delivered(end: int, places: list[int]) -> None:
    reader = begun(AnswerEdits("m", hides_tokens=True))
    bounds = sorted({0, end, *(place for place in places if place < end)})
    delivered, ids = b"", []
    for start, stop in pairwise(bounds):
        delivered += taken(reader, b"".join(sent for sent, _, _ in TOKENS[start:stop]))
        ids += reader.ids()
    assert events_of(delivered) == events_of(b"".join(plain for _, plain, _ in TOKENS[:end]))
    assert ids == (TOKENS[end - 1][2] if end else [])


def test_an_event_without_ids_leaves_as_it_came() -> None:
    events = b"".join([role(), token("a"), b'data: {"id": "c"}\n\n'])
    assert rewritten(events, AnswerEdits("m", hides_tokens=True))[0] == events


def test_the_usage_of_an_event_that_is_sent_for_its_ids_alone_counts() -> None:
    silent = b'{"index":0,"delta":{},"finish_reason":null,"token_ids":[4]}]' + usage(3) + b"}\n\n"
    reader = StreamReader(AnswerEdits("m", hides_each_usage=True, hides_tokens=True))
    assert taken(reader, HEAD + silent) == b""
    assert reader.usage() == TokenUsage(9, 3)


def test_a_completions_events_become_a_chats() -> None:
    completion = (
        b'data: {"id":"c","object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":null,'
        b'"prompt_token_ids":[1],"token_ids":[2]}]}\n\ndata: [DONE]\n\n'
    )
    first, done, _ = rewritten(completion, AnswerEdits(as_chat=True))[0].split(b"\n\n")
    assert orjson.loads(first.removeprefix(b"data: ")) == {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "finish_reason": None, "token_ids": [2], "delta": {"content": "a"}}],
    }
    assert done == b"data: [DONE]"


# Any server's events: the fields that are edited, among fields that nobody knows.
NAMES = st.sampled_from(["id", "model", "choices", "delta", "text", "x", 'u"', "ä", "prompt"]) | st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
UNKNOWN = st.dictionaries(st.text(min_size=1, max_size=4), VALUES, max_size=3)
USAGES = st.none() | st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)})


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, Any]:
    choice = {
        **draw(UNKNOWN),
        "index": draw(st.integers(0, 2)),
        "delta": {"content": draw(st.text(min_size=1))},
        **draw(UNKNOWN),
        "token_ids": draw(st.none() | st.lists(st.integers(0, 2**31), max_size=3)),
    }
    known = {"model": draw(st.sampled_from(["m", "other"])), "choices": [choice], "usage": draw(USAGES)}
    return dict(draw(st.permutations([*draw(UNKNOWN).items(), *known.items()])))


def plain(chunk: dict[str, Any]) -> dict[str, Any]:
    """What is left of an event by definition, written without regard to speed."""
    left = {name: value for name, value in chunk.items() if name != "usage"}
    left["model"] = "best" if chunk["model"] == "m" else chunk["model"]
    left["choices"] = [{**choice, "token_ids": None} for choice in chunk["choices"]]
    return left


def stream_of(values: list[dict[str, Any]], end: str, *, ascii_only: bool) -> bytes:
    lines = [f"data: {json.dumps(value, ensure_ascii=ascii_only)}{end}" for value in values]
    return "".join([*lines, f"data: [DONE]{end}"]).encode("utf-8", "surrogatepass")


@given(
    st.lists(chunks(), max_size=4),
    st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]),
    st.booleans(),
    st.lists(st.integers(0, 2000), max_size=6),
)
def test_unknown_fields_and_their_order_stay_however_the_bytes_are_cut(
    values: list[dict[str, Any]], end: str, ascii_only: bool, places: list[int]
) -> None:
    stream = stream_of(values, end, ascii_only=ascii_only)
    edits = AnswerEdits("m", "best", hides_last_usage=True, hides_each_usage=True, hides_tokens=True)
    delivered, reader = rewritten(stream, edits, [place for place in places if place < len(stream)])
    assert (
        events_of(delivered)[:-1] == events_of(stream_of([plain(v) for v in values], end, ascii_only=ascii_only))[:-1]
    )
    assert reader.progress.done
    assert reader.ids() == [one for value in values for one in value["choices"][0]["token_ids"] or []]


def test_an_event_of_several_lines_keeps_its_other_fields() -> None:
    event = b': ping\r\nevent: chunk\r\ndata: {"model":"m",\r\ndata: "usage":{"prompt_tokens":1},\r\nid: 7\r\n'
    event += b'data: "choices":[{}]}\r\n\r\n'
    delivered, reader = rewritten(token("so") + event + DONE, HIDDEN)
    expected = token("so") + b': ping\r\nevent: chunk\r\ndata: {"model":"m","choices":[{}]}\r\nid: 7\r\n\r\n'
    assert delivered == expected + DONE
    assert reader.usage() == TokenUsage(1)


@pytest.mark.parametrize(
    "event",
    [
        b": ping\n\n",
        b"data:\n\n",
        b'data: {"usage"\n\n',
        b'data: {"usage":{},"a":"\xff"}\n\n',
        b'data: ["usage"]\n\n',
        b'data: "usage"\n\n',
        b'data: {"choices":7,"usage":null,"a":1e400}\n\n',
    ],
)
def test_what_is_no_event_that_one_knows_leaves_as_it_came(event: bytes) -> None:
    for edits in (HIDDEN, AnswerEdits("m", "best", True, True, True, True), AnswerEdits()):
        assert rewritten(token("so") + event + DONE, edits)[0].endswith(b"}\n\n" + event + DONE)


@pytest.mark.parametrize(
    "choices", [7, [7], [], None, [[]], [{"delta": 7, "token_ids": [1]}], [{"index": []}], {"0": 1}]
)
def test_choices_of_another_form_break_nothing(choices: object) -> None:
    value = {"object": "text_completion", "choices": choices, "usage": {"prompt_tokens": 1}, "token_ids": 7}
    stream = b"data: " + orjson.dumps(value) + b"\n\n"
    for edits in (HIDDEN, AnswerEdits("m", "best", True, True, True, True), AnswerEdits()):
        reader = StreamReader(edits)
        taken(reader, stream)
        reader.usage()


def test_a_number_of_more_than_64_bits_keeps_its_digits() -> None:
    event = token("a", extra=b',"seed":123456789012345678901234567890,"nan":NaN' + usage(1))
    delivered, _ = rewritten(event, HIDDEN)
    assert b'"seed":123456789012345678901234567890,"nan":NaN}' in delivered
    assert b"usage" not in delivered


STREAM = (
    b'data: {"choices":[{"delta":{"content":"\\"usage\\":{\\"prompt_tokens\\":99}"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":4,'
    b'"prompt_tokens_details":{"cached_tokens":8}}}\n\ndata: [DONE]\n\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_usage_of_an_untouched_stream_is_read_at_its_end(places: list[int]) -> None:
    delivered, reader = rewritten(STREAM, AnswerEdits(), places)
    assert delivered == STREAM
    assert reader.usage() == TokenUsage(12, 4, 8)
    assert reader.progress.done


def test_text_that_looks_like_usage_is_none() -> None:
    assert rewritten(STREAM.split(b"\n\n", 1)[0] + b"\n\n", AnswerEdits())[1].usage() == TokenUsage()


def test_the_last_usage_of_several_counts() -> None:
    running = [b'data: {"usage":{"prompt_tokens":1,"completion_tokens":%d}}\n\n' % n for n in range(500)]
    reader = StreamReader(AnswerEdits())
    for piece in [*running, b"data: [DONE]\r\n\r\n"]:
        taken(reader, piece)
    assert reader.usage() == TokenUsage(1, 499)
    assert reader.progress.done


@pytest.mark.parametrize("edits", [AnswerEdits(), HIDDEN, AnswerEdits("m", "best")])
@pytest.mark.parametrize(
    ("end", "done"),
    [
        (b"", False),
        (b'data: {"text":"data: [DONE]"}\n\n', False),
        (b"data: [DO", False),
        (b"data: [DONE]", True),
        (b"data:[DONE]\n", True),
        (b"data: [DONE]\n\n: bye\n\n", True),
    ],
)
def test_a_stream_is_done_only_with_its_end(edits: AnswerEdits, end: bytes, done: bool) -> None:
    delivered, reader = rewritten(STREAM.removesuffix(DONE) + end, edits)
    assert reader.progress.done is done
    assert delivered.endswith(end.rstrip(b"\n") + b"\n\n" if end else b"}\n\n")


EVERY = AnswerEdits("m", "best", True, True, True)
ENDINGS = [
    token("", finish="stop"),
    token("", finish="stop") + DONE,
    DONE,
    token(".", finish="stop") + token("more") + last(2),
    b'data: {"id":"c","error":{"message":"no"},"choices":[]}\n\n' + token("more"),
    b"event: error\ndata: died\n\n" + DONE,
]


@settings(max_examples=400)
@given(
    st.sampled_from(ENDINGS),
    st.sampled_from([AnswerEdits("m"), LAST_HIDDEN, AnswerEdits("m", "best"), HIDDEN, EVERY]),
    st.booleans(),
    st.lists(st.integers(0, len(COUNTED)), max_size=8),
)
def test_progress_and_answer_are_the_same_however_the_bytes_are_cut(
    ending: bytes, edits: AnswerEdits, spaced: bool, places: list[int]
) -> None:
    stream = role() + b"".join(map(token, TEXTS)) + ending
    if spaced:
        stream = stream.replace(b'"finish_reason":', b'"finish_reason" : ').replace(b" : null", b": null")
    at_once, by_event = rewritten(stream, edits), StreamReader(edits)
    events = b"".join(taken(by_event, event) for event in each_event(stream))
    events += by_event.end() if by_event.failure is None else b""
    cut = rewritten(stream, edits, [place for place in places if place < len(stream)])
    for delivered, reader in (at_once, cut):
        assert events_of(delivered) == events_of(events)
        assert reader.failure == by_event.failure
        assert reader.usage() == by_event.usage()
        for name in ("begun", "done", "finished", "has_usage"):
            assert getattr(reader.progress, name) == getattr(by_event.progress, name), name


def test_a_stream_is_complete_once_each_of_its_choices_is() -> None:
    reader = StreamReader(AnswerEdits("m"), 2)
    for event, complete in [
        (token("a"), False),
        (token("b", index=1) + token("", finish="stop") + token("c", index=1), False),
        (token("d", index=1), False),
        (token("", index=1, finish="stop"), True),
    ]:
        assert taken(reader, event) == event
        assert reader.progress.complete is complete


def test_nothing_leaves_before_the_first_content() -> None:
    reader = StreamReader(AnswerEdits("m", "best", hides_last_usage=True))
    assert taken(reader, b": ping\n\n") == b""
    assert taken(reader, role()) == b""
    assert not reader.progress.begun
    assert events_of(taken(reader, token("a"))) == events_of((role() + token("a")).replace(b'"m"', b'"best"'))
    assert reader.progress.begun


def test_the_name_is_the_callers_where_the_head_of_the_events_changes() -> None:
    later = token("b").replace(b'"created":17', b'"created":18')
    nested = token("c").replace(b'"logprobs":null', b'"logprobs":{"model":"m"}')
    twice = token("d").replace(b"]}\n", b'],"model":"n"}\n')
    stream = token("a") + token("a") + later * 3 + nested + later + twice + b'data: {"id":"x","choices":[]}\n\n'
    expected = stream.replace(b'17,"model":"m"', b'17,"model":"best"').replace(b'18,"model":"m"', b'18,"model":"best"')
    for pieces in ([stream], list(each_event(stream))):
        reader = StreamReader(AnswerEdits("m", "best"))
        delivered = events_of(b"".join(taken(reader, piece) for piece in pieces))
        named = events_of(expected)
        assert delivered[:-2] + delivered[-1:] == named[:-2] + named[-1:]
        assert dict(delivered[-2])["model"] == "n"


def test_each_event_is_folded_once() -> None:
    chunks: list[dict[str, Any]] = []
    reader = StreamReader(AnswerEdits(), delivered=False, on_chunk=chunks.append)
    for piece in each_event(COUNTED):
        reader.take(piece)
    assert [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks] == list(each_event(COUNTED))[:-1]


def test_a_usage_for_each_of_several_choices_is_summed_and_one_for_all_is_taken() -> None:
    ends = [token("a", index=index, finish="stop") for index in range(3)]
    for closing, expected in [
        ([last(5), last(6), last(7)], TokenUsage(9, 18, 4)),
        ([last(18)], TokenUsage(9, 18, 4)),
        ([last(4), last(18)], TokenUsage(9, 18, 4)),
        ([], TokenUsage()),
    ]:
        reader = StreamReader(LAST_HIDDEN, 3)
        delivered = taken(reader, b"".join([*ends, *closing, DONE]))
        assert events_of(delivered) == events_of(b"".join([*ends, DONE]))
        assert reader.usage() == expected


def test_one_choice_has_its_last_usage() -> None:
    reader = begun(LAST_HIDDEN)
    taken(reader, last(3) + last(5) + DONE)
    assert reader.usage() == TokenUsage(9, 5, 4)


PROGRESS = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":17,'
    b'"id":"chatcmpl-9","model":"m","object":"chat.completion.chunk",'
    b'"prompt_progress":{"total":57,"cache":56,"processed":57,"time_ms":12}}\n\n'
)


def test_what_llamacpp_says_of_its_cache_before_an_answer_is_known_with_the_first_token_and_hidden() -> None:
    reader = StreamReader(AnswerEdits("m", hides_progress=True))
    assert reader.take(PROGRESS) in ([], [b""])
    assert reader.prompt_usage() == TokenUsage(prompt_tokens=57, cached_tokens=56)
    sent = b"".join(reader.take(role() + token("a") + token("b", finish="length") + DONE))
    assert sent == role() + token("a") + token("b", finish="length") + DONE


@pytest.mark.parametrize("progress", ["null", "7", '{"total":1}', '{"total":1,"cache":2}', '{"total":1,"cache":"1"}'])
def test_a_progress_that_says_nothing_is_no_usage(progress: str) -> None:
    reader = StreamReader(AnswerEdits("m", hides_progress=True))
    reader.take(HEAD + b'{"index":0,"delta":{}}],"prompt_progress":' + progress.encode() + b"}\n\n")
    assert reader.prompt_usage() == TokenUsage()


def test_a_caller_who_asked_for_the_progress_gets_it() -> None:
    reader = StreamReader(AnswerEdits("m"))
    sent = b"".join(reader.take(PROGRESS + token("a", finish="length") + DONE))
    assert sent == PROGRESS + token("a", finish="length") + DONE
    assert reader.prompt_usage() == TokenUsage()
