"""The real ``openai`` client's Responses API against the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from fixtures.mesh import Mesh
from fixtures.scripted_chat import DEATH, MODEL, ScriptedChat, call
from pydantic import BaseModel

from sage_common.errors import ContendedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather somewhere.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
TEXT_EVENTS = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
CALL_EVENTS = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]


class City(BaseModel):
    name: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(dialect_mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{dialect_mesh.url}/v1", api_key="sk-right", max_retries=0) as client:
        yield client


async def test_an_input_is_answered_with_its_usage(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    response = await client.responses.create(
        model=MODEL, instructions="Be brief.", input="hello", max_output_tokens=50, metadata={"a": "b"}
    )
    assert response.output_text == "Hello, world."
    assert (response.object, response.status, response.model, response.error) == ("response", "completed", MODEL, None)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (11, 7, 18)
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    said_again = response.model_dump()
    assert (said_again["store"], said_again["metadata"], said_again["instructions"]) == (True, {"a": "b"}, "Be brief.")
    assert engine.body == {
        "model": MODEL,
        "max_tokens": 50,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
    }


async def test_a_stream_comes_to_the_same_response(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.message = {
        "reasoning_content": "Let me see.",
        "content": "Hello, world.",
        "tool_calls": [call("weather", '{"city": "Rome"}')],
    }
    whole = await client.responses.create(model=MODEL, input="hello", tools=[WEATHER])
    async with client.responses.stream(model=MODEL, input="hello", tools=[WEATHER]) as stream:
        streamed = await stream.get_final_response()

    def comparable(response: Any) -> Any:
        value = response.model_dump(exclude={"id", "created_at", "completed_at"}, warnings=False)
        for item in value["output"]:
            item.pop("id")
            # What the SDK's helper adds.
            item.pop("parsed_arguments", None)
            for part in item.get("content") or ():
                part.pop("parsed", None)
        return value

    assert comparable(streamed) == comparable(whole)
    assert [item.type for item in streamed.output] == ["reasoning", "message", "function_call"]


async def test_events_come_in_openais_order_and_numbered(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.message = {"content": "Hi", "tool_calls": [call("weather", '{"city":"Rome"}'), call("weather", "{}", "c2")]}
    stream = await client.responses.create(model=MODEL, input="hello", tools=[WEATHER], stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    runs = [kind for number, kind in enumerate(kinds) if number == 0 or kinds[number - 1] != kind]
    opening = ["response.created", "response.in_progress"]
    assert runs == [*opening, *TEXT_EVENTS, *CALL_EVENTS, *CALL_EVENTS, "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_functions_are_called_and_their_results_returned(
    client: openai.AsyncOpenAI, engine: ScriptedChat
) -> None:
    engine.message = {"content": None, "tool_calls": [call("weather", '{"city": "Rome"}'), call("weather", "{}", "c2")]}
    asked = await client.responses.create(
        model=MODEL, input="hello", tools=[WEATHER], tool_choice={"type": "function", "name": "weather"}
    )
    calls = [(item.call_id, item.name, item.arguments) for item in asked.output if item.type == "function_call"]
    assert calls == [("call_1", "weather", '{"city": "Rome"}'), ("c2", "weather", "{}")]
    assert engine.body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    engine.reset()
    results: Any = [
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "where?"}]},
    ]
    before: Any = [item.model_dump(exclude_none=True) for item in asked.output]
    await client.responses.create(
        model=MODEL, input=[{"role": "user", "content": "hello"}, *before, *results], tools=[WEATHER]
    )
    assert engine.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("weather", '{"city": "Rome"}'), call("weather", "{}", "c2")],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "where?"},
    ]


async def test_an_answer_of_a_stated_form_is_parsed(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.message = {"content": '{"name": "Rome"}'}
    response = await client.responses.parse(model=MODEL, input="hello", text_format=City)
    assert response.output_parsed == City(name="Rome")
    assert engine.body["response_format"]["type"] == "json_schema"
    assert engine.body["response_format"]["json_schema"]["schema"]["required"] == ["name"]


async def test_an_answer_that_was_cut_is_incomplete(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.finish_reason = "length"
    whole = await client.responses.create(model=MODEL, input="hello", max_output_tokens=1)
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    stream = await client.responses.create(model=MODEL, input="hello", max_output_tokens=1, stream=True)
    assert [event.type async for event in stream][-1] == "response.incomplete"


async def test_errors_come_as_the_clients_own_classes(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.responses.create(model="nope", input="hello")
    assert unknown.value.code == "model_not_found"
    for given, param in (
        ({"conversation": "conv_1"}, "conversation"),
        ({"store": "yes"}, "store"),
        ({"background": True, "store": False}, "store"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"extra_body": {"messages": []}}, "messages"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**{"model": MODEL, "input": "hello", **given})  # type: ignore[call-overload]
        assert refused.value.param == param
    engine.fails_before = DEATH
    with pytest.raises(openai.InternalServerError, match="the engine died") as broken:
        await client.responses.create(model=MODEL, input="hello", stream=True)
    assert broken.value.status_code == 502
    engine.fails_before = ContendedError("the queue is full", retry_after_seconds=3)
    with pytest.raises(openai.RateLimitError) as full:
        await client.responses.create(model=MODEL, input="hello")
    assert full.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-wrong").responses.create(model=MODEL, input="hello")


async def test_an_engine_that_dies_in_mid_stream_fails_the_response(
    client: openai.AsyncOpenAI, engine: ScriptedChat
) -> None:
    engine.dies_after = 2
    stream = await client.responses.create(model=MODEL, input="hello", stream=True)
    events: Any = [event async for event in stream]
    assert events[-1].type == "response.failed"
    assert (events[-1].response.status, events[-1].response.error.message) == ("failed", "the engine died")
    assert events[-1].response.output_text == "Hell"


async def test_a_client_that_leaves_ends_the_engines_work(
    client: openai.AsyncOpenAI, dialect_mesh: Mesh, engine: ScriptedChat
) -> None:
    engine.waits_after = 2
    stream = await client.responses.create(model=MODEL, input="hello", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    await asyncio.wait_for(engine.job_cancelled.wait(), 5)
    assert dialect_mesh.edge.in_flight == 0


async def test_tokens_are_counted_without_an_engine(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    few = await client.responses.input_tokens.count(model=MODEL, input="hello")
    more = await client.responses.input_tokens.count(model=MODEL, input="hello", instructions="Be brief, and polite.")
    assert 0 < few.input_tokens < more.input_tokens
    assert not engine.bodies
