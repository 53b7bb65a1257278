"""What placement may know of an engine."""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.pool.breaker import Breaker
from sage_control_plane.pool.credits import Credits
from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.request.engine_state import EngineState


class EngineView(Protocol):
    """An engine with its entries. Load is current to the last decision, not to the last heartbeat."""

    @property
    def engine_id(self) -> str:
        """Unique id."""
        ...

    @property
    def state(self) -> EngineState:
        """What its executor last reported."""
        ...

    @property
    def credits(self) -> Credits:
        """What is outstanding, and the caps."""
        ...

    @property
    def breaker(self) -> Breaker:
        """Its circuit breaker."""
        ...

    @property
    def draining(self) -> bool:
        """Whether an operator drains it."""
        ...

    @property
    def seconds_per_token(self) -> float:
        """How long a request takes for each of its tokens here."""
        ...

    @property
    def tightest_ms(self) -> int:
        """Smallest target for the time between tokens of what it runs; 0 for none."""
        ...

    @property
    def forecast(self) -> Forecast:
        """Its load, and predictions from it."""
        ...

    @property
    def dispatched(self) -> int:
        """Requests sent to it so far."""
        ...
