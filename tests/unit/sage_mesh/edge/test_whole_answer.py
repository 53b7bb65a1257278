"""Which requests for a document are sent as requests for a stream."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sage_common.errors import EngineFailedError
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.engine_state import EngineSpec, EngineState, ModelCard
from sage_control_plane.request.request import Endpoint, Hints, Priority, RequestKind, ServiceClass
from sage_mesh import exact_json
from sage_mesh.edge.whole_answer import WholeAnswer, streamed_body
from sage_mesh.reply import TokenUsage

LLM = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})
BULK = Hints(service_class=ServiceClass.BULK)
BACKGROUND = Hints(priority=Priority.BACKGROUND)


def catalog(owner: str = "vllm") -> ModelCatalog:
    return ModelCatalog([EngineState(EngineSpec("e", "openai", (ModelCard("m", LLM, owned_by=owner),)))])


def chat(**fields: Any) -> bytes:
    return exact_json.write({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields})


@pytest.mark.parametrize("hints", [BULK, BACKGROUND])
def test_a_bulk_answer_in_one_piece_is_asked_for_as_a_stream(hints: Hints) -> None:
    body = chat(stream=False, own=12345678901234567890123, max_tokens=5)
    streamed = streamed_body(Endpoint.CHAT_COMPLETIONS, body, hints, catalog())
    assert streamed is not None
    # Whole numbers beyond 64 bits stay what they are.
    assert streamed == body.replace(b'"stream":false', b'"stream":true')


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"stream_options": None},
        {"messages": "none"},
        {"model": "another"},
    ],
)
def test_what_cannot_be_continued_or_is_wrong_is_left_as_it_is(fields: dict[str, Any]) -> None:
    assert streamed_body(Endpoint.CHAT_COMPLETIONS, chat(**fields), BULK, catalog()) is None


@pytest.mark.parametrize(
    ("hints", "owner"),
    [
        (Hints(), "vllm"),
        (Hints(service_class=ServiceClass.INTERACTIVE, priority=Priority.BACKGROUND), "vllm"),
        (BULK, "unknown"),
        (BULK, "openai"),
    ],
)
def test_urgent_work_and_servers_that_are_not_known_get_what_was_asked(hints: Hints, owner: str) -> None:
    assert streamed_body(Endpoint.CHAT_COMPLETIONS, chat(), hints, catalog(owner)) is None


def test_embeddings_are_never_streams() -> None:
    assert streamed_body(Endpoint.EMBEDDINGS, b'{"model":"m","input":"x"}', BULK, catalog()) is None


def test_a_stream_without_a_choice_is_no_answer() -> None:
    whole = WholeAnswer(Endpoint.COMPLETIONS)
    whole.add(b"data: [DONE]\n\n")
    with pytest.raises(EngineFailedError, match="no answer"):
        whole.document(TokenUsage(1, 1))


def test_what_was_not_kept_is_forgotten_by_a_restart() -> None:
    whole = WholeAnswer(Endpoint.COMPLETIONS)
    for text, keeps in (("one", True), ("two", False)):
        whole.add(b'data: {"id":"a","choices":[{"index":0,"text":"%b"}]}\n\n' % text.encode())
        if keeps:
            whole.keep()
    whole.restart()
    document = orjson.loads(whole.document(TokenUsage(3, 1, cached_tokens=2)))
    assert document["choices"][0]["text"] == "one"
    assert document["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
