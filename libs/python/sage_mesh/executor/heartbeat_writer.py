"""Writes an executor's heartbeats, each with what in it has not changed."""

from __future__ import annotations

from collections.abc import Iterable

from sage.inference.v1 import engine_pb2
from sage_control_plane.request.engine_state import EngineState
from sage_mesh.executor.reported_engine import ReportedEngine


class HeartbeatWriter:
    """Counts the heartbeats of one executor, and says since which of them its engines are as they are."""

    def __init__(self, executor_id: str, service: str) -> None:
        self._executor_id = executor_id
        self._service = service
        self._sequence = 0
        self._revision = 0
        self._written: list[tuple[str, int]] = []

    def next(
        self, engines: Iterable[tuple[ReportedEngine, EngineState]], interval_seconds: float, *, leaving: bool = False
    ) -> engine_pb2.Heartbeat:
        """Return the next heartbeat, of these engines in their present state."""
        self._sequence += 1
        messages = [reported.message(state, self._sequence) for reported, state in engines]
        written = [(message.spec.engine_id, message.revision) for message in messages]
        if written != self._written:
            self._written, self._revision = written, self._sequence
        return engine_pb2.Heartbeat(
            executor_id=self._executor_id,
            service=self._service,
            sequence=self._sequence,
            interval_ms=int(interval_seconds * 1000),
            engines=messages,
            leaving=leaving,
            revision=self._revision,
        )
