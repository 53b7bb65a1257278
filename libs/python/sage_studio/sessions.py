"""Which key a visitor has given. Keys stay in this process's memory; a browser holds only a random name for its own."""

from __future__ import annotations

import secrets
from collections import OrderedDict

from starlette.requests import Request

from sage_common.clock import Clock

COOKIE = "sage-studio-session"
MOST_SESSIONS = 1000


def cookie_name(request: Request) -> str:
    """Return the name of this studio's cookie: a browser sends a host's cookies to all of its ports."""
    try:
        port = request.url.port
    except ValueError:
        port = None
    return f"{COOKIE}-{port}" if port else COOKIE


class Sessions:
    """Keys by session, each for a time. The oldest of too many is forgotten."""

    def __init__(self, clock: Clock, lifetime_seconds: float) -> None:
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._keys: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, key: str) -> str:
        """Keep a key; return the name of its session."""
        name = secrets.token_urlsafe(32)
        self._keys[name] = (key, self._clock.now() + self._lifetime_seconds)
        while len(self._keys) > MOST_SESSIONS:
            self._keys.popitem(last=False)
        return name

    def key(self, name: str | None) -> str | None:
        """Return the key of a session; None where there is none, or not any more."""
        key, ends_at = self._keys.get(name or "", ("", 0.0))
        if not key:
            return None
        if self._clock.now() >= ends_at:
            self.end(name)
            return None
        return key

    def end(self, name: str | None) -> None:
        """Forget a session."""
        self._keys.pop(name or "", None)
