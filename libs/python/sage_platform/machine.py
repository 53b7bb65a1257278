"""Which machine this is: where engines' servers can be adopted, and where a pid means one process."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def machine_id() -> str:
    """Return the id of this machine since its last boot, or of this container: of what shares processes and sockets."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(BOOT_ID.read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "-".join(parts)
