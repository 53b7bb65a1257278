"""Whether the gateway can do its work."""

from __future__ import annotations

from sage_mesh.directory import EngineDirectory
from sage_platform.ring import Ring


class Readiness:
    """Ready means: NATS is connected and at least one model is known."""

    def __init__(self, ring: Ring, directory: EngineDirectory) -> None:
        self._ring = ring
        self._directory = directory

    def reason(self) -> str:
        """Say why the gateway is not ready; empty when it is."""
        if not self._ring.connection.is_connected:
            return "NATS is not connected; `sage status` shows whether it runs"
        if not len(self._directory.catalog):
            return "no engine has announced a model yet; `sage status` shows what is starting"
        return ""
