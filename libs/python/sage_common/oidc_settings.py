"""The issuer whose tokens the gateway takes beside API keys (OpenID Connect, JSON Web Tokens)."""

from __future__ import annotations

import ipaddress
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from sage_common.config import SectionSettings

# RFC 7518, §3.1 and RFC 8037: with a pair of keys. "none" and the HS family are not among them, because a public key is
# no secret: whoever reads it could sign with it.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})


class OidcSettings(SectionSettings):
    """Section ``oidc``: without an issuer the gateway takes API keys only."""

    section: ClassVar[str] = "oidc"

    issuer: str = Field("", description="URL of the issuer, as its tokens' claim 'iss' says it; empty takes no tokens")
    audience: str = Field("", description="what the claim 'aud' of a token must name; needed with an issuer")
    jwks_url: str = Field("", description="the issuer's keys; empty asks ISSUER/.well-known/openid-configuration")
    algorithms: tuple[str, ...] = Field(("RS256", "ES256"), description="algorithms that a token may be signed with")
    tenant_claim: str = Field("tenant", description="claim that holds the tenant; a.b is the claim b in the claim a")
    roles_claim: str = Field("roles", description="claim that lists roles, as a list or as words in a string")
    operator_role: str = Field("sage-operator", description="role whose holders may give orders; empty for nobody")
    leeway_seconds: float = Field(30.0, ge=0, le=300, description="by how much the issuer's clock may differ")
    refetch_seconds: float = Field(10.0, gt=0, description="least time between two questions for the issuer's keys")
    jwks_fresh_seconds: float = Field(300.0, gt=0, description="after this long the issuer's keys are asked for again")
    timeout_seconds: float = Field(3.0, gt=0, description="longest wait for the issuer")
    ca_file: str = Field("", description="authority of the issuer's certificate; empty for the system's")

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_secure(cls, url: str) -> str:
        if not url or is_secure_url(url):
            return url
        raise ValueError("keys in the clear can be anybody's; give an https:// URL (http:// is for loopback only)")

    @field_validator("algorithms")
    @classmethod
    def _are_asymmetric(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(algorithms) - ALGORITHMS)
        if unknown or not algorithms:
            raise ValueError(f"choose of {', '.join(sorted(ALGORITHMS))}")
        return algorithms


def is_secure_url(url: str) -> bool:
    """Whether what comes from a URL is of who is named there: https, or this machine's loopback."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
