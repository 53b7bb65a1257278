from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

import psutil
import pytest
import tenacity

from sage_common.clock import MonotonicClock
from sage_common.errors import UnavailableError
from sage_platform.service_host import EXIT_CONFIGURATION as SERVICE_EXIT_CONFIGURATION
from sage_platform.supervision import supervised_process
from sage_platform.supervision.process_spec import ProcessSpec, RestartPolicy
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus
from sage_platform.supervision.supervisor import ProcessFailedError, Supervisor

QUICK = RestartPolicy(initial_seconds=0.01, max_seconds=0.02)
# Runs until it is asked to end, and says so.
OBEDIENT = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('up', flush=True); {body}"
FOREVER = OBEDIENT.format(body="signal.pause(); signal.pause()")
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
while True: signal.pause()
"""


class History:
    """Every status, and a way to wait for one."""

    def __init__(self) -> None:
        self.seen: list[ProcessStatus] = []
        self._changed = asyncio.Event()

    def __call__(self, status: ProcessStatus) -> None:
        self.seen.append(status)
        self._changed.set()

    async def until(self, condition: Callable[[ProcessStatus], bool], *, skip: int = 0) -> ProcessStatus:
        async def wait() -> ProcessStatus:
            while True:
                for status in self.seen[skip:]:
                    if condition(status):
                        return status
                self._changed.clear()
                await self._changed.wait()

        return await asyncio.wait_for(wait(), 20)


def program(code: str, log: Path) -> tuple[tuple[str, ...], Callable[[int], object]]:
    """A Python program that counts as ready once it has printed ``up``."""

    def is_up() -> bool:
        return log.exists() and b"up" in log.read_bytes()

    async def ready(pid: int) -> Mapping[str, int]:
        async for attempt in tenacity.AsyncRetrying(wait=tenacity.wait_fixed(0.01)):
            with attempt:
                assert is_up()
        return {"grpc": pid}

    return (sys.executable, "-S", "-c", code), ready


def spec(tmp_path: Path, name: str, code: str, **options: object) -> ProcessSpec:
    argv, ready = program(code, tmp_path / f"{name}.log")
    return ProcessSpec(name, name, argv, **{"ready": ready, "restart": QUICK, **options})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def supervising(tmp_path: Path, specs: Iterable[ProcessSpec]) -> AsyncIterator[tuple[Supervisor, History]]:
    history = History()
    supervisor = Supervisor(
        specs, log_directory=tmp_path, on_change=history, clock=MonotonicClock(), generator=random.Random(7)
    )
    try:
        yield supervisor, history
    finally:
        await supervisor.stop()


async def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with supervising(tmp_path, [spec(tmp_path, "a", FOREVER)]) as (supervisor, history):
        await supervisor.start()
        first = supervisor.statuses[0].identity
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        mark = len(history.seen)
        again = await history.until(lambda s: s.phase is ProcessPhase.READY, skip=mark)
        assert again.identity is not None
        assert again.identity.pid != first.pid
        assert again.restarts == 1
        assert any("killed by SIGKILL" in s.message for s in history.seen)


async def test_stages_start_in_order_and_stop_in_order(tmp_path: Path) -> None:
    specs = [
        spec(tmp_path, "edge", FOREVER, start_stage=1, stop_stage=0),
        spec(tmp_path, "base", FOREVER, start_stage=0, stop_stage=1),
    ]
    async with supervising(tmp_path, specs) as (supervisor, history):
        await supervisor.start()
    phases = [(s.name, s.phase) for s in history.seen]
    assert phases.index(("base", ProcessPhase.READY)) < phases.index(("edge", ProcessPhase.STARTING))
    assert phases.index(("edge", ProcessPhase.STOPPED)) < phases.index(("base", ProcessPhase.STOPPING))


async def test_a_configuration_error_is_not_retried_and_its_words_are_kept(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('a: unknown setting foo\\n'); sys.exit(78)"
    async with supervising(tmp_path, [spec(tmp_path, "a", code)]) as (supervisor, history):
        with pytest.raises(ProcessFailedError) as raised:
            await supervisor.start()
    assert raised.value.output == ("a: unknown setting foo",)
    assert "unknown setting foo" in raised.value.message
    assert sum(s.phase is ProcessPhase.STARTING for s in history.seen) == 1


async def test_a_process_that_never_comes_up_fails_after_its_attempts(tmp_path: Path) -> None:
    code = "import sys; print('boom'); sys.exit(3)"
    async with supervising(tmp_path, [spec(tmp_path, "a", code)]) as (supervisor, history):
        with pytest.raises(ProcessFailedError, match="exit code 3, 3 times in a row") as raised:
            await supervisor.start()
    assert raised.value.output == ("boom",)
    assert sum(s.phase is ProcessPhase.STARTING for s in history.seen) == 3


async def test_a_process_that_is_not_ready_in_time_counts_as_failed(tmp_path: Path) -> None:
    policy = RestartPolicy(initial_seconds=0.01, attempts_before_first_ready=1)
    code = "import signal; signal.pause()"
    slow = spec(tmp_path, "a", code, ready_timeout_seconds=0.3, restart=policy)
    async with supervising(tmp_path, [slow]) as (supervisor, history):
        with pytest.raises(ProcessFailedError, match=r"not ready within 0\.3 s"):
            await supervisor.start()
    started = next(s.identity for s in history.seen if s.identity)
    assert started.process() is None


async def test_a_missing_program_fails_with_its_name(tmp_path: Path) -> None:
    missing = ProcessSpec("a", "a", ("/no/such/program",), ready=_never, restart=QUICK)
    async with supervising(tmp_path, [missing]) as (supervisor, _):
        with pytest.raises(ProcessFailedError) as raised:
            await supervisor.start()
    assert "cannot start /no/such/program" in raised.value.output[-1]


async def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    body = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-S', '-c', {STUBBORN!r}]); "
    body += f"print('child', p.pid, flush=True); exec({STUBBORN!r})"
    stubborn = spec(tmp_path, "a", body, stop_timeout_seconds=0.2)
    async with supervising(tmp_path, [stubborn]) as (supervisor, _):
        await supervisor.start()
        leader = supervisor.statuses[0].identity
        assert leader is not None
        process = leader.process()
        assert process is not None
        family = [process, *process.children(recursive=True)]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert len(family) == 2


async def test_stopping_during_a_start_leaves_nothing(tmp_path: Path) -> None:
    waiting = spec(tmp_path, "a", "import signal; signal.pause()")
    async with supervising(tmp_path, [waiting]) as (supervisor, history):
        start = asyncio.create_task(supervisor.start())
        started = await history.until(lambda s: s.phase is ProcessPhase.STARTING)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
    assert started.identity is not None
    assert started.identity.process() is None


async def test_environment_is_on_top_of_the_supervisors_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_SUPERVISOR", "kept")
    code = "import os; print(os.environ['FROM_SUPERVISOR'], os.environ['OWN'], flush=True); " + FOREVER
    async with supervising(tmp_path, [spec(tmp_path, "a", code, environment={"OWN": "set"})]) as (supervisor, _):
        await supervisor.start()
    assert (tmp_path / "a.log").read_text().splitlines()[0] == "kept set"


def test_a_killed_supervisor_takes_its_processes_with_it(tmp_path: Path) -> None:
    driver = f"""
