"""Nothing that ran under a guardian survives a sweep, not even what has lost its mark; nothing else is touched."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import uuid4

import psutil

from sage_platform.supervision.guarded_process import GuardedProcess, socket_path
from sage_platform.supervision.guarded_sweep import end_guarded

# A server with a child that has no environment, as one has that shows a title of its own.
SERVER = """
import subprocess, time
subprocess.Popen(["env", "-i", "sleep", "600"])
print("up", flush=True)
time.sleep(600)
"""


async def start(home: Path, log: Path) -> GuardedProcess:
    return await GuardedProcess.start(
        [sys.executable, "-c", SERVER],
        dict(os.environ),
        socket=socket_path(uuid4().hex[:16]),
        home=home,
        log_file=log,
        epoch=1,
        orphan_seconds=60,
    )


def family(server: GuardedProcess, log: Path) -> list[psutil.Process]:
    while not log.exists() or b"up" not in log.read_bytes():
        assert psutil.pid_exists(server.server_pid)
    first = psutil.Process(server.server_pid)
    return [first, *first.children(recursive=True)]


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_there(path: str) -> bool:
    return Path(path).exists()


async def test_a_sweep_ends_the_guardians_of_one_mesh_and_leaves_those_of_another(tmp_path: Path) -> None:
    mine = await start(tmp_path / "mine", tmp_path / "1.log")
    other = await start(tmp_path / "other", tmp_path / "2.log")
    processes, others = family(mine, tmp_path / "1.log"), family(other, tmp_path / "2.log")
    assert [ended.killed for ended in end_guarded(tmp_path / "mine")] == [False]
    assert all(gone(process) for process in processes)
    assert not any(gone(process) for process in others)
    assert (await mine.wait()).status == 143
    await other.stop()
    assert all(gone(process) for process in others)


async def test_what_a_killed_guardian_left_is_ended_by_its_owner(tmp_path: Path) -> None:
    server = await start(tmp_path, tmp_path / "log")
    processes = family(server, tmp_path / "log")
    assert len(processes) == 2
    guardian = psutil.Process(server.server_pid).parent()
    assert guardian is not None
    socket = guardian.cmdline()[4]
    assert is_there(socket)
    guardian.kill()
    assert (await server.wait()).status is None
    assert all(gone(process) for process in processes)
    assert not is_there(socket)
