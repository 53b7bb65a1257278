"""Servers that report their failure inside an answer of status 200, in every spelling that is seen."""

from __future__ import annotations

import pytest
from fixtures.outside_mesh import Outside
from fixtures.outside_server import DONE, HELLO, ROLE, Handler, answer, event, says, streams

# Each with the status that it stands for.
SPELLINGS = [
    pytest.param({"error": {"message": "no", "code": 400}}, 400, id="number"),
    pytest.param({"error": {"message": "no", "code": "422"}}, 422, id="digits"),
    pytest.param({"error": {"message": "no", "code": "context_length_exceeded"}}, 400, id="name"),
    pytest.param({"error": {"message": "no", "type": "invalid_request_error", "code": None}}, 400, id="type"),
    pytest.param({"object": "error", "message": "no", "type": "BadRequestError", "code": 400}, 400, id="object"),
    pytest.param({"id": "c-1", "choices": [], "error": {"message": "no", "code": 413}}, 413, id="beside an id"),
    pytest.param({"type": "error", "error": {"type": "permission_error", "message": "no"}}, 403, id="type error"),
    pytest.param({"error": {"message": "no", "code": 429}}, 429, id="429"),
    pytest.param({"error": {"message": "no", "code": "rate_limit_exceeded"}}, 429, id="rate limit"),
    pytest.param({"error": {"message": "no", "code": "server_overloaded"}}, 503, id="overloaded"),
    pytest.param({"error": {"message": "no", "type": "InternalServerError"}}, 500, id="internal"),
    pytest.param({"error": "no"}, 500, id="text"),
    pytest.param({"error": {"message": "no"}}, 500, id="without a status"),
    pytest.param({"detail": "no"}, 500, id="detail"),
    pytest.param({"choices": [{"index": 0, "delta": {}, "error": {"message": "no", "code": 502}}]}, 502, id="choice"),
]


def as_events(value: object) -> list[bytes]:
    """The same event in four ways to write it."""
    plain = event(value)
    return [
        plain + DONE,
        plain.replace(b"data: ", b"data:"),
        b"event: error\n" + plain,
        b": ping\n\n" + ROLE + plain.replace(b"\n", b"\r\n"),
    ]


@pytest.mark.parametrize(("value", "status"), SPELLINGS)
async def test_before_content_it_is_that_status(outside: Outside, value: object, status: int) -> None:
    server = await outside.serve()
    for said in as_events(value):
        server.post = streams(said)
        answered = await outside.ask(stream=True)
        assert answered.status == status, said
        assert "no" in answered.error["message"]
    for post in (says(value), streams(event(value))):
        server.post = post
        answered = await outside.ask()
        assert answered.status == status
        assert "no" in answered.error["message"]


async def test_an_event_of_the_type_error_is_one_whatever_its_data(outside: Outside) -> None:
    server = await outside.serve()
    for data in (b"it broke", b'"it broke"', b'{"message":"it broke"}'):
        server.post = streams(b"event: error\ndata: " + data + b"\n\n")
        answered = await outside.ask(stream=True)
        assert (answered.status, "it broke" in answered.error["message"]) == (500, True)


@pytest.mark.parametrize("code", [429, 500, 503, "overloaded_error", None])
@pytest.mark.parametrize("stream", [True, False])
async def test_another_engine_answers_where_it_may(outside: Outside, code: object, stream: bool) -> None:
    value = {"error": {"message": "no", "code": code}}
    bad: Handler = streams(ROLE + event(value)) if stream else says(value)
    failing = await outside.serve(bad)
    await outside.serve(answer)
    for _ in range(4):
        answered = await outside.ask(stream=stream)
        assert (answered.status, answered.text) == (200, "hello")
    assert failing.asked


async def test_a_refusal_is_not_tried_elsewhere(outside: Outside) -> None:
    refusal = streams(ROLE + event({"error": {"message": "too long", "code": "context_length_exceeded"}}))
    servers = [await outside.serve(refusal), await outside.serve(refusal)]
    assert (await outside.ask(stream=True)).status == 400
    assert sum(len(server.asked) for server in servers) == 1


@pytest.mark.parametrize("code", [500, 429, "server_error", None])
async def test_after_content_it_is_a_failure_of_the_engine(outside: Outside, code: object) -> None:
    said = {"error": {"message": "the worker died", "code": code}}
    await outside.serve(streams(*HELLO[:2], event(said).replace(b"data: ", b"data:"), DONE))
    answered = await outside.ask(stream=True)
    assert answered.text == "hel"
    assert answered.error["status"] in (502, 503)
    assert "the worker died" in answered.error["message"]


async def test_words_about_errors_are_no_error(outside: Outside) -> None:
    from fixtures.outside_server import chunk

    text = 'an "error": {"code": 500} is {"object":"error"}'
    calm = chunk(text).replace(b'"id"', b'"error":null,"id"')
    await outside.serve(streams(calm, chunk(None, "stop"), DONE))
    answered = await outside.ask(stream=True)
    assert (answered.text, answered.done) == (text, True)
