"""Tokens of an issuer (RFC 7519), checked as RFC 8725 says: algorithms from a list, issuer and audience always."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import jwt

from sage_common.api_keys import Caller
from sage_common.errors import ConfigurationError, UnauthenticatedError
from sage_common.oidc_settings import OidcSettings
from sage_gateway.oidc.claims import TokenBearer, bearer_of, refuse_untimely
from sage_gateway.oidc.published_key import PublishedKey
from sage_gateway.oidc.signing_keys import SigningKeys

MAX_TOKEN_CHARACTERS = 16 * 1024
MAX_REMEMBERED = 10_000
# Of a JSON object that begins as every header does, in base64url.
_BEGINNING = "eyJ"


class IssuerTokens:
    """Finds the caller behind a token.

    A token whose signature was checked is remembered, by its digest, until the issuer's keys are read again: checking
    it costs more than all else that the gateway does for a request. Its times are looked at with each request.

    Args:
        now: seconds since 1970-01-01 UTC.

    Raises:
        ConfigurationError: an issuer is set without an audience.
    """

    def __init__(self, settings: OidcSettings, keys: SigningKeys, now: Callable[[], float] = time.time) -> None:
        if not settings.audience:
            raise ConfigurationError(
                "oidc.issuer is set without oidc.audience, so tokens that it issues for other services would be taken; "
                "set SAGE_OIDC_AUDIENCE to what it calls this one"
            )
        self._settings = settings
        self._keys = keys
        self._now = now
        # With the id of the key that each is signed with.
        self._checked: OrderedDict[bytes, tuple[TokenBearer, str]] = OrderedDict()
        self._checked_with = keys.version
        # By subject and by the id of the key that its tokens are signed with: that key, and the last end of them.
        self._valid: dict[str, dict[str, tuple[PublishedKey | None, float]]] = {}

    def may_be_one(self, credential: str) -> bool:
        """Whether a credential has the form of a token, which no API key of the mesh has."""
        return credential.startswith(_BEGINNING) and credential.count(".") == 2

    async def prepare(self, credential: str) -> None:
        """Have the key at hand that ``caller`` will need. Waits for the issuer for a few seconds at most."""
        if not self.may_be_one(credential) or len(credential) > MAX_TOKEN_CHARACTERS:
            return
        checked = self._checked.get(_digest(credential))
        try:
            key_id = checked[1] if checked else _key_id(_header(credential))
        except UnauthenticatedError:
            return
        await self._keys.prepare(key_id)

    def caller(self, token: str) -> Caller:
        """Return whose token it is.

        Raises:
            UnauthenticatedError: it is not valid; the message says why.
            PermissionDeniedError: it names no tenant.
            UnavailableError: it is signed with a key that is not known, and the issuer could not be asked.
        """
        digest = _digest(token)
        if self._checked_with != self._keys.version:
            self._checked.clear()
            self._checked_with = self._keys.version
        checked = self._checked.get(digest) or self._check(token)
        bearer, key_id = checked
        refuse_untimely(bearer, self._now(), self._settings.leeway_seconds)
        self._checked[digest] = checked
        if len(self._checked) > MAX_REMEMBERED:
            self._checked.popitem(last=False)
        by_key = self._valid.setdefault(bearer.caller.key_id, {})
        key = self._keys.listed(key_id)
        known = by_key.get(key_id)
        until = known[1] if known is not None and known[0] == key else 0.0
        by_key[key_id] = (key, max(until, bearer.expires_at))
        return bearer.caller

    def ended_because(self, subject: str) -> UnauthenticatedError | None:
        """Return why no token that a subject came with is valid any more; None while one is."""
        now = self._now() - self._settings.leeway_seconds
        # One that is not known had none that is valid now; see ``forget_expired``.
        timely = {id_: key for id_, (key, until) in self._valid.get(subject, {}).items() if now < until}
        if not timely:
            return UnauthenticatedError("the token expired while its answer was written", code="token_expired")
        if all(key is None or self._keys.listed(key_id) != key for key_id, key in timely.items()):
            return UnauthenticatedError(
                "the issuer withdrew the key that the token is signed with while its answer was written",
                code="unknown_signing_key",
            )
        return None

    def forget_expired(self) -> None:
        """Keep nothing of subjects none of whose tokens is in time any more."""
        now = self._now() - self._settings.leeway_seconds
        for subject, by_key in tuple(self._valid.items()):
            if all(now >= until for _, until in by_key.values()):
                del self._valid[subject]

    def _check(self, token: str) -> tuple[TokenBearer, str]:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise UnauthenticatedError(f"the token has more than {MAX_TOKEN_CHARACTERS} characters")
        header = _header(token)
        algorithm = str(header.get("alg"))
        if algorithm not in self._settings.algorithms:
            accepted = ", ".join(self._settings.algorithms)
            raise UnauthenticatedError(
                f"the token is signed with {algorithm[:20]!r}; accepted are {accepted}", code="token_algorithm"
            )
        if "crit" in header:
            raise UnauthenticatedError("the token demands extensions (crit) that are not understood here")
        key_id = _key_id(header)
        key = self._keys.get(key_id)
        if key is None:
            raise UnauthenticatedError(
                f"the token is signed with the key {key_id[:80]!r}, which {self._settings.issuer} does not list",
                code="unknown_signing_key",
            )
        try:
            claims = jwt.decode(
                token,
                key.verifying(algorithm),
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                # Of times this class has its own idea, and its own clock.
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                },
            )
        except jwt.InvalidSignatureError:
            raise UnauthenticatedError("the token's signature is not its issuer's", code="token_forged") from None
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"the token is not for this service: {error}", code="token_refused") from None
        return bearer_of(claims, self._settings), key_id


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _key_id(header: Mapping[str, object]) -> str:
    return str(header.get("kid", ""))


def _header(token: str) -> dict[str, object]:
    try:
        return jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise UnauthenticatedError(f"the token cannot be read ({error}); get another from its issuer") from None
