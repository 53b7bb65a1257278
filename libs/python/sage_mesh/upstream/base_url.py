"""The base URL of a server, as settings give it. It is shown to all who may list engines."""

from __future__ import annotations

from urllib.parse import urlsplit


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
