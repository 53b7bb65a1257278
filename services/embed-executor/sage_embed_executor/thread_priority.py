"""The operating system's priority of a thread."""

from __future__ import annotations

import os
import sys
import threading

# With this niceness a thread gets about a tenth of a processor that a normal thread wants as well (sched(7)).
BULK_NICENESS = 10


def lower_priority() -> None:
    """Let every normal thread go before the calling one. Only Linux knows a niceness of threads; elsewhere a no-op."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BULK_NICENESS)
