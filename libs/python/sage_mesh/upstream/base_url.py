"""The base URL of a server, as settings give it. It is shown to all who may list engines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_VERSION: Final = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?(?=/|$)")


@dataclass(frozen=True, slots=True)
class ServerUrls:
    """Where a server has what.

    Attributes:
        root: URL of what lies beside the API, such as ``/health`` and ``/metrics``.
        api: URL of the API: ``/chat/completions`` is below it.
        versioned: whether the base URL named the API's version itself.
    """

    root: str
    api: str
    versioned: bool


def server_urls(url: str) -> ServerUrls:
    """Return the URLs that a base URL stands for.

    One whose path names a version (``/v1``, ``/openai/v1``, ``/api/v3``, ``/v1beta/openai``) is the API's own, as
    OpenAI's clients take it; to any other ``/v1`` is added.
    """
    base = url.rstrip("/")
    start = len(base) - len(urlsplit(base).path)
    last = None
    for last in _VERSION.finditer(base, start):  # noqa: B007 - the last one counts
        pass
    if last is None:
        return ServerUrls(base, f"{base}/v1", versioned=False)
    return ServerUrls(base[: last.start()], base, versioned=True)


def base_url(url: str) -> str:
    """Return ``url`` without a slash at its end; an empty one stays empty.

    Raises:
        ValueError: it is no HTTP URL, or holds credentials, a query or a fragment.
    """
    if not url:
        return url
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("the URL holds credentials, which would be shown; put the key in api_key")
    if parts.query or parts.fragment:
        raise ValueError("the URL has a query or a fragment, which would be shown; give the base URL alone")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no HTTP URL; write something like http://127.0.0.1:8001/v1")
    return url.rstrip("/")
