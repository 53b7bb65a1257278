"""Pipelines run in this process, with models reached through the client where a node calls one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sage_apps.client_models import ClientModels
from sage_client.client import AsyncUnifiedInferenceClient
from sage_common import paths
from sage_common.errors import UnavailableError
from sage_kernel.connectors.collections import OnRecords
from sage_kernel.functions import allow
from sage_kernel.model_port import ChatText, Embeddings, ModelPort, Ranking
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import OnProgress, RunResult
from sage_kernel.spec import PipelineSpec
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.pipeline_index import LibraryAccess


async def run(
    spec: PipelineSpec,
    *,
    models: ModelPort | None = None,
    target: str | None = None,
    api_key: str | None = None,
    on_progress: OnProgress | None = None,
    on_records: OnRecords | None = None,
    collects: bool = True,
    on_wait: Callable[[str], None] | None = None,
    cache_dir: Path | None = None,
    keeps_nothing: bool = False,
    functions: Sequence[str] = (),
) -> RunResult:
    """Run a pipeline to its end.

    Args:
        models: how to reach models; None connects to ``target`` where a node calls a model.
        target: gateway (http://…) or ring (nats://…); None takes the client's settings.
        on_progress: called with a node and its counts after each change; it must not block.
        on_records: called with a collection and the records that it has got, as they come; it must not block.
        collects: whether the result has the records; False where ``on_records`` has them, as on a stream without end.
        on_wait: called with for whom and why, when a call of a model waits long.
        cache_dir: where vectors and answers are kept between runs; None takes the user's cache.
        keeps_nothing: whether vectors and answers are kept nowhere.
        functions: patterns of the functions that ``ref`` may name, such as ``shop.rules:*``; functions given in Python
            themselves need none.

    Raises:
        PipelineInvalidError: with all of its errors.
        NodeFailedError: a node failed.
    """
    async with _models(spec, models, target, api_key, on_wait) as port:
        kept = None if keeps_nothing else cache_dir or paths.private_dir(paths.cache_dir() / "pipelines")
        knowledge = LibraryAccess(Library())
        try:
            runner = LocalRunner(port, functions=allow(functions), knowledge=knowledge, cache_dir=kept)
            return await runner.run(spec, on_progress, on_records=on_records, collects=collects)
        finally:
            await knowledge.close()


@contextlib.asynccontextmanager
async def _models(
    spec: PipelineSpec,
    models: ModelPort | None,
    target: str | None,
    api_key: str | None,
    on_wait: Callable[[str], None] | None,
) -> AsyncIterator[ModelPort]:
    if models is not None:
        yield models
    elif not any(node.needs_models for node in spec.nodes.values()):
        yield NoModels()
    else:
        async with await AsyncUnifiedInferenceClient.create(target, api_key=api_key, on_wait=on_wait) as client:
            yield ClientModels(client)


class NoModels:
    """The models of a run whose nodes call none."""

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Embeddings:
        """Refuse."""
        _refuse()

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Refuse."""
        _refuse()

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
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    raise UnavailableError("this run has no models, because none of its nodes says that it calls one")
