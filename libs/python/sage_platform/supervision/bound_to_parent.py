"""Run a program that the kernel kills when its parent dies, however the parent dies.

``command`` puts a small launcher before a program: this file, run by Python without site-packages (about 20 ms).
It sets PR_SET_PDEATHSIG (Linux, prctl(2)) and replaces itself with the program, so the pid stays the same. A
launcher is used and not ``preexec_fn`` because Python code between fork and exec may deadlock in a process with
threads. Elsewhere than on Linux the program is not bound and ends by the supervisor's orderly stop alone.

The kernel's "parent" is the thread that started the process: start from a thread that lives as long as the process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
# Shells use 127 for a program that could not be started.
EXIT_NOT_STARTED = 127


def command(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` with the launcher before it; the process that starts it must be this one."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def _launch(parent_pid: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.stderr.write(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}\n")
            raise SystemExit(EXIT_NOT_STARTED)
        if os.getppid() != parent_pid:
            # The parent died before the call above took effect.
            raise SystemExit(EXIT_NOT_STARTED)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        raise SystemExit(EXIT_NOT_STARTED) from None


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2:])
