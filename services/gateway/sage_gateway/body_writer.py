"""Writing the body of an answer straight to its connection, between the messages of ASGI that begin and end it.

A message takes two coroutines and a step of a task; of a stream's tokens that was a fifth of what the gateway did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sage_gateway.asgi import Scope

_IN_SCOPE: Final = "sage.body_writer"


class BodyFlow(FlowControl):
    """Whether a connection takes more; of its answers one is written at a time.

    Attributes:
        on_writable: called when writing goes on after it was paused.
    """

    on_writable: Callable[[], None] | None = None

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()


class BodyWriter:
    """Writes the body of one answer."""

    __slots__ = ("_cycle", "flow")

    def __init__(self, cycle: RequestResponseCycle, flow: BodyFlow) -> None:
        self._cycle = cycle
        self.flow = flow

    def write(self, data: bytes) -> None:
        """Write a piece that is not empty; nothing where the client has gone."""
        cycle = self._cycle
        if not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def offer(self, scope: Scope) -> None:
        """Put it where the application finds it."""
        scope[_IN_SCOPE] = self


def body_writer(scope: Scope) -> BodyWriter | None:
    """Return what writes the body of the answer that has begun; None where each piece has to be sent as a message."""
    writer = scope.get(_IN_SCOPE)
    # Otherwise it has a length, or ends with the connection.
    return writer if isinstance(writer, BodyWriter) and writer._cycle.chunked_encoding else None
