"""What is known of a file besides its bytes."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from typing import Literal

import orjson
from typing_extensions import TypedDict

from sage_platform.kv import record_fields

# Purposes that a file may be uploaded for; batches make those of ``batch_output``.
UPLOAD_PURPOSES = ("batch", "user_data")
BATCH_PURPOSE = "batch"
OUTPUT_PURPOSE = "batch_output"
_DAY_SECONDS = 86_400
# As OpenAI's: what a batch reads or writes goes after 30 days where nobody says otherwise.
DEFAULT_LIFETIME_SECONDS = {BATCH_PURPOSE: 30 * _DAY_SECONDS, OUTPUT_PURPOSE: 30 * _DAY_SECONDS}
_FILE_ID = re.compile(r"file-[0-9a-f]{31}")


class FileDocument(TypedDict):
    """OpenAI's file object."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file. Times are whole seconds since 1970-01-01 UTC.

    Attributes:
        bytes: its size.
        chunks: messages that its bytes are in.
        expires_at: when it goes; None for never.
    """

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    chunks: int
    created_at: int
    expires_at: int | None = None

    def document(self) -> FileDocument:
        """Return OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }

    def is_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


def new_file_id(now: float) -> str:
    """Return an id that nobody can guess; a later one sorts behind an earlier one."""
    return f"file-{int(now * 1000):011x}{os.urandom(10).hex()}"


def is_file_id(text: str) -> bool:
    """Whether an id can be a file's."""
    return _FILE_ID.fullmatch(text) is not None


def made_at(file_id: str) -> float:
    """Return when an id was made, in seconds since 1970."""
    return int(file_id.removeprefix("file-")[:11], 16) / 1000


def encode_file(record: FileRecord) -> bytes:
    """Return what is stored of a file."""
    return orjson.dumps(asdict(record))


def decode_file(data: bytes) -> FileRecord:
    """Return a file from what is stored of it. Raises ValueError."""
    return FileRecord(**record_fields(FileRecord, data))
