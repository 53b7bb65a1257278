"""A key that an issuer has published, and what it verifies (RFC 7517)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt


@dataclass(frozen=True)
class PublishedKey:
    """One of an issuer's set of keys.

    Attributes:
        jwk: as the issuer states it.
    """

    jwk: dict[str, Any]

    def verifying(self, algorithm: str) -> jwt.PyJWK:
        """Return what verifies signatures by ``algorithm``, one that is accepted here.

        Raises:
            jwt.PyJWTError: it is a key for another algorithm, or of another kind.
        """
        named = self.jwk.get("alg")
        if named and named != algorithm:
            raise jwt.InvalidAlgorithmError(f"its key is for {str(named)[:20]!r}, and it is signed with {algorithm!r}")
        # Of a key that names none, which any algorithm of its kind may use, PyJWK would take RS256 for granted.
        return jwt.PyJWK(self.jwk, algorithm)
