"""Knowledge bases in plain values. ``dataclasses.asdict`` of each is its JSON in REST and ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class KnowledgeBaseView:
    """A collection of documents.

    Attributes:
        passages: that its documents are cut into.
        embedding_model: of its vectors; empty while it has none.
        chunk_tokens: most tokens of a passage, headings included.
        bytes: size of its file.
        approximate: whether searches by vector go through an index that may miss some; else all vectors are scanned.
        recall: the share of the nearest ten that the index finds, as measured; None where all vectors are scanned.
        index_note: why an index that there should be is not used; empty where that is not so.
    """

    name: str
    documents: int
    passages: int
    embedding_model: str
    chunk_tokens: int
    bytes: int
    approximate: bool = False
    recall: float | None = None
    index_note: str = ""


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document of a knowledge base.

    Attributes:
        id: behind which a listing goes on.
        path: within its folder, or what it was stored under.
        folder: the folder that was ingested; empty for a document that was stored by itself.
        bytes: size of its file.
        sha256: of its bytes, in hexadecimal.
    """

    id: int
    path: str
    folder: str
    title: str
    bytes: int
    sha256: str
    passages: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Documents, and how many there are in all."""

    documents: tuple[DocumentView, ...]
    total: int


@dataclass(frozen=True, slots=True)
class DocumentStored:
    """What became of a document.

    Attributes:
        stored: False where it was there already, the same.
        embedded: its passages that no vector was there for.
    """

    stored: bool
    passages: int
    embedded: int


@dataclass(frozen=True, slots=True)
class IngestView:
    """How far an ingest of a folder has come.

    Attributes:
        files: documents in the folder.
        unchanged: neither read nor embedded, or read and found the same.
        stored: new or changed documents.
        moved: documents whose file has another name now.
        removed: documents whose file is gone.
        passages: of the documents that were stored.
        embedded: those of them that no vector was there for.
        left_out: path and reason of documents that could not be read; at the end, and at most 1000.
        left_out_total: how many those are.
        ignored: files that are no documents, or not meant to be read.
        done: whether it has ended.
    """

    files: int = 0
    unchanged: int = 0
    stored: int = 0
    moved: int = 0
    removed: int = 0
    passages: int = 0
    embedded: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    left_out_total: int = 0
    ignored: int = 0
    seconds: float = 0.0
    done: bool = False


@dataclass(frozen=True, slots=True)
class PassageView:
    """A passage that was found.

    Attributes:
        kind: body, contents, changelog or licence.
        place: where to look: the path with its lines or page.
        score: cosine similarity to the question; None where only its words were found.
        word_score: BM25, greater is better; None where only its vector was found.
        vector_rank, word_rank: its place in each list, from 1.
        fused: similarity and words together, by which passages are ordered where no model has.
        approximate: whether the list by vectors came from an index, which may miss some.
        recall: the share of the nearest ten that the index finds, as measured; None where all vectors were scanned.
    """

    path: str
    folder: str
    title: str
    heading: str
    text: str
    kind: str
    place: str
    line: int
    end_line: int
    page: int | None
    score: float | None
    word_score: float | None
    vector_rank: int | None
    word_rank: int | None
    fused: float
    metadata: Mapping[str, Any]
    approximate: bool = False
    recall: float | None = None
