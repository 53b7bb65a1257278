"""Finding a started engine again after its coordinator has died and another has adopted it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sage_common.errors import UnavailableError
from sage_control_plane.request.engine_state import GIVEN_UP, REGISTERED_LABEL

if TYPE_CHECKING:
    from sage_client.management.views import EngineView

# Another coordinator takes a server over within seconds; one that ended with its coordinator is started again.
ADOPTED_SECONDS = 20.0


def without_remedy(reason: str) -> str:
    """Return the reason of an engine that was given up without its last line, for one that cannot be restarted."""
    lines = reason.splitlines()
    return "\n".join(line for line in lines if not line.startswith("`sage engine restart"))


class StartedEngine:
    """Follows one engine: another coordinator that takes it over gives it another id, and the name stays."""

    def __init__(self, engine: EngineView) -> None:
        self._engine_id = engine.engine_id
        self._name = engine.labels.get(REGISTERED_LABEL, "")
        self._seen_at: float | None = None

    def find(self, engines: Iterable[EngineView], now: float) -> EngineView | None:
        """Return the engine; None while it is not listed yet, or for a moment not. A stopped one is gone.

        Raises:
            UnavailableError: it has been given up, or is gone.
        """
        # Its coordinator lists it until it has stopped, or for good where it could not be stopped.
        there = {one.engine_id: one for one in engines if one.phase != "stopped"}
        found = there.get(self._engine_id)
        if found is None and self._name:
            found = next((one for one in there.values() if one.labels.get(REGISTERED_LABEL) == self._name), None)
        if found is not None:
            self._engine_id, self._seen_at = found.engine_id, now
            if found.reason.startswith(GIVEN_UP):
                raise UnavailableError(f"{found.engine_id}: {found.reason}", code="engine_given_up")
        elif self._seen_at is not None and now - self._seen_at > (ADOPTED_SECONDS if self._name else 0.0):
            raise UnavailableError(f"{self._engine_id} is gone; `sage engine list` shows what is there")
        return found
