"""The page that asks for a key: plain HTML, so that the key is in no page's state and the cookie can be HttpOnly."""

from __future__ import annotations

from html import escape
from string import Template
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sage_common.errors import SageError
from sage_studio.sessions import cookie_name
from sage_studio.visit import Visits

MOST_KEY_CHARACTERS = 512
PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SAGE studio</title>
<link rel="stylesheet" href="/studio.css">
<body class="key-page">
<main class="card">
<h1>SAGE studio</h1>
<p>$why</p>
$problem
<form method="post" action="/key">
<input type="hidden" name="to" value="$to">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>Open</button>
</form>
<p class="muted">It is kept in the studio's memory until you sign out.
<code>sage key create TENANT</code> makes one.</p>
</main>
</body>
</html>
""")
WHY = "The mesh at <code>$target</code> asks for an API key."
WHY_HERE = (
    "This studio can be reached from other machines, so it asks for an API key of the mesh at <code>$target</code>. "
    "Where the mesh has none, start the studio on loopback, or with <code>--insecure</code>."
)


class KeyRoutes:
    """Takes keys, and forgets them."""

    def __init__(self, visits: Visits, lifetime_seconds: float) -> None:
        self._visits = visits
        self._lifetime_seconds = lifetime_seconds

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route("/key", self._ask, methods=["GET"]),
            Route("/key", self._take, methods=["POST"]),
            Route("/leave", self._leave, methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        return self._page(_own_path(request.query_params.get("to", "")))

    async def _take(self, request: Request) -> Response:
        form = await request.form(max_fields=4)
        to = _own_path(str(form.get("to", "")))
        key = str(form.get("key", "")).strip()
        if not key or len(key) > MOST_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
            return self._page(to, "That is not a key: it has letters, digits and hyphens.", 400)
        try:
            await self._visits.pool.check(key)
            if self._visits.always_key and not await self._visits.pool.needs_key():
                return self._page(to, "The mesh asks for no keys, so it knows none.", 403)
        except SageError as error:
            return self._page(to, error.message, 401)
        answer = RedirectResponse(to, 303)
        answer.set_cookie(
            cookie_name(request),
            self._visits.sessions.begin(key),
            max_age=int(self._lifetime_seconds),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def _leave(self, request: Request) -> Response:
        self._visits.sessions.end(request.cookies.get(cookie_name(request)))
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(cookie_name(request))
        return answer

    def _page(self, to: str, problem: str = "", status: int = 200) -> Response:
        why = Template(WHY_HERE if self._visits.always_key else WHY).substitute(target=escape(self._visits.pool.target))
        shown = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
        return HTMLResponse(
            PAGE.substitute(why=why, problem=shown, to=escape(to)), status, headers={"cache-control": "no-store"}
        )


def _own_path(to: str) -> str:
    """Return a path of this server; anything else could lead a visitor away."""
    try:
        parts = urlsplit(to)
    except ValueError:
        return "/"
    own = to.startswith("/") and not to.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return to if own and "\\" not in to and to.isprintable() else "/"
