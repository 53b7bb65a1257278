"""gRPC ↔ domain, for knowledge bases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
from grpc import aio

from sage.knowledge.v1 import knowledge_pb2 as pb
from sage.knowledge.v1 import knowledge_pb2_grpc
from sage_dataflow_worker.knowledge_api import KnowledgeApi, KnowledgeBase
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_middleware.knowledge.ingest_report import IngestReport
from sage_middleware.knowledge.records import Passage, StoredDocument
from sage_platform.grpc_access import current_caller

Context = aio.ServicerContext
_MOST_LEFT_OUT = 1000


class KnowledgeServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """The gRPC API. Whose knowledge bases a call is about is the caller's tenant, or the one that an operator names."""

    def __init__(self, api: KnowledgeApi) -> None:
        self._api = api

    async def ListKnowledgeBases(  # noqa: N802 - the name in the contract
        self, request: pb.ListKnowledgeBasesRequest, context: Context[Any, Any]
    ) -> pb.ListKnowledgeBasesResponse:
        found = await self._api.list_bases(_tenant(request))
        return pb.ListKnowledgeBasesResponse(knowledge_bases=map(_base_to_wire, found))

    async def CreateKnowledgeBase(  # noqa: N802
        self, request: pb.CreateKnowledgeBaseRequest, context: Context[Any, Any]
    ) -> pb.CreateKnowledgeBaseResponse:
        made = await self._api.create(_tenant(request), request.name, request.embedding_model, request.chunk_tokens)
        return pb.CreateKnowledgeBaseResponse(knowledge_base=_base_to_wire(made))

    async def GetKnowledgeBase(  # noqa: N802
        self, request: pb.GetKnowledgeBaseRequest, context: Context[Any, Any]
    ) -> pb.GetKnowledgeBaseResponse:
        found = await self._api.get(_tenant(request), request.name)
        return pb.GetKnowledgeBaseResponse(knowledge_base=_base_to_wire(found))

    async def DropKnowledgeBase(  # noqa: N802
        self, request: pb.DropKnowledgeBaseRequest, context: Context[Any, Any]
    ) -> pb.DropKnowledgeBaseResponse:
        dropped = await self._api.drop(_tenant(request), request.name)
        return pb.DropKnowledgeBaseResponse(knowledge_base=_base_to_wire(dropped))

    async def ListDocuments(  # noqa: N802
        self, request: pb.ListDocumentsRequest, context: Context[Any, Any]
    ) -> pb.ListDocumentsResponse:
        documents, total = await self._api.documents(_tenant(request), request.name, request.limit, request.after)
        return pb.ListDocumentsResponse(documents=map(_document_to_wire, documents), total=total)

    async def StoreDocument(  # noqa: N802
        self, request: pb.StoreDocumentRequest, context: Context[Any, Any]
    ) -> pb.StoreDocumentResponse:
        report = await self._api.store(
            _tenant(request), request.name, request.path, request.data, dict(request.metadata)
        )
        return pb.StoreDocumentResponse(stored=report.stored > 0, passages=report.chunks, embedded=report.embedded)

    async def RemoveDocument(  # noqa: N802
        self, request: pb.RemoveDocumentRequest, context: Context[Any, Any]
    ) -> pb.RemoveDocumentResponse:
        await self._api.remove(_tenant(request), request.name, request.path)
        return pb.RemoveDocumentResponse()

    async def IngestFolder(  # noqa: N802
        self, request: pb.IngestFolderRequest, context: Context[Any, Any]
    ) -> AsyncIterator[pb.IngestFolderResponse]:
        reports = self._api.ingest(_tenant(request), request.name, request.folder, dict(request.metadata))
        async with aclosing(reports):
            async for report, is_done in reports:
                yield _report_to_wire(report, is_done=is_done)

    async def SearchKnowledge(  # noqa: N802
        self, request: pb.SearchKnowledgeRequest, context: Context[Any, Any]
    ) -> pb.SearchKnowledgeResponse:
        found = await self._api.search(
            _tenant(request),
            request.name,
            request.question,
            request.k,
            request.mode,
            dict(request.filters),
            rerank=request.rerank,
        )
        return pb.SearchKnowledgeResponse(passages=map(_passage_to_wire, found))

    async def ExportKnowledgeBase(  # noqa: N802
        self, request: pb.ExportKnowledgeBaseRequest, context: Context[Any, Any]
    ) -> AsyncIterator[pb.ExportKnowledgeBaseResponse]:
        async for lines in self._api.export(_tenant(request), request.name, vectors=request.vectors):
            yield pb.ExportKnowledgeBaseResponse(lines=lines)


def _tenant(request: Any) -> str:
    """Return whose knowledge bases are meant. Raises PermissionDeniedError for another tenant's."""
    return current_caller().acts_for(request.tenant or None) or DEFAULT_TENANT


def _base_to_wire(base: KnowledgeBase) -> pb.KnowledgeBase:
    return pb.KnowledgeBase(
        name=base.name,
        documents=base.documents,
        passages=base.passages,
        embedding_model=base.model or "",
        chunk_tokens=base.chunk_tokens,
        bytes=base.bytes,
        approximate=base.index.approximate,
        recall=base.index.recall,
        index_note=base.index.note,
    )


def _document_to_wire(document: StoredDocument) -> pb.KnowledgeDocument:
    return pb.KnowledgeDocument(
        id=document.id,
        path=document.file.path,
        folder=document.file.folder,
        title=document.title,
        bytes=document.file.size,
        sha256=document.file.sha256.hex(),
        passages=document.chunks,
        metadata_json=orjson.dumps(document.metadata).decode(),
    )


def _report_to_wire(report: IngestReport, *, is_done: bool) -> pb.IngestFolderResponse:
    left_out = report.left_out[:_MOST_LEFT_OUT] if is_done else ()
    return pb.IngestFolderResponse(
        files=report.files,
        unchanged=report.unchanged,
        stored=report.stored,
        moved=report.moved,
        removed=report.removed,
        passages=report.chunks,
        embedded=report.embedded,
        left_out=[pb.LeftOut(path=_text(path), reason=_text(reason)) for path, reason in left_out],
        left_out_total=len(report.left_out),
        ignored=len(report.ignored),
        seconds=report.seconds,
        done=is_done,
    )


def _passage_to_wire(passage: Passage) -> pb.FoundPassage:
    return pb.FoundPassage(
        path=passage.path,
        folder=passage.folder,
        title=passage.title,
        heading=passage.heading,
        text=passage.text,
        kind=passage.kind,
        place=passage.place,
        line=passage.line,
        end_line=passage.end_line,
        page=passage.page,
        score=passage.score,
        word_score=passage.word_score,
        vector_rank=passage.vector_rank,
        word_rank=passage.word_rank,
        fused=passage.fused,
        approximate=passage.approximate,
        recall=passage.recall,
        metadata_json=orjson.dumps(passage.metadata).decode(),
    )


def _text(value: str) -> str:
    """Return text that protobuf takes: names of files may hold bytes that are no UTF-8."""
    return value.encode("utf-8", "replace").decode()
