"""What an issuer's tokens need beside a look at each request: keys before it, and fresh ones while answers run."""

from __future__ import annotations

import asyncio

from sage_common.api_keys import SUBJECT_PREFIX, ApiKeys
from sage_common.clock import MonotonicClock
from sage_common.oidc_settings import OidcSettings
from sage_common.tasks import end_tasks
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.asgi import App, Receive, Scope, Send
from sage_gateway.oidc.issuer_tokens import IssuerTokens
from sage_gateway.oidc.key_source import KeySource
from sage_gateway.oidc.signing_keys import SigningKeys
from sage_platform.background import keep_running

LOOK_SECONDS = 1.0


class TokenGate:
    """Lets the holders of an issuer's tokens in.

    Args:
        keys: what callers need; tokens are taken beside it from now on.
        answers: that subjects are getting now; they end with the last token of their subject, or with its key.

    Raises:
        ConfigurationError: settings are wrong.
    """

    def __init__(self, settings: OidcSettings, keys: ApiKeys, answers: AnswersByKey) -> None:
        self._signing_keys = SigningKeys(
            KeySource(settings),
            MonotonicClock(),
            refetch_seconds=settings.refetch_seconds,
            fresh_seconds=settings.jwks_fresh_seconds,
        )
        self._tokens = IssuerTokens(settings, self._signing_keys)
        self._answers = answers
        self._keys = keys
        keys.take_tokens(self._tokens)
        # An issuer that is away now may be there for the first token.
        first = self._signing_keys.prepare("")
        self._asking = asyncio.get_running_loop().create_task(first, name="issuer-keys-first")
        self._watching = keep_running(self._watch, name="issuer-keys-fresh")

    def over(self, app: App) -> App:
        """Return ``app`` behind a look at whether the key of a request's token is at hand."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                for name, value in scope["headers"]:
                    if name in (b"authorization", b"x-api-key"):
                        await self._keys.prepare(value.decode("latin-1"))
            await app(scope, receive, send)

        return gated

    async def stop(self) -> None:
        """Ask and watch no more."""
        await end_tasks(self._asking, self._watching)
        await self._signing_keys.stop()

    async def _watch(self) -> None:
        """Have the keys at hand by which tokens of answers hold that are written now: no request may ask for them."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._tokens.forget_expired()
            if any(key_id.startswith(SUBJECT_PREFIX) for key_id in self._answers.key_ids()):
                self._signing_keys.renew()
