"""Addresses of sources and sinks: ``scheme:rest``."""

from __future__ import annotations

from typing import NamedTuple

from sage_common.setting_table import nearest

MAX_SUBJECT_CHARACTERS = 1024


class Address(NamedTuple):
    """A parsed address; ``rest`` has no leading double slash."""

    scheme: str
    rest: str


def parse_address(uri: str, schemes: tuple[str, ...], bare: tuple[str, ...] = ()) -> Address:
    """Parse ``uri``; two slashes after the scheme may be left out. Schemes in ``bare`` need nothing after them.

    Raises:
        ValueError: no scheme, one that is not in ``schemes``, nothing after it, or a character that no name has.
    """
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in uri):
        raise ValueError(f"{uri[:80]!r} holds a control character or half a surrogate pair")
    scheme, colon, rest = uri.partition(":")
    if not colon:
        raise ValueError(f"{uri[:80]!r} has no scheme; write {' or '.join(f'{known}:…' for known in schemes)}")
    if scheme not in schemes:
        raise ValueError(f"{uri[:80]!r} has the unknown scheme {scheme[:80]!r}{nearest(scheme, schemes)}")
    rest = rest.removeprefix("//")
    if not rest and scheme not in bare:
        raise ValueError(f"{uri!r} names nothing after {scheme!r}:")
    return Address(scheme, rest)


def check_subject(subject: str) -> None:
    """Say whether pipelines may use a subject of NATS, which may have wildcards and fields in braces.

    Raises:
        ValueError: it is none, or it may be one of the mesh's or the server's own.
    """
    tokens = subject.split(".")
    if len(subject) > MAX_SUBJECT_CHARACTERS or any(not token or any(c.isspace() for c in token) for token in tokens):
        raise ValueError(f"{subject[:80]!r} is no subject of NATS; write words joined by dots")
    first = tokens[0]
    if first in ("sage", "_INBOX") or first.startswith("$") or any(character in first for character in "*>{"):
        raise ValueError(
            f"{subject[:80]!r} may name subjects of the mesh or the server; begin with a word of your own, as "
            "'tickets.>'"
        )
