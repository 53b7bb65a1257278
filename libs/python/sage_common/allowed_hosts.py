"""Which hosts a server without a secret answers for: the defence against DNS rebinding.

A page of ``evil.example`` whose name comes to resolve to 127.0.0.1 is, to a browser, of the same origin as the server
it then asks. Only the Host header shows the difference.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

from sage_common.errors import ConfigurationError

ANY = "*"
# Browsers and resolvers answer for it, and for all below it, themselves: RFC 6761, §6.3.
LOOPBACK = "localhost"
# Browsers send the same few again and again.
REMEMBERED = 256
# uri-host [ ":" port ] of RFC 9110, §7.2.
_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[\w.-]+))(?::\d*)?", re.ASCII)


class AllowedHosts:
    """Decides whether a Host header is one that this server answers for.

    An address always is: no name was looked up for it, so none can have been made to resolve to it. So is a loopback
    name, and a header that is missing, which no browser sends. Names out of DNS, the machine's own fully qualified one
    among them, have to be given: who answers DNS decides about them.

    Args:
        patterns: names, ``*.example.com`` for all names below one, or ``*`` for every host.
        names: further names, taken as they are.
        setting: what holds the patterns, for people.

    Raises:
        ConfigurationError: a pattern that is none.
    """

    def __init__(self, patterns: Iterable[str], names: Iterable[str] = (), *, setting: str = "allowed_hosts") -> None:
        plain = {_plain(pattern) for pattern in patterns}
        for pattern in sorted(plain - {ANY}):
            name = pattern.removeprefix("*.")
            if ANY in name or not (_is_address(name) or _name_of(name) == name):
                raise ConfigurationError(
                    f"allowed host {pattern!r} is not understood; give a name without port or scheme, "
                    f"*.example.com for all below one, or * for every host ({setting})"
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