import asyncio, random, sys
from pathlib import Path
from sage_common.clock import MonotonicClock
from sage_common.errors import UnavailableError
from sage_platform.supervision.process_spec import ProcessSpec
from sage_platform.supervision.supervisor import Supervisor

def tell(status):
    if status.phase.value == "ready":
        print(status.identity.pid, status.identity.created_unix_seconds, flush=True)

async def main():
    specs = [ProcessSpec(n, n, (sys.executable, "-S", "-c", {STUBBORN!r})) for n in ("a", "b")]
    await Supervisor(specs, log_directory=Path({str(tmp_path)!r}), on_change=tell,
                     clock=MonotonicClock(), generator=random.Random(1)).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        children = []
        for _ in range(2):
            pid, created = supervisor.stdout.readline().split()
            process = ProcessIdentity(int(pid), float(created)).process()
            assert process is not None
            children.append(process)
        supervisor.kill()
        supervisor.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_supervisor_and_services_agree_on_the_code_for_configuration_errors() -> None:
    assert supervised_process.EXIT_CONFIGURATION == SERVICE_EXIT_CONFIGURATION


async def _never(pid: int) -> Mapping[str, int]:
    await asyncio.Event().wait()
    return {}


# Leaves when it is asked to, once what it has under way (a line on a pipe, here a file) is done.
LEAVING = """
import os, pathlib, signal, sys, time
def leave(*_):
    while not pathlib.Path({done!r}).exists(): time.sleep(0.005)
    print('left', flush=True); sys.exit(0)
signal.signal(signal.SIGUSR1, leave)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
print('up', flush=True)
while True: signal.pause()
"""


async def always(old: ProcessStatus, new: ProcessStatus) -> None:
    """The old one may leave."""


