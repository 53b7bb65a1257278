"""A stream whose usage only SAGE asked for reaches its caller as if nobody had. The events are vLLM 0.32's."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_llm_coordinator.engines.exchange import Exchange
from sage_llm_coordinator.engines.model_names import AGREED, ModelNames
from sage_llm_coordinator.engines.streamed_answer import StreamedAnswer
from sage_llm_coordinator.engines.usage_request import AS_ASKED, UsageWish, with_usage
from sage_mesh.reply import TokenUsage

SIGNATURE = b',"system_fingerprint":"vllm-0.32.0-d2136965"'
HEAD = b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":17,"model":"m","choices":['
DONE = b"data: [DONE]\n\n"
HIDDEN = UsageWish(hides_last=True, hides_each=True)


def exchange(wish: UsageWish, names: ModelNames = AGREED) -> Exchange:
    return Exchange("/v1/chat/completions", b"{}", names, wish)


def usage(completion: int, *, each: bool = True) -> bytes:
    details = b',"completion_tokens_details":null' if each else b',"prompt_tokens_details":{"cached_tokens":4}'
    return b',"usage":{"prompt_tokens":9,"total_tokens":%d,"completion_tokens":%d%b}' % (
        9 + completion,
        completion,
        details,
    )


def token(text: str, *, index: int = 0, finish: str = "", extra: bytes = b"") -> bytes:
    reason = b'"%b","stop_reason":null' % finish.encode() if finish else b"null"
    content = orjson.dumps(text)
    choice = b'{"index":%d,"delta":{"content":%b},"logprobs":null,"finish_reason":%b,"token_ids":null}]%b}\n\n'
    return HEAD + choice % (index, content, reason, extra)


def role(extra: bytes = b"") -> bytes:
    return (
        HEAD
        + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
        + extra
        + b',"prompt_token_ids":null,"prompt_text":null}\n\n'
    )


def last(completion: int) -> bytes:
    return HEAD + b"]" + usage(completion, each=False) + SIGNATURE + b"}\n\n"


# What callers may write, and what looks like the protocol without being it.
TEXTS = ['a"usage":{"x":1}', "usage", ',"usage":{}', "\\", '"finish_reason":"stop"', "ä\n\n", "data: [DONE]", "[]"]
PLAIN = role() + b"".join(map(token, TEXTS)) + token(".", finish="length", extra=SIGNATURE) + DONE
COUNTED = (
    role(usage(0))
    + b"".join(token(text, extra=usage(n + 1)) for n, text in enumerate(TEXTS))
    + token(".", finish="length", extra=usage(9))
    + last(9)
    + DONE
)
ASKED = role() + b"".join(map(token, TEXTS)) + token(".", finish="length") + last(9) + DONE


def shown(stream: bytes, wish: UsageWish, places: list[int], fingerprint: bytes | None = None) -> StreamedAnswer:
    answer = StreamedAnswer(exchange(wish), fingerprint)
    bounds = [0, *sorted(places), len(stream)]
    pieces = [answer.take(stream[start:end]) for start, end in pairwise(bounds)]
    answer.told = b"".join(pieces) + answer.held() + answer.rest()  # type: ignore[attr-defined]
    return answer


CUTS = st.lists(st.integers(0, len(COUNTED)), max_size=12)


@given(CUTS)
def test_who_did_not_ask_for_usage_sees_none_wherever_the_stream_is_cut(places: list[int]) -> None:
    answer = shown(COUNTED, HIDDEN, places)
    assert answer.told == PLAIN  # type: ignore[attr-defined]
    assert answer.usage() == TokenUsage(9, 9, 4)
    assert answer.done


@given(CUTS)
def test_who_asked_for_the_last_usage_sees_that_one_alone(places: list[int]) -> None:
    answer = shown(COUNTED, UsageWish(hides_each=True), places)
    assert answer.told == ASKED  # type: ignore[attr-defined]
    assert answer.usage() == TokenUsage(9, 9, 4)


@given(CUTS)
def test_who_asked_for_everything_gets_the_bytes_untouched(places: list[int]) -> None:
    answer = shown(COUNTED, AS_ASKED, places)
    assert answer.told == COUNTED  # type: ignore[attr-defined]
    assert answer.usage() == TokenUsage(9, 9, 4)


@given(st.integers(0, len(COUNTED)))
def test_a_stream_that_is_given_up_is_counted_and_nothing_whole_is_lost(at: int) -> None:
    answer = StreamedAnswer(exchange(HIDDEN), None)
    told = answer.take(COUNTED[:at]) + answer.held()
    whole = COUNTED[:at].count(b"\n\n")
    assert answer.usage().completion_tokens == min(max(0, whole - 1), 9)
    assert PLAIN.replace(SIGNATURE, b"").startswith(told.replace(SIGNATURE, b""))
    assert told.count(b"\n\n") == whole - COUNTED[:at].rpartition(b"\n\n")[0].count(b'"choices":[]')


def test_null_usage_of_servers_that_write_it_is_taken_out() -> None:
    stream = token("a", extra=b',"usage":null') + token("", finish="stop", extra=b',"usage":null') + last(1) + DONE
    answer = shown(stream, UsageWish(hides_last=True), [])
    assert answer.told == token("a") + token("", finish="stop", extra=SIGNATURE) + DONE  # type: ignore[attr-defined]


def test_a_server_that_signs_every_event_or_none_is_left_alone() -> None:
    every = [token("a", extra=SIGNATURE), token("", finish="stop", extra=SIGNATURE)]
    answer = shown(b"".join([*every, last(1), DONE]), UsageWish(hides_last=True), [])
    assert answer.told == b"".join([*every, DONE])  # type: ignore[attr-defined]
    none = [token("a"), token("", finish="stop")]
    answer = shown(b"".join([*none, last(1).replace(SIGNATURE, b""), DONE]), UsageWish(hides_last=True), [])
    assert answer.told == b"".join([*none, DONE])  # type: ignore[attr-defined]
    assert answer.fingerprint == b""


def test_a_server_that_tells_no_usage_loses_nothing() -> None:
    stream = token("a") + token("", finish="stop") + DONE
    assert shown(stream, UsageWish(hides_last=True), []).told == stream  # type: ignore[attr-defined]


SEVERAL = UsageWish(hides_last=True, hides_each=True, several=True)


@pytest.mark.parametrize("fingerprint", [None, SIGNATURE])
def test_each_of_several_choices_ends_with_the_signature_and_all_are_counted(fingerprint: bytes | None) -> None:
    events = [(0, "a", ""), (1, "b", "stop"), (0, "c", ""), (0, "d", "length")]
    counts = [1, 1, 2, 3]
    stream = b"".join(
        token(text, index=index, finish=finish, extra=usage(count))
        for (index, text, finish), count in zip(events, counts, strict=True)
    )
    answer = StreamedAnswer(exchange(SEVERAL), fingerprint)
    told = answer.take(stream)
    assert answer.usage() == TokenUsage(9, 4)
    told += answer.take(last(4) + DONE)
    assert answer.usage() == TokenUsage(9, 4, 4)
    assert told == DONE.join(
        [
            b"".join(
                token(text, index=index, finish=finish, extra=SIGNATURE if finish else b"")
                for index, text, finish in events
            ),
            b"",
        ]
    )


def test_with_a_known_signature_no_choice_waits_for_another() -> None:
    answer = StreamedAnswer(exchange(SEVERAL), SIGNATURE)
    assert answer.take(token("b", index=1, finish="stop", extra=usage(1))) == token(
        "b", index=1, finish="stop", extra=SIGNATURE
    )


def test_an_error_after_a_finished_choice_is_not_held_back() -> None:
    answer = StreamedAnswer(exchange(HIDDEN), None)
    error = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
    finished = token("b", finish="stop")
    assert answer.take(finished) == b""
    assert answer.take(error) == finished + error


def test_the_callers_name_stands_for_the_models() -> None:
    names = ModelNames((b'"model":"m"', b'"model": "m"'), b'"model":"best"')
    answer = StreamedAnswer(exchange(HIDDEN, names), None)
    told = answer.take(COUNTED) + answer.held() + answer.rest()
    assert told == PLAIN.replace(b'"model":"m"', b'"model":"best"')


def test_a_body_without_options_gets_them_at_its_end() -> None:
    body = b'{ "model":"m", "stream":true, "x":1.0 }\n'
    asked, wish = with_usage(body, continuous=True)
    assert asked.startswith(b'{ "model":"m", "stream":true, "x":1.0')
    assert orjson.loads(asked) == orjson.loads(body) | {
        "stream_options": {"include_usage": True, "continuous_usage_stats": True}
    }
    assert wish == HIDDEN
    assert with_usage(body, continuous=False)[1] == UsageWish(hides_last=True)


@pytest.mark.parametrize(
    ("given_options", "continuous", "sent", "wish"),
    [
        (None, False, {"include_usage": True}, UsageWish(True, False)),
        ({}, True, {"include_usage": True, "continuous_usage_stats": True}, UsageWish(True, True)),
        ({"include_usage": False, "x": 1}, False, {"include_usage": True, "x": 1}, UsageWish(True, False)),
        ({"include_usage": True}, False, {"include_usage": True}, AS_ASKED),
        (
            {"include_usage": True},
            True,
            {"include_usage": True, "continuous_usage_stats": True},
            UsageWish(False, True),
        ),
        (
            {"include_usage": True, "continuous_usage_stats": True},
            True,
            {"include_usage": True, "continuous_usage_stats": True},
            AS_ASKED,
        ),
        (
            {"continuous_usage_stats": True},
            True,
            {"include_usage": True, "continuous_usage_stats": True},
            UsageWish(True, True),
        ),
        ("nonsense", True, "nonsense", AS_ASKED),
    ],
)
def test_the_callers_own_options_stay(given_options: object, continuous: bool, sent: object, wish: UsageWish) -> None:
    body = orjson.dumps({"model": "m", "stream": True, "stream_options": given_options})
    asked, wanted = with_usage(body, continuous=continuous)
    assert orjson.loads(asked)["stream_options"] == sent
    assert wanted == wish


@pytest.mark.parametrize(
    ("fields", "several"),
    [({"n": 2}, True), ({"n": 1}, False), ({"n": 12}, True), ({"prompt": ["a", "b"]}, True), ({"prompt": "a"}, False)],
)
def test_several_choices_are_expected_where_they_were_asked_for(fields: dict[str, object], several: bool) -> None:
    body = orjson.dumps({"model": "m", "stream": True, **fields})
    assert with_usage(body, continuous=True)[1].several is several
