"""The life of a mesh under ``sage up``, with real processes: NATS and the classifier, which start in a second."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sage_cli.mesh.services import SERVICES
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase
from sage_platform.supervision.state_file import read_state

COUNTS = [f"{entry.name}={int(entry.name == 'classifier')}" for entry in SERVICES]
SMALL = ["--no-studio", *(argument for count in COUNTS for argument in ("--replicas", count))]


class Home:
    """A user's folders and environment, for one test."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "STATE" / "sage"
        self.environment = {n: v for n, v in os.environ.items() if not n.startswith(("SAGE_", "XDG_"))}
        self.environment |= {f"XDG_{kind}_HOME": str(folder / kind) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
        self.environment |= {
            "SAGE_NATS_URL": "nats://127.0.0.1:0",
            "SAGE_CLASSIFIER_GRPC_PORT": "0",
            "SAGE_CLASSIFIER_METRICS_PORT": "0",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sage_cli.app", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def sage(self, *arguments: str) -> tuple[int, str]:
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=60)
            return process.returncode, output

    def running(self) -> dict[str, ProcessIdentity]:
        state = read_state(self.state)
        assert state is not None
        found = {status.name: status.identity for status in state.processes if status.identity is not None}
        return {**found, "supervisor": state.supervisor}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    assert home.sage("down")[0] == 0


def assert_gone(identities: dict[str, ProcessIdentity]) -> None:
    alive = [process for identity in identities.values() if (process := identity.process()) is not None]
    _, left = psutil.wait_procs(alive, timeout=10)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []


def test_detached_up_shows_status_and_down_leaves_no_process(home: Home) -> None:
    code, output = home.sage("up", "--detach", *SMALL)
    assert code == 0, output
    assert "ready in" in output
    running = home.running()
    assert set(running) == {"nats", "classifier", "supervisor"}
    for name in ("nats", "classifier"):
        assert str(running[name].pid) in output

    code, output = home.sage("status", "--json")
    view = json.loads(output)
    assert [process["serving"] for process in view["processes"]] == [True, True]
    assert all(process["rss_bytes"] > 1_000_000 for process in view["processes"])

    code, output = home.sage("up", "--detach", *SMALL)
    assert code == 0
    assert "already up" in output
    assert home.running() == running

    code, output = home.sage("up", "--detach", *SMALL, "--llm", "http://127.0.0.1:9/v1")
    assert code == 73
    assert "nothing was changed: llm is the default, not http://127.0.0.1:9/v1" in output
    assert home.running() == running

    code, output = home.sage("down")
    assert code == 0
    assert all(f"stopped {name} (pid {running[name].pid})" in output for name in running)
    assert_gone(running)
    assert home.sage("down") == (0, "nothing is running\n")


def test_a_killed_process_is_started_again_and_a_killed_supervisor_takes_all_with_it(home: Home) -> None:
    assert home.sage("up", "-d", *SMALL)[0] == 0
    first = home.running()
    os.kill(first["classifier"].pid, signal.SIGKILL)
    again = wait_for_restart(home, "classifier", first["classifier"].pid)
    assert home.sage("status", "--json")[1].count('"restarts": 1') == 1
    os.kill(first["supervisor"].pid, signal.SIGKILL)
    assert_gone({**first, "classifier": again})
    code, output = home.sage("up", "-d", *SMALL)
    assert code == 0, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_foreground_stops_everything(home: Home, number: signal.Signals) -> None:
    with home.start("up", *SMALL) as process:
        lines = read_until(process, "ready in")
        running = home.running()
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "nothing was left running" in output
    assert any("classifier" in line for line in lines)
    assert_gone(running)
    assert read_state(home.state) is None


def test_a_signal_during_the_start_stops_what_was_started(home: Home) -> None:
    with home.start("up", *SMALL) as process:
        running = wait_for_processes(home, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert_gone(running)


def test_two_ups_at_once_make_one_mesh(home: Home) -> None:
    processes = [home.start("up", "--detach", *SMALL) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    pid = home.running()["supervisor"].pid
    assert all(str(home.running()["classifier"].pid) in output for output in outputs)
    assert sum(f"supervisor {pid}" in output or "ready in" in output for output in outputs) == 2
    supervisors = [p for p in psutil.process_iter(["cmdline"]) if is_supervisor_in(p, home)]
    assert len(supervisors) == 1


def test_a_taken_port_fails_before_anything_is_started(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        home.environment["SAGE_CLASSIFIER_GRPC_PORT"] = str(port)
        for arguments in (("up", "--detach"), ("up",)):
            code, output = home.sage(*arguments, *SMALL)
            assert code != 0
            assert f"port {port}" in output
            assert "SAGE_CLASSIFIER_GRPC_PORT" in output
            assert "Traceback" not in output
    assert read_state(home.state) is None


def test_a_service_with_wrong_settings_fails_the_start_with_its_own_words(home: Home) -> None:
    home.environment["SAGE_CLASSIFIER_GRPC_PORTT"] = "1"
    code, output = home.sage("up", "--detach", *SMALL)
    assert code != 0
    assert "did you mean 'grpc_port'" in output
    assert read_state(home.state) is None
    assert home.sage("status")[0] == 3


def test_a_nats_server_that_does_not_answer_is_named(home: Home) -> None:
    home.environment["SAGE_NATS_CONNECT_TIMEOUT_SECONDS"] = "0.3"
    code, output = home.sage("up", "--detach", "--nats", "nats://127.0.0.1:9", *SMALL)
    assert code != 0
    assert "nats://127.0.0.1:9" in output


def test_another_nats_server_is_used_and_left_alone(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    assert other.sage("up", "--detach", *SMALL)[0] == 0
    try:
        state = read_state(other.state)
        assert state is not None
        url = state.facts["nats_url"]
        code, output = home.sage("up", "--detach", "--nats", url, *SMALL)
        assert code != 0
        assert "does not take the token" in output
        home.environment["SAGE_NATS_TOKEN_FILE"] = str(other.state / "mesh.token")
        code, output = home.sage("up", "--detach", "--nats", url, *SMALL)
        assert code == 0, output
        assert set(home.running()) == {"classifier", "supervisor"}
        home.sage("down")
        assert other.running()["nats"].process() is not None
    finally:
        other.sage("down")


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"it ended without saying {text!r}: {''.join(lines)}")


def wait_for_processes(home: Home, process: subprocess.Popen[str]) -> dict[str, ProcessIdentity]:
    while process.poll() is None:
        state = read_state(home.state)
        if state is not None and any(status.identity for status in state.processes):
            return home.running()
        pause()
    raise AssertionError(f"it ended: {process.stdout.read() if process.stdout else ''}")


def wait_for_restart(home: Home, name: str, pid: int) -> ProcessIdentity:
    while True:
        state = read_state(home.state)
        assert state is not None
        for status in state.processes:
            ready = status.name == name and status.phase is ProcessPhase.READY
            if ready and status.identity is not None and status.identity.pid != pid:
                return status.identity
        pause()


def pause() -> None:
    """Between two looks at the state file; the test's own time limit bounds the loop around it."""
    threading.Event().wait(0.02)


def is_supervisor_in(process: psutil.Process, home: Home) -> bool:
    try:
        ours = str(home.state.parent) in process.environ().get("XDG_STATE_HOME", "")
        return ours and "sage_cli.mesh.daemon" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
