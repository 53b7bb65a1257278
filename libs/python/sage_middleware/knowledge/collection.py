"""A collection of documents: text, vectors and an index of words in one SQLite file.

A document and all that belongs to it is stored in one transaction. Readers see the last complete state, in other
processes too; a process that dies leaves what it committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sage_common.errors import ConflictError
from sage_libs.hnsw_graph import Ints
from sage_libs.quantization import Floats, quantize, unit_rows
from sage_middleware.knowledge.chunk_search import ChunkSearch, FoundChunks, IndexStatus
from sage_middleware.knowledge.errors import sqlite_errors
from sage_middleware.knowledge.index_record import DEFAULT_INDEX_ABOVE, INDEX_ABOVE
from sage_middleware.knowledge.records import FileState, NewChunk, Passage, StoredDocument, content_hash
from sage_middleware.knowledge.schema import create_file, open_file
from sage_middleware.knowledge.vector_rows import vectors_in_order

# Of 80, 120 and 200 the one that finds most of the labelled questions' answers; see docs/adr/0043.
DEFAULT_CHUNK_TOKENS = 120
_PASSAGE = """
SELECT c.id, c.document_id, d.folder, d.path, d.title, c.heading, c.text, c.kind, c.tokens, c.position, c.position,
       c.start, c."end", c.line, c.end_line, c.page, d.metadata
