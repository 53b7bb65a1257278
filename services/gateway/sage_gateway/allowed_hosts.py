"""Which hosts a gateway without API keys answers for: the defence against DNS rebinding.

A page of ``evil.example`` whose name comes to resolve to 127.0.0.1 is, to a browser, of the same origin as the gateway
it then asks. Only the Host header shows the difference. Ollama and Jupyter check it likewise; here the check also holds
where the gateway listens on every address, as it does in a container whose port is published on 127.0.0.1.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

from sage_common.errors import ConfigurationError, PermissionDeniedError
from sage_gateway.asgi import App, Receive, Scope, Send
from sage_gateway.dialects.error_shape import refuse_unread

ANY = "*"
# Browsers and resolvers answer for it, and for all below it, themselves: RFC 6761, §6.3.
LOOPBACK = "localhost"
# Browsers send the same few again and again.
REMEMBERED = 256
MAX_SHOWN_HOST = 200
# uri-host [ ":" port ] of RFC 9110, §7.2.
_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[\w.-]+))(?::\d*)?", re.ASCII)


class AllowedHosts:
    """Decides whether a Host header is one that this gateway answers for.

    An address always is: no name was looked up for it, so none can have been made to resolve to it. So is a loopback
    name, and a header that is missing, which no browser sends. Names out of DNS, the machine's own fully qualified one
    among them, have to be given: who answers DNS decides about them.

    Args:
        patterns: names, ``*.example.com`` for all names below one, or ``*`` for every host.
        names: further names, taken as they are.

    Raises:
        ConfigurationError: a pattern that is none.
    """

    def __init__(self, patterns: Iterable[str], names: Iterable[str] = ()) -> None:
        plain = {_plain(pattern) for pattern in patterns}
        for pattern in sorted(plain - {ANY}):
            name = pattern.removeprefix("*.")
            if ANY in name or not (_is_address(name) or _name_of(name) == name):
                raise ConfigurationError(
                    f"allowed host {pattern!r} is not understood; give a name without port or scheme, "
                    "*.example.com for all below one, or * for every host (SAGE_GATEWAY_ALLOWED_HOSTS)"
                )
        self._any = ANY in plain
        self._names = frozenset(plain) | {_plain(name) for name in names} | {LOOPBACK}
        self._endings = (f".{LOOPBACK}", *(pattern[1:] for pattern in plain if pattern.startswith("*.")))
        self.allow = functools.lru_cache(REMEMBERED)(self._allow)

    def _allow(self, header: str) -> bool:
        if self._any or not header:
            return True
        name = _name_of(header)
        if name is None:
            return False
        return _is_address(name) or name in self._names or name.endswith(self._endings)


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


async def _refuse(host: str, scope: Scope, send: Send) -> None:
    error = PermissionDeniedError(
        f"host {host[:MAX_SHOWN_HOST]!r} is not one that this gateway answers for, and it asks for no API keys, so a "
        "web page of that name may be behind this; if the name is yours, add it to the setting "
        """SAGE_GATEWAY_ALLOWED_HOSTS, e.g. '["gateway", "sage.example.com"]', let the reverse proxy send an """
        "address or localhost as Host, or set api_keys",
        code="host_not_allowed",
    )
    await refuse_unread(scope, send, error)


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _name_of(header: str) -> str | None:
    """The name or address in a Host header, without its port; None where there is none."""
    match = _HOST.fullmatch(header)
    return _plain(match["address"] or match["name"]) if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
