"""The operating system's priority of a thread."""

from __future__ import annotations

import os
import sys
import threading

# With this niceness a thread gets about a tenth of a processor that it shares with a normal thread (sched(7)).
BULK_NICENESS = 10


def lower_priority() -> None:
    """Lower the priority of the calling thread, and of those it starts from now on.

    A no-op except on Linux, which has a niceness for each thread.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BULK_NICENESS)
