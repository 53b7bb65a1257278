"""Pipelines run on Ray Data, each of whose actors connects to the mesh when it first calls a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sage_apps.client_models import ClientModels
from sage_client.client import AsyncUnifiedInferenceClient
from sage_kernel.functions import allow
from sage_kernel.model_port import ChatText, Embeddings, ModelPort, Ranking
from sage_kernel.ray_runtime.runner import RayRunner
from sage_kernel.runtime.progress import RunResult
from sage_kernel.spec import PipelineSpec


async def run(
    spec: PipelineSpec,
    *,
    models: Callable[[], ModelPort] | None = None,
    target: str | None = None,
    api_key: str | None = None,
    cache_dir: Path | None = None,
    functions: Sequence[str] = (),
) -> RunResult:
    """Run a bounded pipeline to its end, on the Ray cluster that is connected or on this machine.

    Args:
        models: makes the port to models in each actor; None connects to ``target``.
        target: gateway (http://…) or ring (nats://…), as the actors reach it; None takes the client's settings there.
        cache_dir: where vectors and answers are kept; None keeps nothing.
        functions: patterns of the functions that ``ref`` may name, such as ``shop.rules:*``.

    Raises:
        PipelineInvalidError: with all of its errors; a source that never ends is one.
        NodeFailedError: a node failed.
    """
    factory = models or partial(ConnectingModels, target, api_key)
    return await RayRunner(factory, functions=allow(functions), cache_dir=cache_dir).run(spec)


class ConnectingModels:
    """A ``ModelPort`` that opens its client at the first call."""

    def __init__(self, target: str | None, api_key: str | None) -> None:
        self._target = target
        self._api_key = api_key
        self._opening = asyncio.Lock()
        self._models: ClientModels | None = None

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Embeddings:
        """Embed ``texts``."""
        return await (await self._open()).embed(texts, model, target_seconds=target_seconds)

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Rank ``documents``."""
        return await (await self._open()).rank(query, documents, model, target_seconds=target_seconds)

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
        """Answer ``messages``."""
        models = await self._open()
        return await models.chat(
            messages, model, max_tokens, temperature, json_schema=json_schema, target_seconds=target_seconds
        )

    async def _open(self) -> ClientModels:
        async with self._opening:
            if self._models is None:
                client = await AsyncUnifiedInferenceClient.create(self._target, api_key=self._api_key)
                self._models = ClientModels(client)
            return self._models
