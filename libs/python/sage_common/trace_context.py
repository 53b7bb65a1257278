"""W3C Trace Context: the ``traceparent`` that says which trace a request belongs to, and whether it is recorded."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Version, trace id, id of the parent span, flags; ids of zeros alone are none (§3.2.2).
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ODD = frozenset("13579bdf")
_CURRENT: ContextVar[str] = ContextVar("traceparent", default="")


def usable_traceparent(value: str) -> str:
    """Return a caller's trace context; empty for none, and for another form."""
    return value if value and _TRACEPARENT.fullmatch(value) else ""


def is_sampled(traceparent: str) -> bool:
    """Whether the spans of a usable trace context are recorded: the lowest bit of its flags."""
    return traceparent[-1:] in _ODD


def unrecorded_traceparent() -> str:
    """Return the context of a new trace that nobody records; its id still joins logs."""
    # The lowest bits are set so that neither id can be zero.
    return f"00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-00"


def current_traceparent() -> str:
    """Return the trace context of what is being done here; empty where nothing is traced."""
    return _CURRENT.get()


def trace_from_here(traceparent: str) -> None:
    """Have everything that this task does from here on, and what it starts, belong to ``traceparent``."""
    _CURRENT.set(traceparent)


@contextmanager
def tracing_as(traceparent: str) -> Iterator[None]:
    """Have everything that is done while the context lasts, and what it starts, belong to ``traceparent``."""
    token = _CURRENT.set(traceparent)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a usable trace context; empty where there is none."""
    return traceparent[3:35]


def trace_fields(traceparent: str) -> dict[str, str]:
    """Return the ids that a log line about a traced request carries; none where it is not traced."""
    return {"trace_id": traceparent[3:35], "span_id": traceparent[36:52]} if traceparent else {}
