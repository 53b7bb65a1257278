"""What protects a gateway from web pages while it asks nobody for a key."""

from __future__ import annotations

from sage_gateway.asgi import App, Receive, Scope, Send
from sage_gateway.credentials import Credentials


class WhileOpen:
    """Sends requests through ``checked`` while no keys are asked for, which may change at any time: a page that has
    come by another name has no key.
    """

    def __init__(self, app: App, checked: App, credentials: Credentials) -> None:
        self._app = app
        self._checked = checked
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._app if self._credentials.required else self._checked)(scope, receive, send)
