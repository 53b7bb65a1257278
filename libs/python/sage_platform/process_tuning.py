"""How a process that serves requests sets itself up: garbage collection and open files."""

from __future__ import annotations

import gc
import sys


def settle_garbage_collector() -> None:
    """Keep modules, wiring and models out of collections from now on, and collect less often.

    Requests make tens of short-lived containers each; with the default thresholds the collector walks everything that
    was imported hundreds of times a second. Measured on the gateway at 64 connections, with a threshold of 5,000:
    4,400 → 6,100 requests/s, p99 65 → 16 ms. Call it again when something large has been loaded: in the embed-executor
    a sixth of the event loop's time went into walking the modules of a backend that came after the first call.
    """
    gc.unfreeze()  # what was in use the last time may be garbage by now
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def allow_many_open_files() -> None:
    """Raise this process's soft limit to its hard one: the usual 1,024 is one connection short of as many clients.

    Only ``select`` on high numbers would break by it, which SAGE does not use. A no-op where there are no such limits.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS calls its limit infinite, and refuses to set it so.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 20) if hard >= 0 else 10_240), hard))
