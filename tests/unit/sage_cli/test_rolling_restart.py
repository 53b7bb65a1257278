"""Whom a rolling restart takes for the process that it replaces."""

from __future__ import annotations

from typing import Any

from sage_cli.mesh.rolling_restart import RollingRestart
from sage_platform.registry import Instance
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus


class Registered:
    async def instances(self) -> list[Instance]:
        return [Instance("gateway", "g-1", "other", 7, 1), Instance("llm-coordinator", "c-1", "here", 7, 2)]


async def test_a_process_of_another_service_with_the_same_pid_on_another_machine_is_not_the_one() -> None:
    restart: Any = RollingRestart(None, Registered(), 1.0, "test", print)  # type: ignore[arg-type]
    status = ProcessStatus(
        "llm-coordinator", "llm-coordinator", ProcessPhase.READY, "", identity=ProcessIdentity(7, 0.0)
    )
    assert await restart._instance_id(status) == "c-1"
