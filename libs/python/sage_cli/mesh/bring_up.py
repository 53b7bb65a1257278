"""Bringing the mesh up for a person: in the foreground until Ctrl-C, or detached."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.status import Status

from sage_cli.consoles import notes, output, print_json
from sage_cli.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_RUNNING
from sage_cli.mesh.change_log import changed_processes
from sage_cli.mesh.daemon import NAME, spawn
from sage_cli.mesh.engine_readiness import QUOTING_ENGINE
from sage_cli.mesh.inspection import inspect_mesh
from sage_cli.mesh.plan import PLAN_FACT, MeshPlan
from sage_cli.mesh.running_supervisor import local_state
from sage_cli.mesh.shutdown import stop_mesh
from sage_cli.mesh.tables import mesh_tables
from sage_cli.mesh.view import MeshView
from sage_cli.running import run
from sage_common import paths
from sage_common.errors import ConflictError, SageError, UnavailableError
from sage_common.ports import port_offset
from sage_platform.supervision.process_log import last_lines, log_path
from sage_platform.supervision.process_status import ProcessPhase
from sage_platform.supervision.state_file import (
    AlreadySupervisedError,
    SupervisorPhase,
    SupervisorState,
    read_state,
    remove_state,
)

POLL_SECONDS = 0.05
# Between a supervisor's start and its first state: the imports of its modules on a cold disk.
FIRST_STATE_SECONDS = 30.0
SHOWN_LOG_LINES = 12


def foreground(plan: MeshPlan, *, as_json: bool = False) -> None:
    """Run the mesh here until SIGINT, SIGTERM or SIGHUP.

    Raises:
        SageError: it did not come up; everything is stopped again.
        ConflictError: a mesh runs here with other options; nothing was changed.
    """
    if (state := local_state()) is not None:
        _already_up(state, plan, as_json)
        return
    try:
        run(_run_here(plan, as_json))
    except AlreadySupervisedError:
        # Another supervisor took the lock after the check above.
        state = _wait_until_ready(None, plan.timeout_seconds)
        _already_up(state, plan, as_json)
    except SageError:
        _show_failure()
        raise


def detached(plan: MeshPlan, *, as_json: bool = False) -> None:
    """Start a supervisor of its own session and wait until the mesh is ready.

    Raises:
        SageError: it did not come up; everything is stopped again.
        ConflictError: a mesh runs here with other options; nothing was changed.
    """
    if (state := local_state()) is not None:
        starting = state.phase is SupervisorPhase.STARTING
        _already_up(_wait_until_ready(None, plan.timeout_seconds) if starting else state, plan, as_json)
        return
    began = time.monotonic()
    supervisor = spawn(plan)
    try:
        _wait_until_ready(supervisor, plan.timeout_seconds)
    except KeyboardInterrupt:
        notes().print("stopping what was started")
        stop_mesh(paths.state_dir())
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except SageError:
        _show_failure()
        raise
    _show(f"ready in {time.monotonic() - began:.1f} s", as_json)
    sage = f"sage --port-offset {port_offset()}" if port_offset() else "sage"
    following = ("status", "ask QUESTION --docs FOLDER", "chat", "logs", "down")
    notes().print(f"next: {' · '.join(f'{sage} {command}' for command in following)}", markup=False, style="dim")


async def _run_here(plan: MeshPlan, as_json: bool) -> None:
    from sage_cli.mesh.runner import MeshRunner

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    began = time.monotonic()
    tables: set[asyncio.Task[None]] = set()
    before: SupervisorState | None = None
    with _progress(notes()) as progress:

        def report(state: SupervisorState) -> None:
            nonlocal before
            progress.update(state.message or state.phase.value)
            became_ready = state.phase is SupervisorPhase.READY and before and before.phase is SupervisorPhase.STARTING
            if became_ready:
                progress.stop()
                tables.add(loop.create_task(_show_ready(time.monotonic() - began, as_json)))
            elif state.phase is SupervisorPhase.READY or _in_trouble(before, state):
                _print_changes(progress.console, before, state)
            if state.phase is SupervisorPhase.STOPPING and before and before.phase is not SupervisorPhase.STOPPING:
                progress.start()
            before = state

        await MeshRunner(plan, report).run(stopping)
        await asyncio.gather(*tables, return_exceptions=True)
    notes().print("stopped; nothing was left running")


async def _show_ready(seconds: float, as_json: bool) -> None:
    view = await inspect_mesh()
    _print_view(view, as_json)
    _print_default_model(view)
    notes().print(f"ready in {seconds:.1f} s; Ctrl-C stops everything")


def _wait_until_ready(supervisor: subprocess.Popen[bytes] | None, timeout_seconds: float) -> SupervisorState:
    """Return the state once it says ready: that of ``supervisor``, or with None of the one that runs."""
    began = time.monotonic()
    ours = supervisor.pid if supervisor else None
    with _progress(notes()) as progress:
        while True:
            state = read_state(paths.state_dir())
            if state is not None and (ours is None or state.supervisor.pid == ours):
                progress.update(state.message or state.phase.value)
                if state.phase is SupervisorPhase.READY and state.alive:
                    return state
                if state.phase is SupervisorPhase.FAILED and not state.alive:
                    raise UnavailableError(state.message, code="start_failed")
            ended = supervisor.poll() if supervisor else None
            if ended is not None:
                ours, supervisor = _successor(ended), None
                began = time.monotonic()
            waited = time.monotonic() - began
            limit = timeout_seconds + FIRST_STATE_SECONDS if state is not None else FIRST_STATE_SECONDS
            if waited > limit:
                raise UnavailableError(
                    f"the supervisor has said nothing new for {waited:.0f} s; its log is "
                    f"{log_path(paths.log_dir(), NAME)}; `sage down` stops it"
                )
            time.sleep(POLL_SECONDS)


def _successor(exit_code: int) -> int | None:
    """Return the pid to wait for when our supervisor has ended: None for the one that holds the lock.

    Raises:
        UnavailableError: it ended for another reason than finding the lock held.
    """
    state = read_state(paths.state_dir())
    if state is not None and state.phase is SupervisorPhase.FAILED:
        raise UnavailableError(state.message, code="start_failed")
    if state is not None and state.alive:
        return None
    lines = last_lines(log_path(paths.log_dir(), NAME), SHOWN_LOG_LINES)
    raise UnavailableError(
        f"the supervisor ended with exit code {exit_code} before anything was ready; it wrote:\n" + "\n".join(lines)
    )


def _already_up(state: SupervisorState, plan: MeshPlan, as_json: bool) -> None:
    if state.phase is SupervisorPhase.STOPPING:
        raise UnavailableError("the mesh is being stopped; run `sage up` again in a moment")
    running = state.facts.get(PLAN_FACT)
    differences = plan.differences(MeshPlan.from_json(running)) if running else []
    if differences:
        raise ConflictError(
            f"already up (supervisor {state.supervisor.pid}) with other options, and nothing was changed: "
            f"{'; '.join(differences)}. `sage down` first, then `sage up` again",
            code="already_up",
        )
    _show(f"already up (supervisor {state.supervisor.pid}); `sage down` stops it", as_json)


def _show(headline: str, as_json: bool) -> None:
    view = run(inspect_mesh())
    _print_view(view, as_json)
    _print_default_model(view)
    notes().print(headline)
    if not view.processes:
        raise typer.Exit(EXIT_NOT_RUNNING)


def _print_view(view: MeshView, as_json: bool) -> None:
    if as_json:
        print_json(view.to_json())
    else:
        console = output()
        console.print(mesh_tables(view, console.width))


def _print_default_model(view: MeshView) -> None:
    """Say what chats get where no model generates."""
    chats = [engine.implementation for engine in view.engines if "chat" in engine.kinds]
    if set(chats) == {QUOTING_ENGINE}:
        notes().print(
            "no model here generates: chats are answered by sage-extractive, which quotes. `./install.sh` adds "
            "llama.cpp and a small model where they have wheels; `sage up --llm URL` takes a model of your own",
            style="yellow",
        )


def _show_failure() -> None:
    """Show the last output of what failed, and remove the state of the failed start."""
    state = read_state(paths.state_dir())
    if state is None or state.phase is not SupervisorPhase.FAILED:
        return
    console = notes()
    for line in state.output:
        console.print(line, markup=False, style="dim", soft_wrap=True)
    if state.supervisor.pid == os.getpid() or not state.alive:
        remove_state(paths.state_dir())


def _in_trouble(before: SupervisorState | None, state: SupervisorState) -> bool:
    return state.phase is SupervisorPhase.STARTING and any(
        status.phase is ProcessPhase.BACKING_OFF for status in changed_processes(before, state)
    )


def _print_changes(console: Console, before: SupervisorState | None, state: SupervisorState) -> None:
    for status in changed_processes(before, state):
        tail = f": {status.message}" if status.message else ""
        console.print(f"{status.name} {status.phase.value}{tail}", markup=False)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Status]:
    """A spinner on a terminal; nothing where the output is a file."""
    status = console.status("starting")
    if console.is_terminal:
        status.start()
    try:
        yield status
    finally:
        status.stop()
