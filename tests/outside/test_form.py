"""An answer in another form than the one that was asked for."""

from __future__ import annotations

import orjson
import pytest
from fixtures.outside_mesh import Outside
from fixtures.outside_server import DONE, HELLO, ROLE, USAGE, WHOLE, chunk, event, says, streams

CALL = {"id": "t-1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


async def test_a_document_for_a_stream_is_sent_as_events(outside: Outside) -> None:
    await outside.serve(says(WHOLE))
    answered = await outside.ask(stream=True)
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert (answered.text, answered.done) == ("hello", True)
    values = [orjson.loads(one.data) for one in answered.events[:-1]]
    assert {value["object"] for value in values} == {"chat.completion.chunk"}
    assert [value["choices"][0]["finish_reason"] for value in values] == [None, "stop"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_its_usage_is_sent_to_who_asked_for_it(outside: Outside, wanted: bool) -> None:
    await outside.serve(says(WHOLE))
    answered = await outside.ask(stream=True, stream_options={"include_usage": wanted})
    assert (b'"prompt_tokens":7' in answered.body) is wanted


async def test_its_calls_of_tools_are_numbered(outside: Outside) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    await outside.serve(says({**WHOLE, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))
    values = [orjson.loads(one.data) for one in (await outside.ask(stream=True)).events[:-1]]
    assert values[0]["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **CALL}]
    assert values[1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_events_for_a_whole_answer_are_folded(outside: Outside) -> None:
    usage = event({"choices": [], "usage": USAGE})
    server = await outside.serve(streams(*HELLO, usage, DONE))
    answered = await outside.ask()
    assert answered.headers["content-type"] == "application/json"
    assert answered.json == WHOLE
    server.post = streams(*HELLO)
    assert (await outside.ask()).text == "hello"


async def test_folding_joins_calls_of_tools_and_choices(outside: Outside) -> None:
    first = {"index": 0, "id": "t-1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    more = {"index": 0, "function": {"arguments": ":1}"}}
    parts = (
        ROLE,
        chunk(None, tool_calls=[first]),
        chunk("x", index=1, role="assistant"),
        chunk(None, tool_calls=[more]),
        chunk(None, "tool_calls"),
        chunk(None, "stop", index=1),
    )
    await outside.serve(streams(*parts))
    choices = (await outside.ask(n=2)).json["choices"]
    assert choices[0]["message"]["tool_calls"] == [CALL]
    assert [choice["finish_reason"] for choice in choices] == ["tool_calls", "stop"]
    assert choices[1]["message"]["content"] == "x"


async def test_a_completions_text_is_folded_too(outside: Outside) -> None:
    def text(said: str, finish: str | None = None) -> bytes:
        return event({"object": "text_completion", "choices": [{"index": 0, "text": said, "finish_reason": finish}]})

    await outside.serve(streams(text("hel"), text("lo"), text("", "stop"), DONE))
    answered = await outside.ask(path="/v1/completions", prompt="hi")
    assert answered.json["choices"] == [{"index": 0, "text": "hello", "finish_reason": "stop"}]


async def test_a_cut_stream_is_no_whole_answer(outside: Outside) -> None:
    await outside.serve(streams(*HELLO[:-1]))
    assert (await outside.ask()).status == 502


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"", "text/event-stream"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'{"choices":[]}', "application/json"),
        (b"<html>sign in</html>", "text/html"),
        (b'{"response":"he"}\n{"response":"llo"}\n', "application/x-ndjson"),
    ],
)
async def test_what_is_neither_names_the_mismatch(
    outside: Outside, body: bytes, content_type: str, stream: bool
) -> None:
    async def odd(wire, _asked) -> None:  # type: ignore[no-untyped-def]
        await wire.whole(body, 200, content_type)

    await outside.serve(odd)
    answered = await outside.ask(stream=stream)
    assert answered.status == 502
    assert "answered" in answered.error["message"]
