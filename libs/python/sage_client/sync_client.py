"""The synchronous façade, for scripts and notebooks."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, cast

from sage_client.client import DEFAULT_OPTIONS, AsyncUnifiedInferenceClient, CallOptions, Messages
from sage_client.loop_thread import LoopThread
from sage_client.models import ModelInfo
from sage_client.request_params import ChatParams, CompletionParams, EmbeddingParams, RerankParams
from sage_client.results import ChatResult, EmbeddingResult, RerankResult, TextPiece
from sage_client.wait_notice import OnWait

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sage_client.jobs.job_views import JobView
    from sage_client.jobs.sync_jobs import SyncJobs


class UnifiedInferenceClient:
    """AsyncUnifiedInferenceClient for code that is not asynchronous; any thread may use it."""

    def __init__(self, client: AsyncUnifiedInferenceClient, loop: LoopThread) -> None:
        self._client = client
        self._loop = loop
        # One that nobody closes is closed when it is dropped, or at the interpreter's exit.
        self._closing = weakref.finalize(self, _close, client, loop)

    @classmethod
    def create(
        cls,
        target: str | None = None,
        *,
        tenant: str | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
        on_wait: OnWait | None = None,
    ) -> UnifiedInferenceClient:
        """Connect; see :meth:`AsyncUnifiedInferenceClient.create`."""
        loop = LoopThread("sage-client")
        try:
            client = loop.call(
                AsyncUnifiedInferenceClient.create(
                    target, tenant=tenant, timeout=timeout, api_key=api_key, on_wait=on_wait
                )
            )
        except BaseException:
            loop.stop()
            raise
        return cls(client, loop)

    def __repr__(self) -> str:
        return repr(self._client).removeprefix("Async")

    def chat(
        self,
        messages: Messages | str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[ChatParams],
    ) -> ChatResult:
        """Answer a conversation; a string is one message of the user."""
        return self._loop.call(self._client.chat(messages, model, options=options, **params))

    def stream_chat(
        self,
        messages: Messages | str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[ChatParams],
    ) -> Generator[TextPiece, None, None]:
        """Answer a conversation piece by piece. Leaving the loop early cancels the request."""
        pieces = self._client.stream_chat(messages, model, options=options, **params)
        return self._loop.iterate(cast(AsyncGenerator[TextPiece, None], pieces))

    def generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[CompletionParams],
    ) -> ChatResult:
        """Continue a prompt."""
        return self._loop.call(self._client.generate(prompt, model, options=options, **params))

    def stream_generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[CompletionParams],
    ) -> Generator[TextPiece, None, None]:
        """Continue a prompt piece by piece. Leaving the loop early cancels the request."""
        pieces = self._client.stream_generate(prompt, model, options=options, **params)
        return self._loop.iterate(cast(AsyncGenerator[TextPiece, None], pieces))

    def embed(
        self,
        texts: str | Sequence[str],
        model: str | None = None,
        dimensions: int | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[EmbeddingParams],
    ) -> EmbeddingResult:
        """Turn texts into vectors, one a text."""
        return self._loop.call(self._client.embed(texts, model, dimensions, options=options, **params))

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        model: str | None = None,
        top_n: int | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[RerankParams],
    ) -> RerankResult:
        """Order documents by their relevance to a query; with ``top_n``, return only that many of the best."""
        return self._loop.call(self._client.rerank(query, documents, model, top_n, options=options, **params))

    def models(self) -> list[ModelInfo]:
        """Return the models that some engine serves, by name."""
        return self._loop.call(self._client.models())

    def jobs(self) -> SyncJobs:
        """Return the jobs of this mesh; they are closed with the client."""
        from sage_client.jobs.sync_jobs import SyncJobs

        return SyncJobs(self._loop.call(self._client.jobs()), self._loop)

    def submit(self, pipeline: object, job_id: str = "") -> JobView:
        """Submit a pipeline (a ``sage.Pipeline``, YAML or JSON) as a job."""
        return self._loop.call(self._client.submit(pipeline, job_id))

    def close(self) -> None:
        """Release the connections and the thread. Idempotent."""
        self._closing()

    def __enter__(self) -> UnifiedInferenceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(client: AsyncUnifiedInferenceClient, loop: LoopThread) -> None:
    try:
        loop.finish(client.close())
    finally:
        loop.stop()