FROM chunks c JOIN documents d ON d.id = c.document_id
"""


class Collection:
    """An open collection. Its methods block, and may be called from several threads.

    Args:
        path: the file.
        read_only: whether nothing will be stored; a read-only folder allows no other.

    Raises:
        NotFoundError, UnprocessableError, PermissionDeniedError: see ``open_file``.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._connection = open_file(path, read_only=read_only)
        self._lock = RLock()
        self._changes = 0
        self._search = ChunkSearch(self)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        model: str | None = None,
        chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
        index_above: int = DEFAULT_INDEX_ABOVE,
    ) -> Collection:
        """Make an empty collection and open it.

        Args:
            model: embedding model to ask for; None takes the mesh's default. The one that answers is recorded.
            chunk_tokens: most tokens of a chunk with its headings.
            index_above: with more vectors there is an approximate index, see ``index_upkeep``; 0 means never.

        Raises:
            ConflictError: the file is there already.
        """
        if path.exists():
            raise ConflictError(f"{path} is there already; ingest into it, or drop it first")
        settings = {"chunk_tokens": str(chunk_tokens), INDEX_ABOVE: str(index_above)}
        if model:
            settings["requested_model"] = model
        create_file(path, settings)
        return cls(path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def model(self) -> str | None:
        """The embedding model of its vectors; None while it has none."""
        return self._setting("model")

    @property
    def requested_model(self) -> str | None:
        """The embedding model to ask for; None takes the mesh's default."""
        return self._setting("requested_model")

    @property
    def dimension(self) -> int | None:
        """Numbers of a vector; None while it has none."""
        value = self._setting("dimension")
        return None if value is None else int(value)

    @property
    def chunk_tokens(self) -> int:
        """Most tokens of a chunk with its headings."""
        return int(self._setting("chunk_tokens") or DEFAULT_CHUNK_TOKENS)

    @property
    def index_above(self) -> int:
        """With more vectors there is an approximate index; 0 means never."""
        return int(self._setting(INDEX_ABOVE) or DEFAULT_INDEX_ABOVE)

    def counts(self) -> tuple[int, int]:
        """Return how many documents and chunks there are."""
        ((documents, chunks),) = self._rows("SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)")
        return documents, chunks

    def documents(self, folder: str | None = None) -> list[StoredDocument]:
        """Return the documents, of one folder or all, by path."""
        where, values = ("WHERE folder = ?", (folder,)) if folder is not None else ("", ())
        rows = self._rows(
            "SELECT id, folder, path, size, mtime_ns, sha256, title, metadata, "
            f"(SELECT count(*) FROM chunks WHERE document_id = documents.id) FROM documents {where} "
            "ORDER BY folder, path",
            values,
        )
        return [StoredDocument(row[0], FileState(*row[1:6]), row[6], row[8], orjson.loads(row[7])) for row in rows]

    def check_model(self, model: str, dimension: int) -> None:
        """Raises ConflictError: vectors of ``model`` cannot be compared with those that are stored."""
        recorded, numbers = self.model, self.dimension
        if recorded is not None and (recorded != model or numbers != dimension):
            raise ConflictError(
                f"the vectors of {self.name!r} are of {recorded} ({numbers} numbers), not of {model} ({dimension}); "
                f"ask for the model that it was made with, or drop it and ingest again",
                code="embedding_model_mismatch",
            )

    def known_vectors(self, hashes: Sequence[bytes]) -> dict[bytes, Floats]:
        """Return the vectors that are stored for chunks of these contents."""
        found: dict[bytes, Floats] = {}
        for start in range(0, len(hashes), 500):
            part = hashes[start : start + 500]
            for content, blob in self._rows(
                "SELECT c.content_hash, v.float32 FROM chunks c JOIN vectors v ON v.chunk_id = c.id "
                f"WHERE c.content_hash IN ({','.join('?' * len(part))})",
                part,
            ):
                found[content] = np.frombuffer(blob, dtype=np.float32)
        return found

    def put(
        self,
        file: FileState,
        title: str,
        chunks: Sequence[NewChunk],
        vectors: Floats,
        model: str,
        metadata: Mapping[str, Any],
    ) -> None:
        """Store a document, in place of the one at its path.

        Args:
            vectors: float32, shape (n, d), one a chunk.
            model: that made them.

        Raises:
            ConflictError: the model is another one than recorded.
            ValueError: vectors of another shape, or with NaN or infinity.
        """
        rows = unit_rows(vectors)
        if len(rows) != len(chunks):
            raise ValueError(f"{len(chunks)} chunks have {len(rows)} vectors")
        codes = quantize(rows)
        with self.writing() as connection:
            self.check_model(model, rows.shape[1])
            if self.model is None:
                connection.executemany(
                    "INSERT INTO settings VALUES (?, ?)", [("model", model), ("dimension", str(rows.shape[1]))]
                )
            connection.execute("DELETE FROM documents WHERE folder = ? AND path = ?", (file.folder, file.path))
            document_id = connection.execute(
                "INSERT INTO documents (folder, path, size, mtime_ns, sha256, title, metadata) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (file.folder, file.path, file.size, file.mtime_ns, file.sha256, title, orjson.dumps(metadata).decode()),
            ).lastrowid
            for position, chunk in enumerate(chunks):
                chunk_id = connection.execute(
                    'INSERT INTO chunks (document_id, position, heading, text, kind, tokens, start, "end", line, '
                    "end_line, page, content_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        document_id,
                        position,
                        chunk.heading,
                        chunk.text,
                        chunk.kind,
                        chunk.tokens,
                        chunk.start,
                        chunk.end,
                        chunk.line,
                        chunk.end_line,
                        chunk.page,
                        content_hash(chunk.embedded_text),
                    ),
                ).lastrowid
                connection.execute(
                    "INSERT INTO vectors VALUES (?, ?, ?, ?, ?)",
                    (
                        chunk_id,
                        codes.values[position].tobytes(),
                        float(codes.scales[position]),
                        float(codes.errors[position]),
                        rows[position].tobytes(),
                    ),
                )

    def refile(self, document_id: int, file: FileState) -> None:
        """Note that a stored document's file has moved, or was touched; its chunks stay."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE documents SET folder = ?, path = ?, size = ?, mtime_ns = ? WHERE id = ?",
                (file.folder, file.path, file.size, file.mtime_ns, document_id),
            )

    def remove(self, document_ids: Sequence[int]) -> None:
        """Remove documents with all that belongs to them."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM documents WHERE id = ?", [(one,) for one in document_ids])

    def passages(self, chunk_ids: Sequence[int]) -> dict[int, Passage]:
        """Return chunks by id."""
        found = {}
        for start in range(0, len(chunk_ids), 500):
            part = list(chunk_ids[start : start + 500])
            for row in self._rows(f"{_PASSAGE} WHERE c.id IN ({','.join('?' * len(part))})", part):
                found[row[0]] = _passage(row)
        return found

    def neighbours(self, document_id: int, first: int, last: int) -> list[Passage]:
        """Return the chunks of a document from position ``first`` to ``last``."""
        rows = self._rows(
            f"{_PASSAGE} WHERE c.document_id = ? AND c.position BETWEEN ? AND ? ORDER BY c.position",
            (document_id, first, last),
        )
        return [_passage(row) for row in rows]

    def vectors_of(self, chunk_ids: npt.ArrayLike) -> Floats:
        """Return the vectors of chunks, float32 (n, d), of length 1; zeros for a chunk that is not there."""
        return vectors_in_order(self, chunk_ids)

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a question in SQL."""
        return self._rows(sql, values)

    def nearest(self, query: npt.ArrayLike, k: int, allowed: Ints | None = None) -> FoundChunks:
        """Return the chunks nearest to a vector; see ``ChunkSearch.nearest``."""
        return self._search.nearest(query, k, allowed)

    def index_status(self) -> IndexStatus:
        """Return whether searches by vector go through an index."""
        return self._search.status()

    @property
    def version(self) -> int:
        """Changes with every commit."""
        # data_version tells of other connections' commits, the count of this one's.
        ((version,),) = self._rows("PRAGMA data_version")
        return (int(version) << 32) + self._changes

    def _setting(self, name: str) -> str | None:
        rows = self._rows("SELECT value FROM settings WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, sqlite_errors(self.path):
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the file for as long as the context lasts."""
        with self._lock, sqlite_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Store all of what is done within the context, or nothing."""
        with self._lock, sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._changes += 1


def _passage(row: tuple[Any, ...]) -> Passage:
    return Passage(*row[:-1], orjson.loads(row[-1]))  # type: ignore[call-arg]
