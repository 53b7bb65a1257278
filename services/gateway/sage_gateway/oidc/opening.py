"""Letting the bearers of an issuer's tokens in, where the settings name an issuer."""

from __future__ import annotations

from typing import Protocol

from sage_common.api_keys import ApiKeys
from sage_common.config import load
from sage_common.oidc_settings import OidcSettings
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.asgi import App


class TokenFront(Protocol):
    """What stands before the HTTP API for tokens."""

    def over(self, app: App) -> App:
        """Return ``app`` behind it."""

    async def stop(self) -> None:
        """End what it does beside requests."""


class NoTokens:
    """Where API keys are all that is taken."""

    def over(self, app: App) -> App:
        """Return ``app`` as it is."""
        return app

    async def stop(self) -> None:
        """Do nothing."""


def open_token_gate(keys: ApiKeys, answers: AnswersByKey) -> TokenFront:
    """Open the gate that the settings want. Raises ConfigurationError."""
    settings = load(OidcSettings)
    if not settings.issuer:
        return NoTokens()
    # Signatures bring a library that takes its time to load.
    from sage_gateway.oidc.token_gate import TokenGate

    return TokenGate(settings, keys, answers)
