"""From a file to the chunks that are stored of it."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from sage_common.errors import describe
from sage_libs.loaders import LoadedText, UnreadableDocumentError, first_line, format_of, load_text
from sage_libs.section_kind import section_kind
from sage_libs.tables import head_above
from sage_libs.token_chunking import TokenStarts, token_chunks
from sage_middleware.knowledge.records import FileState, NewChunk

# A file that goes on changing while it is read is left out after this many attempts.
_MOST_READS = 3
# Names of files that say nothing of what is in them.
_NAMELESS = frozenset(("readme", "index", "main", "doc", "document", "untitled", "page", "text", "notes"))


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file's bytes with the state that they belong to."""

    state: FileState
    data: bytes


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document, ready to be embedded and stored."""

    file: FileState
    title: str
    chunks: tuple[NewChunk, ...]


def read_file(folder: Path, path: Path) -> ReadFile:
    """Read a file whole, with its state from before, so that a change while it is read is noticed.

    Raises:
        UnreadableDocumentError: it cannot be read, or changes all the time.
    """
    try:
        for _ in range(_MOST_READS):
            with (folder / path).open("rb") as file:
                before = os.fstat(file.fileno())
                data = file.read()
            # By its name: another file may have taken its place.
            after = os.stat(folder / path)
            if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
                digest = hashlib.sha256(data).digest()
                state = FileState(str(folder), path.as_posix(), before.st_size, before.st_mtime_ns, digest)
                return ReadFile(state, data)
    except OSError as error:
        raise UnreadableDocumentError(f"cannot be read: {error.strerror or describe(error)}") from error
    raise UnreadableDocumentError("it changes while it is read; ingest again when it is finished")


def prepare(
    file: ReadFile,
    max_tokens: int,
    token_starts: TokenStarts,
    *,
    suffix: str | None = None,
    loaded: LoadedText | None = None,
) -> PreparedDocument:
    """Read the text of a file and cut it into chunks.

    Args:
        suffix: of its format; None goes by its name.
        loaded: its text, where that has been read already.

    Raises:
        UnreadableDocumentError: it holds no text that can be read.
    """
    path = Path(file.state.path)
    suffix = suffix or format_of(path.name) or path.suffix
    text, title, is_markdown = loaded or load_text(file.data, suffix)
    # What comes with its text has a key, which need not be a name.
    named = title or ("" if loaded is not None else name_of(path))
    line_starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n")]
    page_starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\f")] if suffix == ".pdf" else None
    first = first_line(file.data, suffix)
    chunks = []
    for chunk in token_chunks(text, ".md" if is_markdown else suffix, max_tokens, token_starts):
        body = text[chunk.start : chunk.end]
        headings = chunk.headings
        if named and named not in headings[:1]:
            headings = (named, *headings)
        chunks.append(
            NewChunk(
                heading=" > ".join(headings),
                text=body,
                kind=section_kind(path.as_posix(), headings, body).value,
                tokens=chunk.tokens,
                start=chunk.start,
                end=chunk.end,
                line=bisect_right(line_starts, chunk.start) - 1 + first,
                end_line=bisect_right(line_starts, chunk.end - 1) - 1 + first,
                page=None if page_starts is None else bisect_right(page_starts, chunk.start),
                table_head=head_above(text, chunk.start),
            )
        )
    if not chunks:
        raise UnreadableDocumentError("it holds headings only")
    return PreparedDocument(file.state, title, tuple(chunks))


def name_of(path: Path) -> str:
    """Return what a document without a title is called: its file's name in words, where that says something."""
    words = path.name.split(".")[0].replace("_", " ").replace("-", " ").strip()
    return words if words.lower() not in _NAMELESS and any(one.isalpha() for one in words) else ""
