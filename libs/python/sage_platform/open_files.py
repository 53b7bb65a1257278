"""How many files and connections a process may have open."""

from __future__ import annotations

import sys


def allow_many_open_files() -> None:
    """Raise this process's soft limit to its hard one: the usual 1,024 is one connection short of as many clients.

    What that breaks, ``select`` on high numbers, nobody here uses. A no-op where there are no such limits.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS calls its limit infinite, and refuses to set it so.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 20) if hard >= 0 else 10_240), hard))
