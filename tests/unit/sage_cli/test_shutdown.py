from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_cli.mesh.shutdown import StoppedProcess, stop_mesh
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import (
    STATE_FILE,
    SupervisorPhase,
    SupervisorState,
    read_state,
    write_state,
)

OBEDIENT = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + OBEDIENT + "\nwhile 1: signal.pause()"


@contextlib.contextmanager
def running(code: str) -> Iterator[ProcessIdentity]:
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            yield ProcessIdentity.of(process.pid)
        finally:
            process.kill()


def write(directory: Path, supervisor: ProcessIdentity, child: ProcessIdentity) -> None:
    status = ProcessStatus("gateway", "gateway", ProcessPhase.READY, "/log", child)
    write_state(directory, SupervisorState(supervisor, SupervisorPhase.READY, 0.0, (status,)))


def test_nothing_is_stopped_where_nothing_runs(tmp_path: Path) -> None:
    assert stop_mesh(tmp_path) == []


def test_what_is_left_of_a_dead_supervisor_is_killed_and_named(tmp_path: Path) -> None:
    gone = ProcessIdentity(2**22 - 1, 1.0)
    with running(STUBBORN) as child:
        write(tmp_path, gone, child)
        assert stop_mesh(tmp_path) == [StoppedProcess("gateway", child.pid, killed=True)]
        assert child.process() is None
    assert read_state(tmp_path) is None


def test_a_supervisor_is_asked_first_and_its_children_are_cleared_up(tmp_path: Path) -> None:
    with running(OBEDIENT) as supervisor, running(OBEDIENT) as child:
        write(tmp_path, supervisor, child)
        stopped = {process.name: process for process in stop_mesh(tmp_path)}
        assert stopped["supervisor"].killed is False
        assert stopped["gateway"].pid == child.pid
        assert supervisor.process() is None
        assert child.process() is None


def test_a_supervisor_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    with running(STUBBORN) as supervisor, running(OBEDIENT) as child:
        write(tmp_path, supervisor, child)
        stop_mesh(tmp_path, timeout_seconds=0.2)
        assert supervisor.process() is None
        assert child.process() is None
    assert stop_mesh(tmp_path) == []


def test_another_process_that_has_a_pid_of_ours_now_is_left_alone(tmp_path: Path) -> None:
    with running(OBEDIENT) as other:
        write(tmp_path, ProcessIdentity(other.pid, 1.0), ProcessIdentity(other.pid, 2.0))
        assert stop_mesh(tmp_path) == []
        assert other.process() is not None


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_a_foreign_state_file_is_not_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(Exception, match=STATE_FILE):
        stop_mesh(tmp_path)
    assert (tmp_path / STATE_FILE).read_bytes() == content
