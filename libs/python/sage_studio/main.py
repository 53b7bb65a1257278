"""Where the studio's objects meet."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from sage_common.allowed_hosts import AllowedHosts
from sage_common.clock import MonotonicClock
from sage_common.config import load
from sage_common.errors import SageError
from sage_common.logging import configure_logging, get_logger
from sage_common.ports import port_taken
from sage_common.service_settings import LogSettings
from sage_platform.bind_address import is_loopback
from sage_studio.access import AccessPool, gateway_here
from sage_studio.config import StudioSettings
from sage_studio.guard import Guard
from sage_studio.key_routes import KeyRoutes
from sage_studio.pages import (
    applications_page,
    assistant_page,
    engines_page,
    job_page,
    knowledge_base_page,
    knowledge_page,
    mesh_page,
    monitor_page,
    pipeline_editor_page,
    pipelines_page,
    playground_page,
    request_page,
    requests_page,
    tenants_page,
    triage_page,
    what_if_page,
)
from sage_studio.sessions import Sessions
from sage_studio.visit import Visits

PAGES = (
    mesh_page,
    requests_page,
    request_page,
    playground_page,
    engines_page,
    tenants_page,
    knowledge_page,
    knowledge_base_page,
    pipelines_page,
    pipeline_editor_page,
    job_page,
    applications_page,
    assistant_page,
    triage_page,
    monitor_page,
    what_if_page,
)
STYLE = Path(__file__).parent / "studio.css"
EXIT_CONFIGURATION = 78
DRAIN_SECONDS = 2
# A page that has lost its connection for longer than this is built again.
RECONNECT_SECONDS = 10.0

log = get_logger(__name__)


def build(settings: StudioSettings) -> Guard:
    """Return the application. Raises ConfigurationError for a host that is not understood."""
    clock = MonotonicClock()
    lifetime_seconds = settings.session_hours * 3600
    target = settings.target.rstrip("/").removesuffix("/v1")
    pool = AccessPool((lambda: target) if target else gateway_here, clock)
    open_to_others = not is_loopback(settings.host) and not settings.insecure
    visits = Visits(Sessions(clock, lifetime_seconds), pool, always_key=open_to_others)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await pool.close()

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def style(_request: Request) -> Response:
        return FileResponse(STYLE, headers={"cache-control": "no-cache"})

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_route("/health", health)
    app.add_route("/studio.css", style)
    app.router.routes.extend(KeyRoutes(visits, lifetime_seconds).routes())
    for page in PAGES:
        page.register(visits)
    # Its own style sheet; Tailwind's is made in the browser, at each start of a page.
    ui.run_with(
        app,
        title="SAGE studio",
        favicon="🌿",
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    own_names = (settings.host, socket.gethostname().partition(".")[0])
    return Guard(app, AllowedHosts(settings.allowed_hosts, own_names, setting="SAGE_STUDIO_ALLOWED_HOSTS"))


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    try:
        settings = load(StudioSettings, sys.argv[1:] if arguments is None else arguments)
        configure_logging(load(LogSettings), service="studio", instance="studio")
        listener = _listener(settings)
        config = uvicorn.Config(
            build(settings), log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS
        )
        port = listener.getsockname()[1]
        log.info("serving", address=f"http://{settings.host}:{port}/", target=settings.target or gateway_here())
        uvicorn.Server(config).run([listener])
    except SageError as error:
        sys.stderr.write(f"studio: {error.message}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None


def _listener(settings: StudioSettings) -> socket.socket:
    """Bind the port. Raises ConfigurationError when it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        # Whoever connects as soon as the address is told waits for the application instead of being refused.
        listener.listen()
    except OSError:
        listener.close()
        raise port_taken(settings.port, settings.host, "--port (SAGE_STUDIO_PORT)") from None
    return listener
