"""A circuit breaker per engine: passive ejection after failures in a row, and one probe before it is readmitted.

Beside that an engine that asks for it cools down: that says nothing about its health, and needs no probe.

The states and the growing ejection time follow Envoy's outlier detection.
"""

from __future__ import annotations

from enum import Enum

from sage_common.errors import ErrorKind, SageError
from sage_control_plane.pool.breaker_settings import BreakerSettings


class BreakerState(Enum):
    """State of a breaker. The values are shown to people."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(Enum):
    """What the end of an attempt says about its engine."""

    SUCCEEDED = "succeeded"
    NEUTRAL = "neutral"
    FAILED = "failed"


# Errors that do not count against the engine: the request is at fault, or the engine is busy or absent.
_NOT_THE_ENGINE = frozenset(
    {
        ErrorKind.INVALID_REQUEST,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.PERMISSION_DENIED,
        ErrorKind.NOT_FOUND,
        ErrorKind.CONFLICT,
        ErrorKind.TOO_LARGE,
        ErrorKind.UNSUPPORTED_MEDIA_TYPE,
        ErrorKind.UNPROCESSABLE,
        ErrorKind.CONTENDED,
        ErrorKind.CANCELLED,
        ErrorKind.UNIMPLEMENTED,
        ErrorKind.UNAVAILABLE,
    }
)


def verdict_of(error: SageError) -> Verdict:
    """Return FAILED for what counts against the engine: 5xx except 503, transport errors; NEUTRAL otherwise."""
    if error.upstream_status:
        engines_fault = error.upstream_status >= 500 and error.upstream_status != 503
    else:
        engines_fault = error.kind not in _NOT_THE_ENGINE
    return Verdict.FAILED if engines_fault else Verdict.NEUTRAL


class Breaker:
    """One engine's breaker. The pool decides whether it may open, and half-opens it when its ejection ends.

    Attributes:
        cooling_until: when its engine takes work again that has asked for a pause, in seconds of the scheduler's clock;
            None for an engine that has not.
    """

    __slots__ = ("_ejections", "_failures", "_probing", "_settings", "cooling_until", "state")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._ejections = 0
        self._probing = False
        self.state = BreakerState.CLOSED
        self.cooling_until: float | None = None

    @property
    def admits(self) -> bool:
        """Whether the engine may get a request now: when closed, one probe when half open, none while it cools down."""
        if self.cooling_until is not None:
            return False
        if self.state is BreakerState.CLOSED:
            return True
        return self.state is BreakerState.HALF_OPEN and not self._probing

    @property
    def tripped(self) -> bool:
        """Whether enough requests have failed for it to open."""
        if self.state is BreakerState.HALF_OPEN:
            return self._failures > 0
        return self.state is BreakerState.CLOSED and self._failures >= self._settings.consecutive_failures

    def dispatched(self) -> None:
        """Note a dispatch; in half-open state it is the probe."""
        if self.state is BreakerState.HALF_OPEN:
            self._probing = True

    def succeeded(self) -> None:
        """Note a success. One that was dispatched before an ejection does not end it."""
        if self.state is BreakerState.OPEN:
            return
        self._failures = 0
        self._probing = False
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.CLOSED
        elif self._ejections:
            # Each success takes one ejection off the count, so a recovered engine gets short ejections again.
            self._ejections -= 1

    def failed(self) -> None:
        """Note a failure that counts against the engine."""
        self._probing = False
        if self.state is not BreakerState.OPEN:
            self._failures += 1

    def neutral(self) -> None:
        """Note an end that says nothing about the engine; another probe may be sent."""
        self._probing = False

    @property
    def shown(self) -> str:
        """Its state for people: ``cooling`` while its engine has asked for a pause."""
        return self.state.value if self.cooling_until is None else "cooling"

    def cool(self, seconds: float, now: float) -> float:
        """Keep new work from the engine for ``seconds``, at most as the settings say; return until when."""
        until = now + min(seconds, self._settings.max_cooling_seconds)
        self.cooling_until = until if self.cooling_until is None else max(until, self.cooling_until)
        return self.cooling_until

    def warm(self) -> None:
        """End the cooling."""
        self.cooling_until = None

    def open(self) -> float:
        """Eject the engine; return for how many seconds."""
        seconds = self._settings.base_ejection_seconds * 2.0**self._ejections
        if seconds < self._settings.max_ejection_seconds:
            self._ejections += 1
        self.state = BreakerState.OPEN
        self._failures = 0
        return min(seconds, self._settings.max_ejection_seconds)

    def half_open(self) -> None:
        """End the ejection: admit one probe."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN
            self._failures = 0
            self._probing = False
