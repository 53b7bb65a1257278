"""Which machine this is: servers can be adopted only where they run."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def host_id() -> str:
    """Return the id of this machine since its last boot, or of this container: of what shares processes and sockets."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(BOOT_ID.read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "-".join(parts)
