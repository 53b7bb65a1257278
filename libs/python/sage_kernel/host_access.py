"""Which hosts a pipeline may talk to over HTTP. A pipeline from the network is confined to those that are allowed."""

from __future__ import annotations

import fnmatch
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from sage_common.errors import InvalidRequestError, PermissionDeniedError

MAX_URL_CHARACTERS = 8192


@dataclass(frozen=True)
class HostAccess:
    """A rule for URLs.

    Attributes:
        hosts: names (``api.example.com``, ``*.example.com``), addresses (``10.0.0.7``) and networks (``10.1.0.0/16``);
            None allows every host, an empty tuple none. A name allows public addresses only: a private one must be
            listed itself, so that a name that someone else resolves leads nowhere inside.
        setting: the setting to name in the error.
    """

    hosts: tuple[str, ...] | None
    setting: str = ""

    def check(self, url: str) -> None:
        """Say whether ``url`` may be fetched; nothing is looked up.

        Raises:
            InvalidRequestError: it is no URL of HTTP.
            PermissionDeniedError: its host is not allowed.
        """
        if len(url) > MAX_URL_CHARACTERS or any(c <= " " or c == "\x7f" for c in url):
            raise InvalidRequestError(f"{url[:80]!r} is no URL; correct it")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidRequestError(f"{url[:80]!r} is no URL ({error}); correct it") from None
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidRequestError(f"{url[:80]!r} is no URL of HTTP; write http://host/path or https://…")
        if self.hosts is None:
            return
        address = _address(host)
        if address is not None:
            self.check_address(host, str(address))
        elif not any(fnmatch.fnmatchcase(host, pattern.lower()) for pattern in self.hosts):
            raise self._refused(host)

    def check_address(self, host: str, address: str) -> None:
        """Say whether ``host`` may be reached at ``address``. Raises PermissionDeniedError."""
        if self.hosts is None:
            return
        number = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
            number = number.ipv4_mapped
        if any(number in network for network in self._networks()):
            return
        if not number.is_global or number.is_multicast or _address(host) is not None:
            raise self._refused(host if host == address else f"{host} at {address}")

    def _networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        networks = []
        for entry in self.hosts or ():
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                continue  # a name
        return networks

    def _refused(self, host: str) -> PermissionDeniedError:
        allowed = ", ".join(self.hosts or ()) or "none"
        return PermissionDeniedError(
            f"{host} is not a host that pipelines may use (allowed: {allowed}); add it to "
            f"{self.setting or 'the allowed hosts'}",
            code="host_not_allowed",
        )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


ANY_HOST = HostAccess(hosts=None)
NO_HOST = HostAccess(hosts=())
