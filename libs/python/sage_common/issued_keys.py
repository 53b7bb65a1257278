"""API keys that the mesh has made itself: shown once, stored as digests, valid until they expire or are revoked."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

# What every key begins with, so that scanners of repositories and logs know one when they see it.
PREFIX = "sage-"
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_CHARACTERS = 10
_SECRET_BYTES = 32
_ID = re.compile(rf"[{_ID_ALPHABET}]{{{_ID_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """What the mesh keeps of a key.

    Attributes:
        key_id: name of the key, which is a part of it and no secret.
        digest: SHA-256 of the key, hexadecimal. A key has 256 random bits, so a slow hash would protect nothing more.
        tenant: whose key it is.
        operator: whether its holder may give orders.
        label: what its maker calls it; may be empty.
        created_at: seconds since 1970-01-01 UTC, as the other times.
        expires_at: from when on it is not valid; 0 for never.
        revoked_at: when it was revoked, which counts at once whatever the clock says; 0 where it was not.
    """

    key_id: str
    digest: str
    tenant: str
    operator: bool = False
    label: str = ""
    created_at: float = 0.0
    expires_at: float = 0.0
    revoked_at: float = 0.0

    def invalid_because(self, now: float) -> str:
        """Return why the key is not valid, to follow "the API key"; empty where it is."""
        if self.revoked_at:
            return "was revoked"
        if self.expires_at and now >= self.expires_at:
            return "has expired"
        return ""


def new_key() -> tuple[str, str]:
    """Return the id of a new key, and the key."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_CHARACTERS))
    return key_id, f"{PREFIX}{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"


def is_key_id(text: str) -> bool:
    """Whether a text has the form of a key's id."""
    return _ID.fullmatch(text) is not None


def key_digest(key: str) -> str:
    """Return the digest under which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
