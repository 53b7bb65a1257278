"""Which model answers a question from documents where none is named."""

from __future__ import annotations

import pytest

from sage_apps.client_models import answering_model
from sage_client.models import ModelInfo
from sage_control_plane.request.request import RequestKind

EMBEDDER = ModelInfo("all-MiniLM-L6-v2", (RequestKind.EMBEDDING,))
QUOTING = ModelInfo("sage-extractive", (RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE))
SMALL = ModelInfo("smollm2-135m", (RequestKind.LLM_CHAT,))
COMPLETES = ModelInfo("base", (RequestKind.LLM_GENERATE,))
OWN = ModelInfo("llama-8b", (RequestKind.LLM_CHAT,))
ADAPTER = ModelInfo("adapter", (RequestKind.LLM_CHAT,), parent="llama-8b")

ROUTE = ModelInfo("assistant", (RequestKind.LLM_CHAT,), targets=("smollm2-135m", "sage-extractive"))
ROUTED = ModelInfo("llama-8b", (RequestKind.LLM_CHAT,), targets=("llama-8b", "smollm2-135m"))


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        pytest.param([EMBEDDER, QUOTING, SMALL], "sage-extractive", id="what SAGE brings quotes"),
        pytest.param([EMBEDDER, QUOTING, ADAPTER, SMALL, OWN], "llama-8b", id="a model of the user's goes before it"),
        pytest.param([EMBEDDER, QUOTING, COMPLETES], "sage-extractive", id="one that does not chat does not"),
        pytest.param([ROUTE, QUOTING, SMALL], "sage-extractive", id="a route to what SAGE brings does not"),
        pytest.param([ROUTE, QUOTING, ROUTED], "llama-8b", id="a model with fallbacks is one"),
        pytest.param([EMBEDDER, SMALL], None, id="without it the mesh chooses"),
        pytest.param([ModelInfo("unknown")], None, id="a server that does not list what its models do chooses"),
    ],
)
def test_questions_from_documents_go_to(models: list[ModelInfo], expected: str | None) -> None:
    assert answering_model(models) == expected
