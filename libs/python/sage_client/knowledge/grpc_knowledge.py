"""Knowledge bases over gRPC, at a dataflow worker that has their folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from grpc.aio import Channel

from sage.knowledge.v1 import knowledge_pb2 as pb
from sage.knowledge.v1 import knowledge_pb2_grpc
from sage_client.knowledge.knowledge_limits import DEFAULT_PASSAGES, MAX_DOCUMENT_BYTES, document_too_large
from sage_client.knowledge.knowledge_messages import document_view, ingest_view, knowledge_base_view, passage_view
from sage_client.knowledge.knowledge_views import (
    DocumentPage,
    DocumentStored,
    IngestView,
    KnowledgeBaseView,
    PassageView,
)
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait

T = TypeVar("T")
WORKER = "dataflow-worker"
# Code of the error of a worker that has not the folder of the mesh's knowledge bases; another may have it.
ELSEWHERE = "knowledge_elsewhere"
CALL_SECONDS = 30.0
# A document is read and embedded, a search may wait for a model that orders.
MODEL_SECONDS = 600.0


class GrpcKnowledge:
    """``KnowledgeBases`` at the workers that ``list_instances`` names.

    Args:
        token: API key or mesh token that they are called with; empty for none.
        tenant: whose knowledge bases they are; empty for the caller's own.
        on_wait: called with which worker a call waits for, when that takes longer than two seconds.
        closing: releases what ``list_instances`` uses.
        acting_for: tenant whose calls they count as; empty for the token's own.
    """

    def __init__(
        self,
        list_instances: ListInstances,
        token: str = "",
        *,
        tenant: str = "",
        on_wait: OnWait | None = None,
        closing: Callable[[], Awaitable[None]] | None = None,
        acting_for: str = "",
    ) -> None:
        elsewhere = frozenset({ELSEWHERE})
        self._calls = ServiceCalls(list_instances, token, on_wait, passed_over=elsewhere, acting_for=acting_for)
        self._tenant = tenant
        self._closing = closing

    async def list_bases(self) -> list[KnowledgeBaseView]:
        request = pb.ListKnowledgeBasesRequest(tenant=self._tenant)
        answer = await self._call(lambda worker: worker.ListKnowledgeBases(request, timeout=CALL_SECONDS))
        return [knowledge_base_view(one) for one in answer.knowledge_bases]

    async def create(self, name: str, *, embedding_model: str = "", chunk_tokens: int = 0) -> KnowledgeBaseView:
        request = pb.CreateKnowledgeBaseRequest(
            tenant=self._tenant, name=name, embedding_model=embedding_model, chunk_tokens=chunk_tokens
        )
        answer = await self._call(lambda worker: worker.CreateKnowledgeBase(request, timeout=CALL_SECONDS))
        return knowledge_base_view(answer.knowledge_base)

    async def get(self, name: str) -> KnowledgeBaseView:
        request = pb.GetKnowledgeBaseRequest(tenant=self._tenant, name=name)
        answer = await self._call(lambda worker: worker.GetKnowledgeBase(request, timeout=CALL_SECONDS))
        return knowledge_base_view(answer.knowledge_base)

    async def drop(self, name: str) -> KnowledgeBaseView:
        request = pb.DropKnowledgeBaseRequest(tenant=self._tenant, name=name)
        answer = await self._call(lambda worker: worker.DropKnowledgeBase(request, timeout=CALL_SECONDS))
        return knowledge_base_view(answer.knowledge_base)

    async def documents(self, name: str, *, limit: int = 0, after: int = 0) -> DocumentPage:
        request = pb.ListDocumentsRequest(tenant=self._tenant, name=name, limit=limit, after=after)
        answer = await self._call(lambda worker: worker.ListDocuments(request, timeout=CALL_SECONDS))
        return DocumentPage(tuple(map(document_view, answer.documents)), answer.total)

    async def store(
        self, name: str, path: str, data: bytes, metadata: Mapping[str, str] | None = None
    ) -> DocumentStored:
        if len(data) > MAX_DOCUMENT_BYTES:
            # The message would be over the limit of all messages, and its refusal would not say why.
            raise document_too_large(len(data))
        request = pb.StoreDocumentRequest(tenant=self._tenant, name=name, path=path, data=data, metadata=metadata or {})
        answer = await self._call(lambda worker: worker.StoreDocument(request, timeout=MODEL_SECONDS))
        return DocumentStored(answer.stored, answer.passages, answer.embedded)

    async def remove(self, name: str, path: str) -> None:
        request = pb.RemoveDocumentRequest(tenant=self._tenant, name=name, path=path)
        await self._call(lambda worker: worker.RemoveDocument(request, timeout=CALL_SECONDS))

    async def ingest(
        self, name: str, folder: str, metadata: Mapping[str, str] | None = None
    ) -> AsyncIterator[IngestView]:
        request = pb.IngestFolderRequest(tenant=self._tenant, name=name, folder=folder, metadata=metadata or {})
        async for answer in self._calls.stream_any(WORKER, lambda channel: _worker(channel).IngestFolder(request)):
            yield ingest_view(answer)

    async def search(
        self,
        name: str,
        question: str,
        *,
        k: int = DEFAULT_PASSAGES,
        mode: str = "hybrid",
        filters: Mapping[str, str] | None = None,
        rerank: bool = False,
    ) -> list[PassageView]:
        request = pb.SearchKnowledgeRequest(
            tenant=self._tenant, name=name, question=question, k=k, mode=mode, filters=filters or {}, rerank=rerank
        )
        answer = await self._call(lambda worker: worker.SearchKnowledge(request, timeout=MODEL_SECONDS))
        return [passage_view(one) for one in answer.passages]

    async def export(self, name: str, *, vectors: bool = False) -> AsyncIterator[bytes]:
        request = pb.ExportKnowledgeBaseRequest(tenant=self._tenant, name=name, vectors=vectors)
        async for answer in self._calls.stream_any(
            WORKER, lambda channel: _worker(channel).ExportKnowledgeBase(request)
        ):
            yield answer.lines

    async def close(self) -> None:
        """Release what the registry is read through."""
        if self._closing is not None:
            await self._closing()

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        return await self._calls.any(WORKER, lambda channel: call(_worker(channel)))


def _worker(channel: Channel) -> Any:
    return knowledge_pb2_grpc.KnowledgeServiceStub(channel)  # type: ignore[no-untyped-call]
