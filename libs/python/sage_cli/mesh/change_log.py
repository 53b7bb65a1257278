"""Supervision as log lines: one for each process that became ready, ended or failed."""

from __future__ import annotations

from collections.abc import Iterator

from sage_common.logging import get_logger
from sage_platform.supervision.process_status import ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import SupervisorState

log = get_logger(__name__)

TROUBLE = frozenset({ProcessPhase.BACKING_OFF, ProcessPhase.FAILED})


def changed_processes(before: SupervisorState | None, after: SupervisorState) -> Iterator[ProcessStatus]:
    """Yield the processes whose phase differs between two states."""
    known = {status.name: status.phase for status in before.processes} if before else {}
    for status in after.processes:
        if known.get(status.name) is not status.phase:
            yield status


class ChangeLog:
    """Writes what changed from state to state to the log."""

    def __init__(self) -> None:
        self._before: SupervisorState | None = None

    def __call__(self, state: SupervisorState) -> None:
        """Log what is new in ``state``."""
        for status in changed_processes(self._before, state):
            write = log.warning if status.phase in TROUBLE else log.info
            pid = {"pid": status.identity.pid} if status.identity else {}
            write(f"process {status.phase.value}", process=status.name, **pid, **_reason(status.message))
        if self._before is None or self._before.phase is not state.phase:
            log.info(f"mesh {state.phase.value}", **_reason(state.message))
        self._before = state


def _reason(message: str) -> dict[str, str]:
    return {"reason": message} if message else {}
