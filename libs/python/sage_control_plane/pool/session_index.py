"""Which engine each session was last dispatched to."""

from __future__ import annotations

from collections import OrderedDict

# Sessions that are remembered: callers decide how many there are.
MOST_SESSIONS = 65_536


class SessionIndex:
    """The latest engine by session, as ``Classification.session`` has it. O(1)."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._engine_of: OrderedDict[int, str] = OrderedDict()

    def get(self, session: int) -> str | None:
        """Return the engine; None for a session that is not known, or is 0."""
        return self._engine_of.get(session) if session else None

    def add(self, session: int, engine_id: str) -> None:
        """Note that a request of the session is dispatched to an engine; 0 is none."""
        if not session:
            return
        self._engine_of[session] = engine_id
        self._engine_of.move_to_end(session)
        if len(self._engine_of) > self._most:
            self._engine_of.popitem(last=False)
