"""The detached supervisor: ``python -m sage_cli.mesh.daemon`` in its own session, writing to supervisor.log.

It reads its plan from its standard input: URLs in it may hold credentials, and a command line is everybody's to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

from sage_cli.exit_codes import EXIT_OS_ERROR, exit_code, explain_os_error
from sage_cli.mesh.environment import SAFE_PATH
from sage_cli.mesh.plan import MeshPlan
from sage_common import paths
from sage_common.errors import SageError
from sage_platform.supervision.process_log import log_path, open_log

NAME = "supervisor"


def spawn(plan: MeshPlan) -> subprocess.Popen[bytes]:
    """Start the supervisor detached from this terminal."""
    with open_log(log_path(paths.log_dir(), NAME)) as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **SAFE_PATH},
            start_new_session=True,
        )
    assert process.stdin is not None
    # It may have ended at once; waiting for it says why.
    with contextlib.suppress(BrokenPipeError), process.stdin as plan_input:
        plan_input.write(plan.to_json().encode())
    return process


async def supervise(plan: MeshPlan) -> None:
    """Run the mesh until SIGTERM or SIGINT, logging each change of a process."""
    from sage_cli.mesh.change_log import ChangeLog
    from sage_cli.mesh.runner import MeshRunner

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    await MeshRunner(plan, ChangeLog()).run(stopping)


def main() -> None:
    """Run the plan given on standard input."""
    from sage_common.config import load
    from sage_common.logging import configure_logging
    from sage_common.service_settings import LogSettings

    try:
        configure_logging(load(LogSettings), service=NAME, instance=NAME)
        asyncio.run(supervise(MeshPlan.from_json(sys.stdin.read())))
    except SageError as error:
        sys.stderr.write(f"{NAME}: {error.message}\n")
        raise SystemExit(exit_code(error)) from None
    except OSError as error:
        sys.stderr.write(f"{NAME}: {explain_os_error(error)}\n")
        raise SystemExit(EXIT_OS_ERROR) from None


if __name__ == "__main__":
    main()
