from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from sage_common.errors import SageError
from sage_kernel.model_port import ChatText, Embeddings, Ranking


class FakeModels:
    """Embeds a text as its letter counts and answers a chat with the prompt's last line."""

    def __init__(self) -> None:
        self.embedding_model = "letters"
        self.embedded: list[str] = []
        self.embed_calls: list[int] = []
        self.chats: list[list[Mapping[str, str]]] = []
        self.failures: dict[str, list[SageError]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.answers: dict[str, list[str]] = {}
        self.targets: list[float | None] = []
        self.schemas: list[Mapping[str, Any] | None] = []
        self.chats_now = 0
        self.most_chats = 0

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Embeddings:
        self.targets.append(target_seconds)
        self.embed_calls.append(len(texts))
        self.embedded.extend(texts)
        rows = [[float(text.lower().count(chr(97 + at))) + 0.01 for at in range(26)] for text in texts]
        return Embeddings(np.array(rows, dtype=np.float32), model or self.embedding_model)

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        *,
        json_schema: Mapping[str, Any] | None = None,
        target_seconds: float | None = None,
    ) -> ChatText:
        prompt = messages[-1]["content"]
        self.targets.append(target_seconds)
        self.schemas.append(json_schema)
        self.chats.append(list(messages))
        self.chats_now += 1
        self.most_chats = max(self.most_chats, self.chats_now)
        try:
            if prompt in self.gates:
                await self.gates[prompt].wait()
            else:
                await asyncio.sleep(0)
            if self.failures.get(prompt):
                raise self.failures[prompt].pop(0)
        finally:
            self.chats_now -= 1
        text = self.answers[prompt].pop(0) if self.answers.get(prompt) else prompt.splitlines()[-1].upper()
        return ChatText(text, model or "parrot")

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Rank by the letters that query and document share."""
        return Ranking(tuple(float(len(set(query) & set(text))) for text in documents), model or "letters")


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()


# Other work on the machine must not fail an example that is slow by the clock.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
