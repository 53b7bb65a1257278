"""The messages of knowledge bases in plain values."""

from __future__ import annotations

import orjson

from sage.knowledge.v1 import knowledge_pb2 as pb
from sage_client.knowledge.knowledge_views import DocumentView, IngestView, KnowledgeBaseView, PassageView


def knowledge_base_view(message: pb.KnowledgeBase) -> KnowledgeBaseView:
    """Return a knowledge base."""
    return KnowledgeBaseView(
        name=message.name,
        documents=message.documents,
        passages=message.passages,
        embedding_model=message.embedding_model,
        chunk_tokens=message.chunk_tokens,
        bytes=message.bytes,
        approximate=message.approximate,
        recall=message.recall if message.HasField("recall") else None,
        index_note=message.index_note,
    )


def document_view(message: pb.KnowledgeDocument) -> DocumentView:
    """Return a document."""
    return DocumentView(
        id=message.id,
        path=message.path,
        folder=message.folder,
        title=message.title,
        bytes=message.bytes,
        sha256=message.sha256,
        passages=message.passages,
        metadata=orjson.loads(message.metadata_json),
    )


def ingest_view(message: pb.IngestFolderResponse) -> IngestView:
    """Return how far an ingest has come."""
    return IngestView(
        files=message.files,
        unchanged=message.unchanged,
        stored=message.stored,
        moved=message.moved,
        removed=message.removed,
        passages=message.passages,
        embedded=message.embedded,
        left_out=tuple((one.path, one.reason) for one in message.left_out),
        left_out_total=message.left_out_total,
        ignored=message.ignored,
        seconds=message.seconds,
        done=message.done,
    )


def passage_view(message: pb.FoundPassage) -> PassageView:
    """Return a passage that was found."""
    return PassageView(
        path=message.path,
        folder=message.folder,
        title=message.title,
        heading=message.heading,
        text=message.text,
        kind=message.kind,
        place=message.place,
        line=message.line,
        end_line=message.end_line,
        page=message.page if message.HasField("page") else None,
        score=message.score if message.HasField("score") else None,
        word_score=message.word_score if message.HasField("word_score") else None,
        vector_rank=message.vector_rank if message.HasField("vector_rank") else None,
        word_rank=message.word_rank if message.HasField("word_rank") else None,
        fused=message.fused,
        metadata=orjson.loads(message.metadata_json),
        approximate=message.approximate,
        recall=message.recall if message.HasField("recall") else None,
    )
