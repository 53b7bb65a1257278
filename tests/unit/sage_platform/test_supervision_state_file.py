from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sage_common.errors import ConflictError
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import (
    STATE_FILE,
    AlreadySupervisedError,
    StateWriter,
    SupervisorPhase,
    SupervisorState,
    read_state,
    remove_state,
    supervisor_lock,
    write_state,
)


def _state(identity: ProcessIdentity) -> SupervisorState:
    process = ProcessStatus("a-2", "a", ProcessPhase.READY, "/logs/a-2.log", identity, {"grpc": 5}, 3, "was killed")
    waiting = ProcessStatus("b", "b", ProcessPhase.WAITING, "/logs/b.log")
    return SupervisorState(
        identity, SupervisorPhase.READY, 12.5, (process, waiting), "m", ("line",), {"nats_url": "nats://x:1"}
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    state = _state(ProcessIdentity.of(os.getpid()))
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert [file.name for file in tmp_path.iterdir()] == [STATE_FILE]


def test_a_removed_state_reads_as_none(tmp_path: Path) -> None:
    write_state(tmp_path, _state(ProcessIdentity.of(os.getpid())))
    remove_state(tmp_path)
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"supervisor": {"pid": 1}}', b'{"phase": "odd"}'])
def test_a_foreign_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(ConflictError, match=STATE_FILE):
        read_state(tmp_path)


def test_a_later_process_with_the_same_pid_is_not_taken_for_the_supervisor() -> None:
    here = ProcessIdentity.of(os.getpid())
    assert _state(here).alive
    assert not _state(ProcessIdentity(here.pid, here.created_unix_seconds - 100)).alive


def test_a_process_that_has_ended_is_gone_even_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity.process() is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identity.process() is None


def test_only_one_supervisor_holds_the_lock_and_a_killed_one_gives_it_up(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sage_platform.supervision.state_file import supervisor_lock\n"
        f"with supervisor_lock(Path({str(tmp_path)!r})): print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadySupervisedError, match=r"supervisor\.lock"), supervisor_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with supervisor_lock(tmp_path):
            pass


def test_a_writer_replaces_the_state_again_and_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = StateWriter(tmp_path)
    for number in range(5):
        state = replace(_state(ProcessIdentity.of(os.getpid())), message=f"m{number}" * 10 * (5 - number))
        writer.write(state)
        assert read_state(tmp_path) == state
    big = replace(state, output=("x" * 100_000,))
    writer.write(big)
    assert read_state(tmp_path) == big
    writer.write(state)
    assert read_state(tmp_path) == state
    remove_state(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_cannot_write_does_not_raise_and_writes_later(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.write_text("a file where the directory should be")
    writer = StateWriter(directory)
    first, second = (replace(_state(ProcessIdentity.of(os.getpid())), message=text) for text in ("first", "second"))
    writer.write(first)
    writer.write(second)
    assert writer.pending
    directory.unlink()
    writer.write_pending()
    assert not writer.pending
    assert read_state(directory) == second
