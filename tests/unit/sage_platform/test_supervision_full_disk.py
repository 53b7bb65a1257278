"""The supervisor's own files on a disk that is really full."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.small_disk import SmallDisk, small_disk

from sage_common.clock import MonotonicClock
from sage_platform.nats_storage import has_room
from sage_platform.supervision.process_log import LogLimits, LogRotation, log_path
from sage_platform.supervision.process_spec import ProcessSpec, RestartPolicy
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import StateWriter, SupervisorPhase, SupervisorState, read_state
from sage_platform.supervision.supervised_process import SupervisedProcess


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=4) as mounted:
        yield mounted


def _state(message: str) -> SupervisorState:
    return SupervisorState(ProcessIdentity.of(os.getpid()), SupervisorPhase.READY, 1.0, message=message)


def test_the_state_is_true_while_the_disk_is_full(disk: SmallDisk) -> None:
    writer = StateWriter(disk.path)
    writer.write(_state("before"))
    disk.fill()
    assert disk.free_bytes == 0
    for number in range(5):
        writer.write(_state(f"full {number}"))
        assert not writer.pending
        assert read_state(disk.path) == _state(f"full {number}")


def test_a_supervisor_that_starts_on_a_full_disk_writes_its_state_once_there_is_room(disk: SmallDisk) -> None:
    disk.fill()
    writer = StateWriter(disk.path)
    writer.write(_state("full"))
    assert writer.pending
    disk.free()
    writer.write_pending()
    assert read_state(disk.path) == _state("full")


async def test_a_process_is_started_again_where_it_can_have_no_log_and_nobody_can_follow(disk: SmallDisk) -> None:
    logs = disk.path / "logs"
    disk.fill()
    statuses: list[ProcessStatus] = []
    twice_ready = asyncio.Event()

    def on_change(status: ProcessStatus) -> None:
        statuses.append(status)
        if [s.phase for s in statuses].count(ProcessPhase.READY) == 2:
            twice_ready.set()
        raise OSError(28, "No space left on device")

    sleep = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    spec = ProcessSpec("sleeper", "sleeper", sleep, restart=RestartPolicy(initial_seconds=0.01))
    process = SupervisedProcess(
        spec, log_directory=logs, on_change=on_change, clock=MonotonicClock(), generator=random.Random(1)
    )
    process.start()
    await asyncio.wait_for(process.wait_settled(), 10)
    identity = process.status.identity
    assert identity is not None
    running = identity.process()
    assert running is not None
    running.kill()
    await asyncio.wait_for(twice_ready.wait(), 10)
    await process.stop()
    assert statuses[-1].phase is ProcessPhase.STOPPED


def test_a_log_that_cannot_be_copied_is_cut_all_the_same(disk: SmallDisk) -> None:
    path = log_path(disk.path, "gateway")
    path.write_bytes(b"x" * 200_000)
    disk.fill()
    LogRotation(disk.path, LogLimits(max_file_bytes=100_000)).rotate()
    assert path.stat().st_size == 0
    assert [file.name for file in disk.path.glob("gateway.log.*")] == []


def test_room_is_what_can_be_written(disk: SmallDisk) -> None:
    assert has_room(disk.path)
    disk.fill()
    assert not has_room(disk.path)
    assert not list(disk.path.glob(".room*"))
    disk.free()
    assert has_room(disk.path)
