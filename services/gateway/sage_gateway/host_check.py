"""Which hosts a gateway without API keys answers for: the defence against DNS rebinding.

A page of ``evil.example`` whose name comes to resolve to 127.0.0.1 is, to a browser, of the same origin as the gateway
it then asks. Only the Host header shows the difference. Ollama and Jupyter check it likewise; here the check also holds
where the gateway listens on every address, as it does in a container whose port is published on 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from sage_common.allowed_hosts import AllowedHosts
from sage_common.errors import PermissionDeniedError
from sage_gateway.asgi import App, Receive, Scope, Send
from sage_gateway.dialects.error_shape import refuse_unread

MAX_SHOWN_HOST = 200


class HostCheck:
    """Passes on what is meant for an allowed host, and refuses the rest in OpenAI's error shape.

    Starlette's TrustedHostMiddleware takes no addresses but those listed, and answers in plain text.
    """

    def __init__(self, app: App, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
            if not self._hosts.allow(host):
                await _refuse(host, scope, send)
                return
        await self._app(scope, receive, send)


def checked_hosts(app: App, patterns: Iterable[str], names: Iterable[str]) -> HostCheck:
    """Put the check before an application. Raises ConfigurationError for a pattern that is none; see AllowedHosts."""
    return HostCheck(app, AllowedHosts(patterns, names, setting="SAGE_GATEWAY_ALLOWED_HOSTS"))


async def _refuse(host: str, scope: Scope, send: Send) -> None:
    error = PermissionDeniedError(
        f"host {host[:MAX_SHOWN_HOST]!r} is not one that this gateway answers for, and it asks for no API keys, so a "
        "web page of that name may be behind this; if the name is yours, add it to the setting "
        """SAGE_GATEWAY_ALLOWED_HOSTS, e.g. '["gateway", "sage.example.com"]', let the reverse proxy send an """
        "address or localhost as Host, or set api_keys",
        code="host_not_allowed",
    )
    await refuse_unread(scope, send, error)
