"""LangChain and Pydantic AI run unchanged: tools, streams, structured output and whole agent loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
import pytest_asyncio
from fixtures.mesh import Mesh
from fixtures.scripted_chat import MODEL, ScriptedChat, call
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAID = "It rains in Oslo."


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    rains: bool


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


@pytest_asyncio.fixture(loop_scope="module")
async def client(dialect_mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{dialect_mesh.url}/v1", api_key="sk-right", max_retries=0) as client:
        yield client


@pytest.fixture
def calls_tool(engine: ScriptedChat) -> ScriptedChat:
    engine.message = {"role": "assistant", "content": None, "tool_calls": [call("weather", '{"city": "Oslo"}')]}
    engine.finish_reason = "tool_calls"
    engine.after_tool = {"role": "assistant", "content": SAID}
    return engine


def chain(client: openai.AsyncOpenAI, **options: Any) -> ChatOpenAI:
    """LangChain's model on a client that the test closes."""
    return ChatOpenAI(
        model=MODEL,
        api_key="sk-right",
        root_async_client=client,
        async_client=client.chat.completions,
        **options,
    )


async def test_langchain_calls_a_tool_and_goes_on(client: openai.AsyncOpenAI, calls_tool: ScriptedChat) -> None:
    model = chain(client).bind_tools([weather])
    question = HumanMessage("How is Oslo?")
    asked = await model.ainvoke([question])
    assert isinstance(asked, AIMessage)
    assert [(one["name"], one["args"]) for one in asked.tool_calls] == [("weather", {"city": "Oslo"})]
    assert asked.usage_metadata is not None
    assert asked.usage_metadata["input_tokens"] == 11
    result = await weather.ainvoke(asked.tool_calls[0])
    assert isinstance(result, ToolMessage)
    answered = await model.ainvoke([question, asked, result])
    assert answered.content == SAID
    assert calls_tool.body["messages"][-1]["content"] == "rain in Oslo"


async def test_langchain_streams_and_reads_structured_output(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    pieces = [piece.content async for piece in chain(client, stream_usage=True).astream("hello")]
    assert "".join(map(str, pieces)) == "Hello, world."
    assert len([piece for piece in pieces if piece]) > 2
    engine.message = {"role": "assistant", "content": '{"city": "Oslo", "rains": true}'}
    structured = chain(client).with_structured_output(Weather, method="json_schema")
    assert await structured.ainvoke("How is Oslo?") == Weather(city="Oslo", rains=True)
    assert engine.body["response_format"]["json_schema"]["name"] == "Weather"


@pytest.mark.parametrize("api", [OpenAIChatModel, OpenAIResponsesModel])
async def test_pydantic_ai_runs_an_agent_to_its_end(
    client: openai.AsyncOpenAI, calls_tool: ScriptedChat, api: Callable[..., OpenAIChatModel]
) -> None:
    """Through chat completions and through the Responses API."""
    cities: list[str] = []
    agent = Agent(api(MODEL, provider=OpenAIProvider(openai_client=client)), system_prompt="Be brief.")

    @agent.tool_plain(name="weather")
    def told(city: str) -> str:
        """Tell the weather of a city."""
        cities.append(city)
        return f"rain in {city}"

    answered = await agent.run("How is Oslo?")
    assert (answered.output, cities) == (SAID, ["Oslo"])
    assert answered.usage.requests == 2
    async with agent.run_stream("How is Oslo?") as streamed:
        assert await streamed.get_output() == SAID
    assert cities == ["Oslo", "Oslo"]
