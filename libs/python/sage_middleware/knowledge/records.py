"""What a collection holds, and what is found in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sage_libs.markup import plain_text


@dataclass(frozen=True, slots=True)
class FileState:
    """A document's file as it was read.

    Attributes:
        folder: absolute path of the folder that was ingested; empty for a document that was given by itself.
        path: of the file, relative to the folder.
        size: bytes.
        mtime_ns: time of its last change, nanoseconds since 1970.
        sha256: of its bytes.
    """

    folder: str
    path: str
    size: int
    mtime_ns: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be stored.

    Attributes:
        heading: the headings above it, the title first, joined by `` > ``.
        kind: a ``SectionKind``.
        start, end: characters in the document's text.
        line, end_line: lines in the file, from 1.
        page: from 1; None where the document has no pages.
        table_head: of a table that began before it; empty where it has its head itself, or begins with no row.
    """

    heading: str
    text: str
    kind: str
    tokens: int
    start: int
    end: int
    line: int
    end_line: int
    page: int | None
    table_head: str = ""

    @property
    def embedded_text(self) -> str:
        """What its vector is made of: headings, the head of its table and its text, without markup."""
        return "\n".join(part for part in (self.heading, plain_text(self.table_head), plain_text(self.text)) if part)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of a collection."""

    id: int
    file: FileState
    title: str
    chunks: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was found, or several in a row.

    Attributes:
        chunk_id: of its first chunk.
        position, end_position: of its first and last chunk in the document.
        score: cosine similarity to the question; None where only words were searched.
        fused: similarity and words together; what passages are ordered by.
        vector_rank, word_rank: its place in each list, from 1; None where it was not in the list.
        word_score: BM25, greater is better; None where it was not in the list of words.
        approximate: whether the list by vector came from an index, which may miss some; False where all were scanned.
        recall: the share of the nearest ten that the index finds, as measured; None where all were scanned.
    """

    chunk_id: int
    document_id: int
    folder: str
    path: str
    title: str
    heading: str
    text: str
    kind: str
    tokens: int
    position: int
    end_position: int
    start: int
    end: int
    line: int
    end_line: int
    page: int | None
    metadata: Mapping[str, Any]
    score: float | None = None
    fused: float = 0.0
    vector_rank: int | None = None
    word_rank: int | None = None
    word_score: float | None = None
    approximate: bool = False
    recall: float | None = None

    @property
    def place(self) -> str:
        """Where to look: the document with the page, or the lines."""
        if self.page is not None:
            return f"{self.path}, page {self.page}"
        lines = f"{self.line}" if self.line == self.end_line else f"{self.line}-{self.end_line}"
        return f"{self.path}:{lines}"


def content_hash(embedded_text: str) -> bytes:
    """Return what identifies the text that a vector is made of."""
    return hashlib.sha256(embedded_text.encode("utf-8", "surrogatepass")).digest()
