"""Asking an issuer for its signing keys (OpenID Connect Discovery 1.0, RFC 7517)."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import jwt

from sage_common.errors import UnavailableError, describe
from sage_common.oidc_settings import OidcSettings, is_secure_url
from sage_gateway.oidc.published_key import PublishedKey

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_KEYS = 100
# What becomes of an issuer that is away, is no HTTP server, or answers with something that is no set of keys.
_BROKEN = (
    OSError,
    http.client.HTTPException,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    asyncio.TimeoutError,
    jwt.PyJWTError,
)


class KeySource:
    """The issuer's published keys."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings

    async def fetch(self) -> Mapping[str, PublishedKey]:
        """Return the keys that verify signatures, by their id; one without an id is under the empty one.

        Raises:
            UnavailableError: the issuer does not answer, or with something that is no set of keys.
        """
        seconds = self._settings.timeout_seconds
        try:
            # Its own limit is for each read, so that a server which sends a byte now and then would never meet it.
            return await asyncio.wait_for(asyncio.to_thread(self._read), 2 * seconds + 1)
        except _BROKEN as error:
            reason = "no answer in time" if isinstance(error, asyncio.TimeoutError) else describe(error)
            raise UnavailableError(
                f"the keys of the issuer {self._settings.issuer} cannot be read ({reason}), so its tokens cannot be "
                "checked; try again, and look at the issuer and at oidc.jwks_url",
                code="issuer_unreachable",
                retryable=True,
            ) from None

    def _read(self) -> dict[str, PublishedKey]:
        url = self._settings.jwks_url or self._discovered()
        keys: dict[str, PublishedKey] = {}
        for one in list(self._get(url)["keys"])[:MAX_KEYS]:
            # A symmetric key in a published set is no secret, and a key for encryption signs nothing.
            if one.get("kty") == "oct" or one.get("use", "sig") != "sig":
                continue
            try:
                jwt.PyJWK(one)
            except jwt.PyJWTError:
                continue  # of a kind that is not known here
            keys[str(one.get("kid", ""))] = PublishedKey(one)
        return keys

    def _discovered(self) -> str:
        issuer = self._settings.issuer
        document = self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document["issuer"] != issuer:
            raise ValueError(f"its configuration is that of the issuer {str(document['issuer'])[:200]!r}")
        url = str(document["jwks_uri"])
        if not is_secure_url(url):
            raise ValueError(f"its jwks_uri {url[:200]!r} is not https")
        return url

    def _get(self, url: str) -> dict[str, Any]:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if url.startswith("https:"):
            context = ssl.create_default_context(cafile=self._settings.ca_file or None)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=self._settings.timeout_seconds) as answer:
                body = answer.read(MAX_DOCUMENT_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            raise ValueError(f"{url} answers {error.code}") from None
        if len(body) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{url} has more than {MAX_DOCUMENT_BYTES} bytes")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise TypeError(f"{url} answers no JSON object")
        return document


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is redirected is an error: keys come from where the settings say."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None
