"""Children as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from fixtures.eventually import eventually

from sage_common.errors import ConfigurationError, InternalError, UnavailableError
from sage_embed_executor.child_process import NO_TELEMETRY, ChildRunner

CHILD = """
import os, sys, time
from sage_common.errors import ConfigurationError
from sage_embed_executor.child_process import run_child

def work(request):
    print("noise on standard output")
    if request["do"] == "fail":
        raise ConfigurationError("no such thing", code="no_thing")
    if request["do"] == "crash":
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 11)
    if request["do"] == "wait":
        open(request["pid_file"], "w").write(str(os.getpid()))
        time.sleep(600)
    return {"twice": 2 * request["value"]}

if __name__ == "__main__":
    run_child(work)
"""


@pytest.fixture(autouse=True)
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_a_child_answers_whatever_else_it_prints() -> None:
    children = ChildRunner()
    assert [children.run("some_child", {"do": "", "value": n}, 30)["twice"] for n in (1, 21)] == [2, 42]


def test_what_a_child_refuses_is_refused_here_with_its_code() -> None:
    with pytest.raises(ConfigurationError, match="no such thing") as caught:
        ChildRunner().run("some_child", {"do": "fail"}, 30)
    assert caught.value.code == "no_thing"


def test_a_crash_is_told_with_what_the_child_wrote() -> None:
    with pytest.raises(InternalError, match=r"some_child ended with -11: [^$]*about to crash"):
        ChildRunner().run("some_child", {"do": "crash"}, 30)


def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="did not finish within 2 s"):
        ChildRunner().run("some_child", {"do": "wait", "pid_file": str(tmp_path / "pid")}, 2)


async def test_a_runner_that_is_ended_kills_its_child_and_starts_no_other(tmp_path: Path) -> None:
    children, pid_file = ChildRunner(), tmp_path / "pid"
    errors: list[Exception] = []

    def run() -> None:
        try:
            children.run("some_child", {"do": "wait", "pid_file": str(pid_file)}, 60)
        except UnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await eventually(lambda: pid_file.exists() and pid_file.read_text(), seconds=30)
    children.stop()
    thread.join(10)
    assert errors
    assert not psutil.pid_exists(int(pid_file.read_text()))
    with pytest.raises(UnavailableError):
        children.run("some_child", {"do": "", "value": 1}, 30)


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "from sage_embed_executor.child_process import ChildRunner\n"
        f"ChildRunner().run('some_child', {{'do': 'wait', 'pid_file': {str(pid_file)!r}}}, 600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])  # noqa: ASYNC220
    try:
        await eventually(lambda: pid_file.exists() and pid_file.read_text(), seconds=30)
        child = psutil.Process(int(pid_file.read_text()))
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=10)
    finally:
        parent.kill()
        parent.wait(10)


def test_a_child_reports_its_use_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = pytest.importorskip("openvino_telemetry.utils.opt_in_checker")
    monkeypatch.delenv("CI", raising=False)
    assert not telemetry.OptInChecker._run_in_ci()
    for name, value in NO_TELEMETRY.items():
        monkeypatch.setenv(name, value)
    assert telemetry.OptInChecker._run_in_ci()
