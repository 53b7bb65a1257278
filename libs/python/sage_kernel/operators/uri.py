"""Addresses of sources and sinks: ``scheme:rest``."""

from __future__ import annotations

from typing import NamedTuple

from sage_common.config import nearest


class Address(NamedTuple):
    """A parsed address; ``rest`` has no leading double slash."""

    scheme: str
    rest: str


def parse_address(uri: str, schemes: tuple[str, ...]) -> Address:
    """Parse ``uri``; two slashes after the scheme may be left out.

    Raises:
        ValueError: no scheme, one that is not in ``schemes``, or nothing after it.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        raise ValueError(f"{uri!r} has no scheme; write {' or '.join(f'{known}:…' for known in schemes)}")
    if scheme not in schemes:
        raise ValueError(f"{uri!r} has the unknown scheme {scheme!r}{nearest(scheme, schemes)}")
    rest = rest.removeprefix("//")
    if not rest:
        raise ValueError(f"{uri!r} names nothing after {scheme!r}:")
    return Address(scheme, rest)
