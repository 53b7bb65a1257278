"""A batch, and the states that it goes through.

validating → in_progress → finalizing → completed
     │            │ └──────────────────→ expired      its window is over
     │            └──→ cancelling ─────→ cancelled    its tenant asked for it
     └───────────────────────────────────→ failed      its file cannot be run
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import orjson

from sage_gateway.batches.batch_document import BatchDocument, BatchError
from sage_platform.kv import record_fields

VALIDATING = "validating"
IN_PROGRESS = "in_progress"
FINALIZING = "finalizing"
COMPLETED = "completed"
FAILED = "failed"
EXPIRED = "expired"
CANCELLING = "cancelling"
CANCELLED = "cancelled"
ENDS = frozenset({COMPLETED, FAILED, EXPIRED, CANCELLED})
# From which a batch can be cancelled.
CANCELLABLE = frozenset({VALIDATING, IN_PROGRESS})
_BATCH_ID = re.compile(r"batch_[0-9a-f]{31}")


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Lines of a batch, and the tokens that the answered ones took."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch. Times are whole seconds since 1970-01-01 UTC; None for what has not happened.

    Attributes:
        output_lifetime_seconds: after which its output files go.
        model: of its first line; None until it is known.
        ends_as: the state that it comes to once its files are written; empty while its lines are run.
        output_file_id, error_file_id: of the files that are being written, or are there.
        has_output, has_errors: whether those files are there.
    """

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    output_lifetime_seconds: int
    status: str = VALIDATING
    metadata: dict[str, str] | None = None
    model: str | None = None
    counts: BatchCounts = field(default_factory=BatchCounts)
    errors: tuple[BatchError, ...] = ()
    ends_as: str = ""
    output_file_id: str = ""
    error_file_id: str = ""
    has_output: bool = False
    has_errors: bool = False
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDS

    def begun(self, total: int, model: str | None, now: float) -> BatchRecord:
        """Return it with its file read and found fit to run."""
        counts = replace(self.counts, total=total)
        return replace(self, status=IN_PROGRESS, counts=counts, model=model, in_progress_at=int(now))

    def cancelling(self, now: float) -> BatchRecord:
        """Return it with its tenant's wish to end it."""
        return replace(self, status=CANCELLING, cancelling_at=int(now))

    def finalizing(self, ends_as: str, output_file_id: str, error_file_id: str, now: float) -> BatchRecord:
        """Return it with all its lines run that will be; one that is cancelled stays ``cancelling`` until its end."""
        status = CANCELLING if self.status == CANCELLING else FINALIZING
        return replace(
            self,
            status=status,
            ends_as=ends_as,
            output_file_id=output_file_id,
            error_file_id=error_file_id,
            finalizing_at=int(now),
        )

    def failing(self, errors: tuple[BatchError, ...]) -> BatchRecord:
        """Return it with what is wrong with it."""
        return replace(self, errors=errors)

    def ended(self, now: float) -> BatchRecord:
        """Return it in the state that it comes to."""
        at: dict[str, Any] = {f"{self.ends_as}_at": int(now)}
        return replace(self, status=self.ends_as, **at)

    def document(self) -> BatchDocument:
        """Return OpenAI's batch object."""
        counts = self.counts
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": list(self.errors)} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id if self.has_output else None,
            "error_file_id": self.error_file_id if self.has_errors else None,
            "created_at": self.created_at,
            "in_progress_at": self.in_progress_at,
            "expires_at": self.expires_at,
            "finalizing_at": self.finalizing_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
            "expired_at": self.expired_at,
            "cancelling_at": self.cancelling_at,
            "cancelled_at": self.cancelled_at,
            "request_counts": {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
            "usage": {
                "input_tokens": counts.input_tokens,
                "input_tokens_details": {"cached_tokens": counts.cached_tokens},
                "output_tokens": counts.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": counts.input_tokens + counts.output_tokens,
            },
            "metadata": self.metadata,
        }


def new_batch_id(now: float) -> str:
    """Return an id that nobody can guess; a later one sorts behind an earlier one."""
    return f"batch_{int(now * 1000):011x}{os.urandom(10).hex()}"


def is_batch_id(text: str) -> bool:
    """Whether an id can be a batch's."""
    return _BATCH_ID.fullmatch(text) is not None


def made_at(batch_id: str) -> float:
    """Return when an id was made, in seconds since 1970."""
    return int(batch_id.removeprefix("batch_")[:11], 16) / 1000


def encode_batch(record: BatchRecord) -> bytes:
    """Return what is stored of a batch."""
    return orjson.dumps(asdict(record))


def decode_batch(data: bytes) -> BatchRecord:
    """Return a batch from what is stored of it. Raises ValueError, TypeError."""
    known = record_fields(BatchRecord, data)
    counts = {one.name: known["counts"][one.name] for one in fields(BatchCounts) if one.name in known["counts"]}
    errors = tuple(BatchError(**error) for error in known["errors"])
    return BatchRecord(**{**known, "counts": BatchCounts(**counts), "errors": errors})
