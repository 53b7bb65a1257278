"""Whether the gateway can do its work."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sage_common.clock import Clock
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_mesh.directory import EngineDirectory
from sage_platform.background import ServiceHealth
from sage_platform.ring import Ring


class Readiness:
    """Ready means that requests are answered: NATS is connected, and the models that load have had time to.

    A gateway waits for every model that it knows to have a ready engine, ``wait_seconds`` at most from the first engine
    that is: it must not take requests that would wait for a model of another mesh's start, nor stay away because one
    large model loads for minutes. Once ready, it stays so as long as any engine is: what loads later takes nothing from
    what there is.

    Args:
        unread: what requests are let in by and has not been read yet; empty for nothing.
    """

    def __init__(
        self,
        ring: Ring,
        directory: EngineDirectory,
        clock: Clock,
        wait_seconds: float,
        health: ServiceHealth | None = None,
        unread: Callable[[], str] = lambda: "",
    ) -> None:
        self._health = health or ServiceHealth()
        self._ring = ring
        self._directory = directory
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._unread = unread
        self._answers_since: float | None = None
        self._complete = False

    @property
    def loading(self) -> list[str]:
        """What is starting, engine by engine with its own reason, of models that no other engine serves yet."""
        states = list(self._directory.engines.values())
        ready = _models(state for state in states if state.phase is EnginePhase.READY)
        return [
            f"{state.spec.engine_id}: {_first_line(state.reason) or 'loading'}"
            for state in sorted(states, key=lambda state: state.spec.engine_id)
            if state.phase is EnginePhase.STARTING and not _models((state,)) <= ready
        ]

    def reason(self) -> str:
        """Return why the gateway is not ready; empty when it is."""
        if not self._ring.connection.is_connected:
            return "NATS is not connected; `sage status` shows whether it runs"
        if self._health.summary is not None:
            return self._health.summary
        if unread := self._unread():
            return f"{unread} could not be read from NATS yet; look at the NATS server"
        if not len(self._directory.catalog):
            return "no engine has announced a model yet; `sage status` shows what is starting"
        loading = self.loading
        if not any(state.phase is EnginePhase.READY for state in self._directory.engines.values()):
            return _sentence("no engine is ready", loading)
        now = self._clock.now()
        if self._answers_since is None:
            self._answers_since = now
        self._complete = self._complete or not loading or now - self._answers_since >= self._wait_seconds
        return "" if self._complete else _sentence("models are loading", loading)


def _models(states: Iterable[EngineState]) -> set[str]:
    return {card.name for state in states for card in state.spec.models}


def _sentence(what: str, loading: list[str]) -> str:
    return f"{what}: {'; '.join(loading)}" if loading else f"{what}; `sage status` shows the engines"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
