"""What the claims of a token whose signature holds say of its bearer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sage_common.api_keys import MAX_TENANT_CHARACTERS, SUBJECT_PREFIX, Caller
from sage_common.errors import PermissionDeniedError, UnauthenticatedError
from sage_common.labels import is_label
from sage_common.oidc_settings import OidcSettings

_SUBJECT_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class TokenBearer:
    """Who came with a token, and how long that holds.

    Attributes:
        caller: its ``key_id`` names the token's subject.
        expires_at: seconds since 1970-01-01 UTC, as the issuer's clock has it; likewise ``not_before``.
    """

    caller: Caller
    expires_at: float
    not_before: float


def bearer_of(claims: Mapping[str, Any], settings: OidcSettings) -> TokenBearer:
    """Read the claims.

    Raises:
        UnauthenticatedError: a time is missing, or is none.
        PermissionDeniedError: no tenant is named that could be one.
    """
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise UnauthenticatedError("the token does not say when it expires (exp); ask the issuer for one that does")
    # A token of the future is refused by whichever of the two is later.
    not_before = max(_seconds(claims, "nbf") or 0.0, _seconds(claims, "iat") or 0.0)
    tenant = _claim(claims, settings.tenant_claim)
    if not isinstance(tenant, str) or not is_label(tenant, MAX_TENANT_CHARACTERS):
        shown = "is missing" if tenant is None else f"is {str(tenant)[:80]!r}"
        raise PermissionDeniedError(
            f"the token's claim {settings.tenant_claim!r} {shown}, and must be the name of a tenant; have the issuer "
            "set it, or name another claim in oidc.tenant_claim",
            code="no_tenant",
        )
    subject = f"{claims.get('iss', '')}\n{claims.get('sub', tenant)}"
    subject_id = hashlib.sha256(subject.encode()).hexdigest()[:_SUBJECT_CHARACTERS]
    caller = Caller(tenant, _is_operator(claims, settings), f"{SUBJECT_PREFIX}{subject_id}", from_issuer=True)
    return TokenBearer(caller, expires_at, not_before)


def refuse_untimely(bearer: TokenBearer, now: float, leeway_seconds: float) -> None:
    """Raise UnauthenticatedError for a token that is not valid at ``now``, seconds since 1970-01-01 UTC."""
    if now >= bearer.expires_at + leeway_seconds:
        message = f"the token expired {now - bearer.expires_at:.0f} s ago; get another from its issuer"
        raise UnauthenticatedError(message, code="token_expired")
    if now < bearer.not_before - leeway_seconds:
        ahead = bearer.not_before - now
        raise UnauthenticatedError(
            f"the token is valid in {ahead:.0f} s only; compare this machine's clock with the issuer's",
            code="token_not_yet_valid",
        )


def _is_operator(claims: Mapping[str, Any], settings: OidcSettings) -> bool:
    roles = _claim(claims, settings.roles_claim)
    if isinstance(roles, str):
        roles = roles.split()
    return bool(settings.operator_role) and isinstance(roles, list) and settings.operator_role in roles


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise UnauthenticatedError(f"the token's claim {name!r} is no time; get another from its issuer")
    return float(value)
