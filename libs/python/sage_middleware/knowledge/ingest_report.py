"""What an ingest says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class IngestReport:
    """What an ingest has done so far, and in the end.

    Attributes:
        files: documents in the folder.
        unchanged: neither read nor embedded, or read and found the same.
        stored: new or changed documents.
        moved: documents whose file has another name now; their vectors are kept.
        removed: documents whose file is gone.
        chunks: chunks of the documents that were stored.
        embedded: those of them that no vector was there for.
        left_out: documents that were left out, with the reason.
        ignored: what is no document or not meant to be read, with the reason.
        seconds: by the clock.
        embed_seconds: of them, while the embedder had work.
        index: what became of the index for vectors; empty where there is none.
    """

    files: int = 0
    unchanged: int = 0
    stored: int = 0
    moved: int = 0
    removed: int = 0
    chunks: int = 0
    embedded: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    embed_seconds: float = 0.0
    index: str = ""
