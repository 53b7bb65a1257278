"""The view of an engine that placement has."""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.pool.credits import Credits
from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.request.engine_state import EngineState


class EngineView(Protocol):
    """An engine's state and load. The load is current to the last decision, not to the last heartbeat."""

    @property
    def engine_id(self) -> str:
        """Unique id."""
        ...

    @property
    def state(self) -> EngineState:
        """Its state as its executor last reported it."""
        ...

    @property
    def credits(self) -> Credits:
        """Its outstanding requests and tokens, and their caps."""
        ...

    @property
    def usable(self) -> bool:
        """Whether it takes work, apart from its credits."""
        ...

    @property
    def seconds_per_token(self) -> float:
        """Seconds that a request takes here for each of its tokens."""
        ...

    @property
    def tightest_ms(self) -> int | None:
        """Smallest target for the time between tokens among its requests; None without any."""
        ...

    @property
    def forecast(self) -> Forecast:
        """Its load, and predictions from it."""
        ...

    @property
    def dispatched(self) -> int:
        """Requests dispatched to it so far."""
        ...