async def test_a_replaced_process_leaves_only_when_its_work_is_done_and_the_other_is_ready(tmp_path: Path) -> None:
    done = tmp_path / "done"
    old = spec(tmp_path, "a", LEAVING.format(done=str(done)))
    new = dataclasses.replace(old, environment={"GENERATION": "2"})
    asked: list[tuple[ProcessPhase, ProcessPhase]] = []

    async def may_leave(was: ProcessStatus, comes: ProcessStatus) -> None:
        asked.append((was.phase, comes.phase))

    async with supervising(tmp_path, [old]) as (supervisor, history):
        await supervisor.start()
        first = supervisor.statuses[0].identity
        replacing = asyncio.create_task(supervisor.replace("a", new, may_leave=may_leave, leave_seconds=60))
        await history.until(lambda s: s.name == "a (leaving)" and s.phase is ProcessPhase.STOPPING)
        both = {status.name: status.phase for status in supervisor.statuses}
        assert both == {"a": ProcessPhase.READY, "a (leaving)": ProcessPhase.STOPPING}
        done.touch()
        assert await asyncio.wait_for(replacing, 20)
        assert asked == [(ProcessPhase.READY, ProcessPhase.READY)]
        (status,) = supervisor.statuses
        assert (status.name, status.phase) == ("a", ProcessPhase.READY)
        assert status.identity != first
        assert supervisor.specs[0].environment == {"GENERATION": "2"}


async def test_a_process_that_does_not_leave_in_time_is_stopped(tmp_path: Path) -> None:
    old = spec(tmp_path, "a", LEAVING.format(done=str(tmp_path / "never")), stop_timeout_seconds=0.1)
    async with supervising(tmp_path, [old]) as (supervisor, _):
        await supervisor.start()
        first = supervisor.statuses[0].identity
        assert first is not None
        assert not await asyncio.wait_for(supervisor.replace("a", old, may_leave=always, leave_seconds=0.05), 20)
        assert first.process() is None
        assert [status.phase for status in supervisor.statuses] == [ProcessPhase.READY]


async def test_where_the_other_process_does_not_come_up_the_old_one_runs_on(tmp_path: Path) -> None:
    old = spec(tmp_path, "a", FOREVER)
    new = dataclasses.replace(old, argv=(sys.executable, "-S", "-c", "import sys; print('boom'); sys.exit(3)"))
    # Its own output is what it is judged by.
    new = dataclasses.replace(new, ready=never_ready)
    async with supervising(tmp_path, [old]) as (supervisor, _):
        await supervisor.start()
        before = supervisor.statuses
        with pytest.raises(ProcessFailedError, match="exit code 3, 3 times in a row") as raised:
            await supervisor.replace("a", new, may_leave=always, leave_seconds=5)
        assert raised.value.output[-1] == "boom"
        assert supervisor.statuses == before
        assert supervisor.specs == (old,)


async def test_where_the_other_process_may_not_take_over_it_goes_and_the_old_one_runs_on(tmp_path: Path) -> None:
    async def refuse(old: ProcessStatus, new: ProcessStatus) -> None:
        raise UnavailableError("it serves nothing")

    a = spec(tmp_path, "a", FOREVER)
    async with supervising(tmp_path, [a]) as (supervisor, history):
        await supervisor.start()
        before = supervisor.statuses
        with pytest.raises(UnavailableError, match="it serves nothing"):
            await supervisor.replace("a", a, may_leave=refuse, leave_seconds=5)
        assert supervisor.statuses == before
        other = next(s for s in reversed(history.seen) if s.name == "a (next)")
        assert other.phase is ProcessPhase.STOPPED


# Ends with itself what it was given: here a file.
GREEDY = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.path.exists({taken!r}) and os.remove({taken!r}), sys.exit(0)))
print('up', flush=True)
while True: signal.pause()
"""


async def test_what_the_other_process_has_taken_over_is_left_where_it_may_not_stay(tmp_path: Path) -> None:
    taken = tmp_path / "taken"

    async def take_and_refuse(old: ProcessStatus, new: ProcessStatus) -> None:
        async for attempt in tenacity.AsyncRetrying(wait=tenacity.wait_fixed(0.01)):
            with attempt:
                # Both would now end it.
                assert (tmp_path / "a.log").read_bytes().count(b"up") == 2
        taken.touch()
        raise UnavailableError("it serves nothing")

    a = spec(tmp_path, "a", GREEDY.format(taken=str(taken)))
    async with supervising(tmp_path, [a]) as (supervisor, history):
        await supervisor.start()
        before = supervisor.statuses
        with pytest.raises(UnavailableError, match="it serves nothing"):
            await supervisor.replace("a", a, may_leave=take_and_refuse, leave_seconds=5, takes_over=True)
        assert taken.exists()
        assert supervisor.statuses == before
        other = next(s for s in reversed(history.seen) if s.name == "a (next)")
        assert other.phase is ProcessPhase.STOPPED


async def never_ready(pid: int) -> Mapping[str, int]:
    await asyncio.Event().wait()
    return {}


async def test_a_process_inherits_the_descriptors_of_its_spec(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        number = held.fileno()
        code = f"import os, signal; os.fstat({number}); print('up', flush=True); signal.pause()"
        async with supervising(tmp_path, [spec(tmp_path, "a", code, descriptors=(number,))]) as (supervisor, _):
            await supervisor.start()
            assert supervisor.statuses[0].phase is ProcessPhase.READY
