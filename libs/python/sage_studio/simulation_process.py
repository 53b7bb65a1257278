"""Plays an hour again in a process of its own, which ends with the time, the visitor or the studio.

Run as ``python -m sage_studio.simulation_process`` it reads what to play from stdin, and writes what came of it to
stdout.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import struct
import sys
import threading
from collections.abc import Sequence

from sage_common.errors import DeadlineExceededError, InternalError
from sage_studio.what_if import Change, Played, Recording, play

_LENGTH = struct.Struct("!Q")
# A mesh on this machine goes before what plays its past again.
NICENESS = 5
MOST_AT_ONCE = 2
ABANDONED = 3


class Simulations:
    """Plays hours for all visitors, at most so many at once; further ones wait."""

    def __init__(self, most_at_once: int = MOST_AT_ONCE) -> None:
        self._room = asyncio.Semaphore(most_at_once)

    async def played(self, recorded: Recording, changes: Sequence[Change], seconds: float) -> list[Played]:
        """Return what becomes of the requests under each change; see ``played``, whose time begins with its turn."""
        async with self._room:
            return await played(recorded, changes, seconds)


async def played(recorded: Recording, changes: Sequence[Change], seconds: float) -> list[Played]:
    """Return what becomes of the requests under each change.

    However it ends, cancelled too, nothing goes on computing.

    Args:
        seconds: longest time for all of them.

    Raises:
        DeadlineExceededError: it took longer.
        InternalError: the process failed, or was killed, as it is where memory runs out.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, said = await asyncio.wait_for(_exchange(process, pickle.dumps((recorded, tuple(changes)))), seconds)
    except asyncio.TimeoutError:
        raise DeadlineExceededError(f"the hour was not played within {seconds:.0f} s; choose more engines") from None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    if process.returncode != 0:
        raise InternalError(f"the simulation {_end(process.returncode or 0, said)}; play it again, or a quieter hour")
    found: list[Played] = pickle.loads(answer)
    return found


async def _exchange(process: asyncio.subprocess.Process, order: bytes) -> tuple[bytes, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    # It stays open: that it closes tells the process that nobody waits any more.
    process.stdin.write(_LENGTH.pack(len(order)) + order)
    answer, said = await asyncio.gather(process.stdout.read(), process.stderr.read())
    await process.wait()
    return answer, said.decode("utf-8", "replace")


def _end(returncode: int, said: str) -> str:
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"failed: {(said.strip().splitlines() or ['it said nothing'])[-1]}"


def _leave_when_nobody_waits() -> None:
    # Not through sys.stdin, whose lock the interpreter needs to end.
    while os.read(0, 1):
        pass
    os._exit(ABANDONED)


def main() -> None:
    """Play what stdin says."""
    os.nice(NICENESS)
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    recorded, changes = pickle.loads(sys.stdin.buffer.read(length))
    threading.Thread(target=_leave_when_nobody_waits, daemon=True).start()
    sys.stdout.buffer.write(pickle.dumps([play(recorded, change) for change in changes]))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
