"""The head of a request, as bytes (RFC 9112)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

PORTS: Final = {"http": 80, "https": 443}
# What may stand in a path as it is; the rest is escaped. ``%`` may, since what is escaped already stays so.
_IN_PATHS: Final = "/:@!$&'()*+,;=-._~%"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server listens.

    Attributes:
        host: as it is resolved: a name in ASCII, or an address without brackets.
    """

    scheme: str
    host: str
    port: int

    @property
    def has_tls(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as the header ``Host`` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def split_url(url: str) -> tuple[Origin, str]:
    """Return the origin of an HTTP URL, and its path as it is asked for.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no HTTP URL")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    return Origin(parts.scheme, host, port), quote(parts.path or "/", safe=_IN_PATHS)


class RequestHeads:
    """Renders the heads of requests with a body to one server.

    Args:
        headers: those of every request.

    Raises:
        ValueError: a header would be more than one line.
    """

    def __init__(self, origin: Origin, headers: Mapping[str, str]) -> None:
        self._origin = origin
        self._common = render_headers({"Host": origin.authority, **headers})
        # By URL: there are a handful.
        self._starts: dict[str, bytes] = {}

    def post(self, url: str, headers: Mapping[str, str], body_bytes: int) -> bytes:
        """Return the head of a POST, with the empty line that ends it.

        Args:
            headers: further ones.

        Raises:
            ValueError: the URL is at another server, or a header would be more than one line.
        """
        start = self._starts.get(url)
        if start is None:
            start = self._starts[url] = self._start(url)
        return b"%b%d\r\n%b\r\n" % (start, body_bytes, render_headers(headers))

    def _start(self, url: str) -> bytes:
        origin, path = split_url(url)
        if origin != self._origin:
            raise ValueError(f"{url!r} is not at {self._origin.authority}")
        return b"POST %b HTTP/1.1\r\n%bContent-Length: " % (path.encode("ascii"), self._common)


def render_headers(headers: Mapping[str, str]) -> bytes:
    """Return header lines. Raises ValueError where one would be more than a line."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    # No value is named: it may be a key.
    if text.count("\n") != len(headers) or text.count("\r") != len(headers) or "\0" in text:
        raise ValueError(f"one of the headers {', '.join(headers)} has a line end in it")
    return text.encode()
