"""Bodies that SAGE cannot judge reach the server that can; SAGE's own engines take what they understand."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.outside_mesh import Outside
from fixtures.outside_server import MODEL, says

VECTORS = {"object": "list", "data": [{"index": 0, "embedding": "AACAPw=="}], "model": MODEL}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}


@pytest.mark.parametrize("limit", [-1, 256.0, None])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_in_another_spelling_reaches_the_server_as_it_is(
    outside: Outside, name: str, limit: float | None
) -> None:
    server = await outside.serve()
    assert (await outside.ask(**{name: limit})).text == "hello"
    assert server.asked[0].json[name] == limit


@pytest.mark.parametrize(
    "fields",
    [
        {"input": [{"text": "a"}, {"image": "xyz"}]},
        {"input": [{"content": [{"type": "text", "text": "a"}, IMAGE]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
        {"input": "a", "encoding_format": "binary"},
        {"input": "a", "encoding_format": ["float", "base64"]},
    ],
)
async def test_what_is_to_be_embedded_reaches_the_server_as_it_is(outside: Outside, fields: dict[str, Any]) -> None:
    models = {"data": [{"id": MODEL, "type": "embedding"}]}
    server = await outside.serve(says(VECTORS), models)
    answered = await outside.ask(path="/v1/embeddings", **fields)
    assert (answered.status, answered.json) == (200, VECTORS)
    assert server.asked[0].json == {"model": MODEL, **fields}
