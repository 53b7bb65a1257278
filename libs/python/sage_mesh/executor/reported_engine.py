"""What heartbeats say of one engine, translated again only where it has changed."""

from __future__ import annotations

from sage.inference.v1 import engine_pb2
from sage_control_plane.request.engine_state import EngineState
from sage_mesh.wire.engines import state_to_wire

# Heartbeats that may repeat a revision: readers take how long an engine has been in its phase from a new one only.
MOST_REPEATS = 20


class ReportedEngine:
    """An engine as the last heartbeat described it, with its revision: the sequence since which that is so.

    Who reads heartbeats compares revisions instead of translating a thousand engines at rest four times a second.
    """

    def __init__(self) -> None:
        self._condition: tuple[object, ...] = ()
        self._message = engine_pb2.EngineState()
        self._repeats = 0

    def message(self, state: EngineState, sequence: int) -> engine_pb2.EngineState:
        """Return the state for the heartbeat with this sequence number; what it returned before changes with it."""
        # All but for how long it has been in its phase, which always changes.
        condition = (state.spec, state.phase, state.reason, state.running, state.load)
        self._repeats += 1
        if condition != self._condition or self._repeats > MOST_REPEATS:
            self._condition, self._repeats = condition, 0
            self._message = state_to_wire(state, with_callers=True)
            self._message.revision = sequence
        elif state.phase_seconds is not None:
            self._message.phase_seconds = state.phase_seconds
        return self._message
