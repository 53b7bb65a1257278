"""What code that is not ours raises, as an error of the records that it was called with.

Functions of users call ``sys.exit()``, and polars' Rust panics: neither is an ``Exception``, and left alone the first
ends the whole process, with the runs of others in it. ``StopIteration`` and ``CancelledError`` mean something to the
event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sage_common.errors import UnprocessableError

T = TypeVar("T")


def contained(function: Callable[[], T]) -> T:
    """Return what ``function`` returns.

    Raises:
        UnprocessableError: it raised what is no ``Exception``, or what the event loop would take for its own.
        Exception: what it raised otherwise.
    """
    try:
        return function()
    except (StopIteration, StopAsyncIteration) as error:
        raise foreign(error) from error
    except Exception:
        raise
    except BaseException as error:
        raise foreign(error) from error


def foreign(error: BaseException) -> UnprocessableError:
    """Return an error as one of the records that led to it."""
    if isinstance(error, asyncio.CancelledError):
        return UnprocessableError("a call was cancelled from within")
    text = " ".join(str(error).split())[:200]
    return UnprocessableError(f"{type(error).__name__}{': ' if text else ''}{text}")
