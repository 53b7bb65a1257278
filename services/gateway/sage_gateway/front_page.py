"""``/``: what this server is and where to go, as a page for browsers and as JSON for programs."""

from __future__ import annotations

from html import escape
from importlib.metadata import PackageNotFoundError, version
from string import Template
from typing import Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from sage_common.ports import port_offset
from sage_gateway.credentials import Credentials
from sage_gateway.openapi.operation import TEXT, Access, operation, routes_of
from sage_gateway.readiness import Readiness
from sage_mesh.directory import EngineDirectory

SUMMARY = "LLM and embedding engines as one service, with an API like OpenAI's."
LINKS = {
    "/v1/models": "the models, as JSON",
    "/health": "whether this process lives",
    "/ready": "whether requests are answered",
    "/metrics": "figures for Prometheus",
    "/openapi.json": "this API, as OpenAPI 3.1",
    "/v1/management/status": "services and engines",
}
DOCUMENTATION = "services/gateway/README.md"
# The page loads nothing and runs nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
PAGE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SAGE</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
pre { background: #8882; padding: .8rem; overflow-x: auto; }
td { padding-right: 1.5rem; vertical-align: top; }
:root { color-scheme: light dark; }
</style>
<h1>SAGE <small>$version</small></h1>
<p>$summary</p>
<p><strong>$state</strong></p>
$studio
<h2>Models</h2>
$models
<h2>Ask it</h2>
<pre>curl $base/v1/chat/completions \\
  -H 'Content-Type: application/json' \\$key
  -d '{"messages": [{"role": "user", "content": "Hello"}]}'</pre>
<p>Any OpenAI client: base URL <code>$base/v1</code>. In a terminal: <code>$sage chat</code>,
<code>$sage ask</code>, <code>$sage status</code>.</p>
<h2>Where to go</h2>
<table>$links</table>
<p>The documentation of this API is in <code>$documentation</code> of the repository.</p>
</html>
"""
)


class ShownModel(TypedDict):
    """A model, and what it can do."""

    id: str
    kinds: list[str]
    ready: bool


class Overview(TypedDict):
    """What this server is."""

    name: Literal["SAGE"]
    version: str
    summary: str
    ready: bool
    reason: str
    needs_api_key: bool
    studio: str
    models: list[ShownModel]


class FrontPageDocument(Overview):
    """What this server is, and where to go."""

    links: dict[str, str]


class FrontPage:
    """Serves the page. With API keys configured it names no models: those are for callers with a key.

    Args:
        studio_url: where the studio is; empty for none.
    """

    def __init__(
        self, readiness: Readiness, directory: EngineDirectory, credentials: Credentials, studio_url: str = ""
    ) -> None:
        self._readiness = readiness
        self._directory = directory
        self._credentials = credentials
        self._studio_url = studio_url

    def route(self) -> Route:
        """Return the route to mount."""
        return routes_of(self)[0]

    @operation(
        "GET", "/", "Say what this is", answer=FrontPageDocument, raw_answer={"text/html": TEXT}, access=Access.OPEN
    )
    async def _page(self, request: Request) -> Response:
        shown = self._content()
        base = str(request.base_url).rstrip("/")
        headers = {"cache-control": "no-store", "vary": "accept"}
        if "text/html" not in request.headers.get("accept", ""):
            links = {name.rpartition("/")[2].removesuffix(".json"): f"{base}{name}" for name in LINKS}
            document: FrontPageDocument = {**shown, "links": links}
            return Response(orjson.dumps(document), media_type="application/json", headers=headers)
        page = _html(shown, base)
        return Response(page, media_type="text/html", headers={**headers, "content-security-policy": POLICY})

    def _content(self) -> Overview:
        open_to_all = not self._credentials.required
        reason = self._readiness.reason()
        entries = self._directory.catalog.entries if open_to_all else []
        return {
            "name": "SAGE",
            "version": _version(),
            "summary": SUMMARY,
            "ready": not reason,
            "reason": reason if open_to_all else "",
            "needs_api_key": not open_to_all,
            "studio": self._studio_url,
            "models": [
                {
                    "id": entry.card.name,
                    "kinds": sorted(kind.name.lower().removeprefix("llm_") for kind in entry.kinds),
                    "ready": bool(entry.ready_kinds),
                }
                for entry in entries
            ],
        }


def _html(shown: Overview, base: str) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(model['id'])}</code><td>{escape(', '.join(model['kinds']))}"
        f"<td>{'' if model['ready'] else 'not ready'}"
        for model in shown["models"]
    )
    needs_key = "<p>They are listed at <code>/v1/models</code> for callers with an API key.</p>"
    none = needs_key if shown["needs_api_key"] else "<p>None yet.</p>"
    state = "Ready." if shown["ready"] else f"Not ready yet{': ' if shown['reason'] else ''}{shown['reason']}."
    studio = escape(shown["studio"])
    links = "".join(f'<tr><td><a href="{path}">{path}</a><td>{what}' for path, what in LINKS.items())
    return PAGE.substitute(
        version=escape(shown["version"]),
        summary=SUMMARY,
        state=escape(state),
        models=f"<table>{rows}</table>" if rows else none,
        base=escape(base),
        key="\n  -H 'Authorization: Bearer KEY' \\" if shown["needs_api_key"] else "",
        sage=f"sage --port-offset {port_offset()}" if port_offset() else "sage",
        studio=f'<p><a href="{studio}">Open the studio</a>: the mesh as it runs.</p>' if studio else "",
        links=links,
        documentation=DOCUMENTATION,
    )


def _version() -> str:
    try:
        return version("sage-mesh")
    except PackageNotFoundError:
        return ""
