"""What an orchestrator asks of a process over plain HTTP: whether it lives, and whether it takes work.

gRPC health says the same, but a secured mesh shows it only to who has a certificate, as no kubelet has.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LIVE_PATH = "/livez"
READY_PATH = "/readyz"
# An event loop that does not come round in this time is stuck.
TURN_SECONDS = 5.0


class ProbePages:
    """Answers both in the thread of the metrics server.

    Args:
        loop: the process's event loop; it lives while that comes round.
        not_ready: says why it takes no work; None where it does.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, not_ready: Callable[[], str | None], turn_seconds: float = TURN_SECONDS
    ) -> None:
        self._loop = loop
        self._not_ready = not_ready
        self._turn_seconds = turn_seconds

    def before(self, other: WSGIApplication) -> WSGIApplication:
        """Return an application that answers the two paths, and leaves the others to ``other``."""

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO")
            if path == LIVE_PATH:
                return _answer(start_response, self._stuck())
            if path == READY_PATH:
                return _answer(start_response, self._not_ready())
            return other(environ, start_response)

        return application

    def _stuck(self) -> str | None:
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return "the event loop has ended"
        if turned.wait(self._turn_seconds):
            return None
        return f"the event loop has not come round for {self._turn_seconds:g} s"


def _answer(start_response: StartResponse, fault: str | None) -> Iterable[bytes]:
    start_response("200 OK" if fault is None else "503 Service Unavailable", [("Content-Type", "text/plain")])
    return [f"{fault or 'ok'}\n".encode()]
