"""What goes wrong between this process and a server, below the meaning of any answer.

::

    ConnectionError
    └── HttpError
        ├── HttpClosedError
        └── StaleConnectionError

That no connection could be made is an ``OSError`` of the system, that one was silent an ``asyncio.TimeoutError``.
"""

from __future__ import annotations

from sage_common.errors import why_unconnected


class HttpError(ConnectionError):
    """A connection broke or was closed, or an answer is no HTTP. The message is for people."""


class HttpClosedError(HttpError):
    """The connection was closed here."""

    def __init__(self) -> None:
        super().__init__("the connection was closed here")


class StaleConnectionError(HttpError):
    """A connection that was kept from an earlier request was closed as the next one began, without a byte in answer."""


def describe_failure(error: OSError) -> str:
    """Return what a server did in place of an answer, as words that follow its name."""
    if isinstance(error, HttpError):
        return f"broke off: {error}"
    return f"could not be reached: {why_unconnected(error)}"
