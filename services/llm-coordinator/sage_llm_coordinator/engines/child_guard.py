"""A small program between this service and a server that it starts, so that nothing outlives the service.

``python child_guard.py COMMAND…`` runs the command in a session of its own and ends its whole process group when the
command ends, when the guard is told to (SIGTERM), or when the guard's standard input closes, which the kernel does
for a parent however that parent died. It is a program, not a ``preexec_fn``: code between fork and exec in a process
with threads can deadlock. Only the standard library, and nothing of SAGE, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 5.0


def main() -> int:
    """Run the command in ``sys.argv`` and return its exit status (128 + n when signal n ended it)."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        # Grandchildren whose parent has died become children of the guard, which can then wait for them.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def die_with_guard() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    # The guard is one thread, so this preexec_fn is safe.
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_guard)
    while child.poll() is None:
        readable, _, _ = select.select([sys.stdin, woken], [], [])
        told = bool(set(os.read(woken, 64)) & {signal.SIGTERM, signal.SIGINT}) if woken in readable else False
        if told or (sys.stdin in readable and not os.read(sys.stdin.fileno(), 64)):
            break
    _end_group(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, then make it."""
    _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        _reap(child)
        if child.returncode is not None and not _signal_group(child.pid, 0):
            return
        time.sleep(0.02)
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()


def _reap(child: subprocess.Popen[bytes]) -> None:
    child.poll()
    if child.returncode is None:
        return
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
