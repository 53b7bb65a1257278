"""What a client takes for a whole answer, and what for a wrong one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from sage_benchmark.simulated_engine.answer_rendering import DEFAULT_DIMENSIONS, vector_of
from sage_benchmark.simulated_engine.answer_text import answer_text
from sage_benchmark.soak.accounts import Account, Attempt, Ending
from sage_benchmark.soak.checked_answers import Gateways, answer, request_of, texts_of
from sage_benchmark.soak.soak_plan import AnswerOrder, SoakPlan, Work
from sage_control_plane.request.body import read_body
from sage_control_plane.request.classification import is_resumable
from sage_control_plane.request.request import Endpoint, RequestKind

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Answer], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(reply: Answer) -> str:
        app = web.Application()
        app.router.add_post("/{path:.*}", reply)
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        site = web.TCPSite(runners[-1], "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runners[-1].addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def attempts(order: AnswerOrder, *urls: str, seconds: float = 20.0) -> list[Attempt]:
    account = Account(order.name, order.work)
    async with aiohttp.ClientSession() as session:
        gateways = Gateways(dict(enumerate(urls, 1)), session, SoakPlan(answer_seconds=seconds))
        await answer(gateways, order, account, 0)
    return account.attempts


def order(work: Work = Work.CHAT, tokens: int = 3) -> AnswerOrder:
    return AnswerOrder(0.0, "r1", work, tokens)


def streamed(*parts: str, ends: int = 1) -> Answer:
    """Answers with a stream of these texts, as engine2 does."""
    events = [orjson.dumps({"choices": [{"delta": {"content": part}}]}).decode() for part in parts]
    body = "".join(f"data: {event}\n\n" for event in [*events, *["[DONE]"] * ends])

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, headers={"x-sage-engine": "engine2-ab12"})

    return reply


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'data: {"choices":[{"delta":{"content":"r1.0 "}}]}\n\n')
    assert request.transport is not None
    request.transport.abort()
    return response


async def test_each_token_once_in_order_before_one_end_is_whole(serve: Serve) -> None:
    (whole,) = await attempts(order(), await serve(streamed("r1.0 r1.1 ", "r1.2 ")))
    assert (whole.ending, whole.host, whole.engine) == (Ending.WHOLE, 1, 2)


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (streamed("r1.0 ", "r1.2 "), "1 of 3 tokens missing, 0 doubled"),
        (streamed("r1.0 ", "r1.0 r1.1 r1.2 "), "0 of 3 tokens missing, 1 doubled"),
        (streamed("r1.1 r1.0 r1.2 "), "0 of 3 tokens missing, 0 doubled"),
        (streamed("r2.0 r2.1 r2.2 "), "0 of 3 tokens missing, 0 doubled"),
        (streamed("r1.0 r1.1 r1.2 ", ends=0), "0 ends"),
        (streamed("r1.0 r1.1 r1.2 ", ends=2), "2 ends"),
    ],
)
async def test_an_end_that_is_not_behind_the_whole_answer_is_wrong(serve: Serve, reply: Answer, detail: str) -> None:
    (wrong,) = await attempts(order(), await serve(reply))
    assert wrong.ending is Ending.WRONG
    assert detail in wrong.detail


async def test_errors_are_clear_in_the_form_of_the_api_alone(serve: Serve) -> None:
    error = {"error": {"message": "no engine", "type": "server_error", "code": "unavailable", "param": None}}

    async def event(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"data: {orjson.dumps(error).decode()}\n\n")

    async def status(request: web.Request) -> web.StreamResponse:
        return web.json_response(error, status=503)

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", status=502)

    for reply, ending, told in (
        (event, Ending.ERROR, "no engine; nothing came"),
        (status, Ending.ERROR, "503 unavailable: no engine"),
        (page, Ending.WRONG, "502, and no error in the form of the API: b'<html>'"),
    ):
        (one,) = await attempts(order(), await serve(reply))
        assert (one.ending, one.detail) == (ending, told)


async def test_one_that_breaks_off_is_asked_again_at_the_next_gateway(serve: Serve) -> None:
    first, second = await attempts(order(), await serve(broken_off), await serve(streamed("r1.0 r1.1 r1.2 ")))
    assert (first.ending, first.host, second.ending, second.host) == (Ending.BROKEN, 1, Ending.WHOLE, 2)
    assert "1 tokens, the last 'r1.0 '" in first.detail


async def test_one_that_does_not_end_is_hung(serve: Serve) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    (hung,) = await attempts(order(), await serve(never), seconds=0.1)
    assert hung.ending is Ending.HUNG


async def test_vectors_are_those_of_their_texts(serve: Serve) -> None:
    asked = order(Work.EMBEDDING, tokens=1)

    def item(index: int, text: str) -> dict[str, Any]:
        vector = base64.b64encode(vector_of(text, DEFAULT_DIMENSIONS).tobytes()).decode()
        return {"index": index, "embedding": vector}

    texts = texts_of(asked)
    assert len(texts) == 2
    for given, ending in (
        ([item(0, texts[0]), item(1, texts[1])], Ending.WHOLE),
        ([item(0, texts[1]), item(1, texts[0])], Ending.WRONG),
        ([item(0, texts[0])], Ending.WRONG),
    ):

        async def reply(request: web.Request, given: list[dict[str, Any]] = given) -> web.StreamResponse:
            return web.json_response({"data": given})

        (one,) = await attempts(asked, await serve(reply))
        assert one.ending is ending, one


async def test_completions_are_documents(serve: Serve) -> None:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": [{"text": answer_text("r1", 0, 3)}]})

    (whole,) = await attempts(order(Work.COMPLETION), await serve(reply))
    assert whole.ending is Ending.WHOLE


@pytest.mark.parametrize(("work", "continued"), [(Work.CHAT, True), (Work.GUIDED, False)])
def test_only_a_guided_chat_is_one_that_no_engine_can_continue(work: Work, continued: bool) -> None:
    _, body = request_of(order(work))
    content = read_body(Endpoint.CHAT_COMPLETIONS, orjson.dumps(body))
    assert is_resumable(RequestKind.LLM_CHAT, content) is continued
