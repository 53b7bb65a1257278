"""The log of an engine's server, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sage_common.errors import UnprocessableError
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engines.engine_kind import OwnsServer
from sage_llm_coordinator.servers.server_log import ServerLog, log_size
from sage_platform.supervision.process_log import last_lines as read_last

POLL_SECONDS = 0.2
# In one message.
LINES_TOGETHER = 500
ALL_LINES = 1_000_000


async def engine_log(
    coordinator: ExecutionCoordinator, engine_id: str, *, last_lines: int, follow: bool
) -> AsyncIterator[list[str]]:
    """Yield the last lines of an engine's log (0: all), and with ``follow`` further ones until the engine is removed.

    Raises:
        NotFoundError: no such engine here.
        UnprocessableError: SAGE did not start its server.
    """
    coordinator.state(engine_id)
    path = _path(coordinator, engine_id)
    size = log_size(path) if path else 0
    if path:
        for lines in _portions(await asyncio.to_thread(read_last, path, last_lines or ALL_LINES)):
            yield lines
    if not follow:
        return
    log = ServerLog(path, size) if path else None
    while engine_id in coordinator.engines:
        path = _path(coordinator, engine_id)
        if path and log is None:
            log = ServerLog(path)
        for lines in _portions(log.read() if log else []):
            yield lines
        await asyncio.sleep(POLL_SECONDS)


def _path(coordinator: ExecutionCoordinator, engine_id: str) -> Path | None:
    engine = coordinator.engines[engine_id]
    if not isinstance(engine, OwnsServer):
        raise UnprocessableError(
            f"the server of {engine_id!r} was not started by SAGE, which therefore has no log of it",
            code="engine_without_log",
        )
    return engine.log_file


def _portions(lines: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(lines), LINES_TOGETHER):
        yield lines[start : start + LINES_TOGETHER]
