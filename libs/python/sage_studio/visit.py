"""Who looks at a page: the key that they have given, or the page where they can give one."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sage_studio.access import Access, AccessPool
from sage_studio.sessions import Sessions, cookie_name

THEME_COOKIE = "sage-studio-theme"
THEMES: dict[str, bool | None] = {"dark": True, "light": False}


@dataclass(frozen=True, slots=True)
class Visit:
    """A page load.

    Attributes:
        dark: None to go by the system's setting.
        session: name of the visitor's session; None for a mesh that needs no key.
    """

    access: Access
    dark: bool | None
    session: str | None
    sessions: Sessions
    pool: AccessPool

    @property
    def signed_in(self) -> bool:
        """Whether a key was given, which can be taken back."""
        return self.session is not None

    @property
    def has_moved(self) -> bool:
        """Whether the gateway is at another address by now."""
        return self.access.target != self.pool.target

    @property
    def is_over(self) -> bool:
        """Whether the key was taken back, in another tab perhaps, or is kept no longer."""
        return self.session is not None and self.sessions.key(self.session) is None


class Visits:
    """Admits visitors.

    Args:
        always_key: ask for a key even where the mesh does not.
    """

    def __init__(self, sessions: Sessions, pool: AccessPool, *, always_key: bool) -> None:
        self.sessions = sessions
        self.pool = pool
        self.always_key = always_key

    async def of(self, request: Request) -> Visit | Response:
        """Return the visit, or the way to the page that asks for a key."""
        dark = THEMES.get(request.cookies.get(THEME_COOKIE, ""))
        session = request.cookies.get(cookie_name(request))
        key = self.sessions.key(session)
        if key is not None:
            return Visit(self.pool.access(key), dark, session, self.sessions, self.pool)
        if self.always_key or await self.pool.needs_key():
            path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/key?to={quote(path, safe='')}", 303)
        return Visit(self.pool.access(""), dark, None, self.sessions, self.pool)
