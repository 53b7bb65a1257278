"""What the fields of an upload ask for."""

from __future__ import annotations

from dataclasses import dataclass

from sage_common.errors import InvalidRequestError
from sage_gateway.files.file_record import DEFAULT_LIFETIME_SECONDS, UPLOAD_PURPOSES

ANCHOR_FIELD = "expires_after[anchor]"
SECONDS_FIELD = "expires_after[seconds]"
# As OpenAI's: an hour to 30 days.
SHORTEST_LIFETIME_SECONDS = 3600
LONGEST_LIFETIME_SECONDS = 2_592_000


@dataclass(frozen=True, slots=True)
class UploadOrder:
    """What a file is for; ``lifetime_seconds`` is None for one that stays."""

    purpose: str
    lifetime_seconds: int | None


def read_upload_order(fields: dict[str, str]) -> UploadOrder:
    """Read the fields of an upload's form. Raises InvalidRequestError; ``param`` names the field."""
    left = dict(fields)
    purpose = left.pop("purpose", None)
    if purpose not in UPLOAD_PURPOSES:
        given = "is needed" if purpose is None else f"is {purpose[:40]!r}"
        raise InvalidRequestError(
            f"'purpose' {given}; files are kept here for {' and '.join(map(repr, UPLOAD_PURPOSES))}",
            code="missing_required_parameter" if purpose is None else "unsupported_purpose",
            param="purpose",
        )
    anchor, seconds = left.pop(ANCHOR_FIELD, None), left.pop(SECONDS_FIELD, None)
    for name in left:
        raise InvalidRequestError(
            f"{name[:80]!r} is not a field that is known here; leave it out", code="unknown_parameter", param=name[:80]
        )
    if anchor is None and seconds is None:
        return UploadOrder(purpose, DEFAULT_LIFETIME_SECONDS.get(purpose))
    if anchor != "created_at":
        raise InvalidRequestError(f"{ANCHOR_FIELD!r} must be 'created_at'", param=ANCHOR_FIELD)
    is_number = seconds is not None and seconds.isascii() and seconds.isdecimal() and len(seconds) < 10
    return UploadOrder(purpose, checked_lifetime(int(seconds) if is_number and seconds else None, SECONDS_FIELD))


def checked_lifetime(seconds: int | None, param: str) -> int:
    """Return a lifetime. Raises InvalidRequestError for None, and for one that is too short or too long."""
    if seconds is None or not SHORTEST_LIFETIME_SECONDS <= seconds <= LONGEST_LIFETIME_SECONDS:
        raise InvalidRequestError(
            f"{param!r} must be a whole number of seconds from {SHORTEST_LIFETIME_SECONDS} to "
            f"{LONGEST_LIFETIME_SECONDS}",
            param=param,
        )
    return seconds
