"""What must not be shown: secrets by the name of what holds them, and those inside URLs and command lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDDEN = "(set, not shown)"
# Parts of a name that make what it holds a secret; "max_tokens" and "token_file" are none.
_SECRET_PARTS = frozenset({"token", "secret", "password", "passwd", "credential", "credentials", "key", "keys", "auth"})
_PLAIN_ENDINGS = frozenset({"file", "path"})
_SPLIT = re.compile(r"[^a-z0-9]+")
# userinfo of RFC 3986, section 3.2.1, up to the last @ of the authority, for one URL or several joined by commas.
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/?#,\s]*@", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a setting, variable or option of this name holds a secret: HF_TOKEN, api_keys, --api-key."""
    parts = [part for part in _SPLIT.split(name.lower()) if part]
    return bool(parts) and parts[-1] not in _PLAIN_ENDINGS and not _SECRET_PARTS.isdisjoint(parts)


def without_credentials(text: str) -> str:
    """Return ``text`` with the credentials of every URL in it replaced."""
    return _USERINFO.sub(r"\g<scheme>***@", text)


def holds_credentials(url: str) -> bool:
    """Whether a URL has a user, a password or a token in it."""
    return _USERINFO.search(url) is not None


def secret_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the options among ``arguments`` that carry a secret, by their names."""
    options = (argument.partition("=")[0] for argument in arguments if argument.startswith("-"))
    return [option for option in options if is_secret_name(option)]
