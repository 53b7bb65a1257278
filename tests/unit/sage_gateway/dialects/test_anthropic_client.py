"""The real ``anthropic`` client against the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from fixtures.mesh import Mesh
from fixtures.scripted_chat import DEATH, MODEL, ScriptedChat, call

from sage_common.errors import ContendedError, UnavailableError, UnprocessableError

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather somewhere.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(dialect_mesh: Mesh) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=dialect_mesh.url, api_key="sk-right", max_retries=0) as client:
        yield client


async def test_a_message_is_answered_with_its_usage(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    message = await client.messages.create(model=MODEL, max_tokens=50, system="Be brief.", messages=HELLO)
    assert [block.model_dump(exclude_none=True) for block in message.content] == [
        {"type": "text", "text": "Hello, world."}
    ]
    assert (message.type, message.role, message.model, message.stop_reason) == (
        "message",
        "assistant",
        MODEL,
        "end_turn",
    )
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (7, 4, 7)
    assert message._request_id
    assert engine.body == {
        "model": MODEL,
        "max_tokens": 50,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
    }


async def test_a_stream_comes_to_the_same_message(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    engine.message = {"reasoning_content": "Let me see.", "content": "Hello, world."}
    whole = await client.messages.create(model=MODEL, max_tokens=50, messages=HELLO)
    async with client.messages.stream(model=MODEL, max_tokens=50, messages=HELLO) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        streamed = await stream.get_final_message()
    assert text == "Hello, world."
    different = {"id"}
    assert streamed.model_dump(exclude=different) == whole.model_dump(exclude=different)
    assert [block.type for block in streamed.content] == ["thinking", "text"]


async def test_events_come_in_anthropics_order(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    engine.message = {"content": "Hi", "tool_calls": [call("weather", '{"city":"Rome"}')]}
    engine.finish_reason = "tool_calls"
    stream = await client.messages.create(model=MODEL, max_tokens=50, messages=HELLO, tools=[WEATHER], stream=True)
    kinds = [event.type async for event in stream]
    runs = [kind for number, kind in enumerate(kinds) if number == 0 or kinds[number - 1] != kind]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert runs == ["message_start", *block, *block, "message_delta", "message_stop"]


async def test_tools_are_used_and_their_results_returned(
    client: anthropic.AsyncAnthropic, engine: ScriptedChat
) -> None:
    engine.message = {"content": None, "tool_calls": [call("weather", '{"city": "Rome"}'), call("weather", "", "c2")]}
    engine.finish_reason = "tool_calls"
    options: Any = {"tools": [WEATHER], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    async with client.messages.stream(model=MODEL, max_tokens=50, messages=HELLO, **options) as stream:
        asked = await stream.get_final_message()
    assert asked.stop_reason == "tool_use"
    assert [(block.type, block.id, block.name, block.input) for block in asked.content if block.type == "tool_use"] == [
        ("tool_use", "call_1", "weather", {"city": "Rome"}),
        ("tool_use", "c2", "weather", {}),
    ]
    assert engine.body["tool_choice"] == "required"
    assert engine.body["parallel_tool_calls"] is False
    results: Any = [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "c2", "is_error": True, "content": [{"type": "text", "text": "where?"}]},
        {"type": "text", "text": "Go on."},
    ]
    engine.reset()
    await client.messages.create(
        model=MODEL,
        max_tokens=50,
        messages=[*HELLO, asked.to_param(), {"role": "user", "content": results}],
        tools=[WEATHER],
    )
    assert engine.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("weather", '{"city":"Rome"}'), call("weather", "{}", "c2")],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error:\nwhere?"},
        {"role": "user", "content": "Go on."},
    ]


async def test_the_sdks_tool_runner_runs_to_the_end(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    asked: list[str] = []

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """The weather somewhere."""
        asked.append(city)
        engine.message = {"content": "It is sunny."}
        engine.finish_reason = "stop"
        return "sunny"

    engine.message = {"content": None, "tool_calls": [call("weather", '{"city": "Rome"}')]}
    engine.finish_reason = "tool_calls"
    runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=50, messages=HELLO, tools=[weather])
    last = await runner.until_done()
    assert asked == ["Rome"]
    assert last.content[0].text == "It is sunny."  # type: ignore[union-attr]


async def test_the_stop_sequence_that_ended_an_answer_is_named(
    client: anthropic.AsyncAnthropic, engine: ScriptedChat
) -> None:
    engine.stop_reason = "END"
    async with client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO, stop_sequences=["END"]) as stream:
        message = await stream.get_final_message()
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert engine.body["stop"] == ["END"]


async def test_an_answer_goes_on_where_the_assistant_has_begun_it(
    client: anthropic.AsyncAnthropic, engine: ScriptedChat
) -> None:
    engine.message = {"content": " Rome."}
    begun: Any = [*HELLO, {"role": "assistant", "content": "It is"}]
    message = await client.messages.create(model=MODEL, max_tokens=9, messages=begun)
    assert message.content[0].text == " Rome."  # type: ignore[union-attr]
    assert message.usage.output_tokens == 7
    # In one piece llama.cpp would repeat the beginning.
    assert (engine.body["stream"], engine.body["continue_final_message"]) == (True, True)


async def test_tokens_are_counted_without_an_engine(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    few = await client.messages.count_tokens(model=MODEL, messages=HELLO)
    more = await client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.", tools=[WEATHER])
    assert 0 < few.input_tokens < more.input_tokens
    assert not engine.bodies
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.count_tokens(model="nope", messages=HELLO)


async def test_errors_come_as_the_clients_own_classes(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    async def refused(**changed: Any) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as refusal:
            await client.messages.create(**{"model": MODEL, "max_tokens": 9, "messages": HELLO, **changed})
        error: anthropic.APIStatusError = refusal.value
        assert error.request_id
        return error

    unknown = await refused(model="nope")
    assert (type(unknown), unknown.type) == (anthropic.NotFoundError, "not_found_error")
    field = await refused(extra_body={"containr": 1})
    assert (field.status_code, field.type) == (400, "invalid_request_error")
    assert "'containr'" in field.message
    server_tool = await refused(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert "tools[0].type" in str(server_tool.api_message)
    for failure, status, kind in (
        (DEATH, 500, "api_error"),
        (UnavailableError("nothing serves it"), 529, "overloaded_error"),
        (ContendedError("the queue is full", retry_after_seconds=3), 429, "rate_limit_error"),
    ):
        engine.fails_before = failure
        error = await refused()
        assert (error.status_code, error.type, error.api_message) == (status, kind, failure.message)
    assert error.response.headers["retry-after"] == "3"
    refusal = b'{"error":{"message":"too long"}}'
    engine.fails_before = UnprocessableError("no", upstream_status=400, upstream_body=refusal)
    assert (await refused()).api_message == "too long"


async def test_an_engine_that_dies_in_mid_stream_ends_it_with_an_error(
    client: anthropic.AsyncAnthropic, engine: ScriptedChat
) -> None:
    engine.dies_after = 2
    text = ""

    async def read() -> None:
        nonlocal text
        async with client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as stream:
            async for piece in stream.text_stream:
                text += piece

    with pytest.raises(anthropic.APIStatusError) as died:
        await read()
    assert text == "Hell"
    assert (died.value.type, died.value.api_message) == ("api_error", "the engine died")


async def test_a_client_that_leaves_ends_the_engines_work(
    client: anthropic.AsyncAnthropic, dialect_mesh: Mesh, engine: ScriptedChat
) -> None:
    engine.waits_after = 2
    async with client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as stream:
        assert await anext(aiter(stream.text_stream)) == "Hell"
    await asyncio.wait_for(engine.job_cancelled.wait(), 5)
    assert dialect_mesh.edge.in_flight == 0


async def test_keys_are_taken_from_either_header(dialect_mesh: Mesh, engine: ScriptedChat) -> None:
    def with_headers(**headers: Any) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            base_url=dialect_mesh.url, api_key="unused", max_retries=0, default_headers=headers
        )

    async with with_headers(**{"x-api-key": "sk-right", "Authorization": anthropic.omit}) as client:
        await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO)
        assert engine.jobs[-1].tenant == "acme"
    for headers, words in (
        ({"Authorization": anthropic.omit, "x-api-key": anthropic.omit}, "x-api-key header is required"),
        ({"Authorization": anthropic.omit, "x-api-key": "sk-wrong"}, "invalid x-api-key"),
        ({"Authorization": "Bearer sk-wrong", "x-api-key": "sk-right"}, "different keys"),
    ):
        async with with_headers(**headers) as client:
            with pytest.raises(anthropic.AuthenticationError, match=words):
                await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO)


async def test_what_is_not_served_says_so(client: anthropic.AsyncAnthropic, engine: ScriptedChat) -> None:
    with pytest.raises(anthropic.NotFoundError, match="/v1/messages/batches is not served"):
        await client.messages.batches.list()
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
        await client.messages.create(
            model=MODEL, max_tokens=9, messages=HELLO, extra_headers={"anthropic-version": "2023-01-01"}
        )
