"""Processor time and resident memory of a mesh's services while something is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from sage_benchmark.isolated_mesh import IsolatedMesh

SAMPLE_SECONDS = 0.25
MB = 1e6


@dataclass
class WatchedProcesses:
    """Reads the processes of ``services``; a service of several processes counts with all of them.

    Attributes:
        resident_mb: what each service had, with seconds of the monotonic clock, in MB of 10^6 bytes.
    """

    mesh: IsolatedMesh
    services: Sequence[str]
    resident_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time that each service has used so far."""
        return {name: sum(_cpu(process) for process in self._processes(name)) for name in self.services}

    async def sample_until(self, ended: asyncio.Event) -> None:
        """Note resident memory every quarter of a second until ``ended`` is set."""
        while not ended.is_set():
            self.sample()
            try:
                await asyncio.wait_for(ended.wait(), SAMPLE_SECONDS)
            except asyncio.TimeoutError:
                continue

    def sample(self) -> None:
        """Note resident memory now."""
        now = time.monotonic()
        for name in self.services:
            resident = sum(_resident(process) for process in self._processes(name)) / MB
            self.resident_mb.setdefault(name, []).append((now, resident))

    def peak_mb(self, service: str, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the most that a service had within a time; 0 where nothing was noted."""
        return max((mb for at, mb in self.resident_mb.get(service, ()) if since <= at <= until), default=0.0)

    def _processes(self, service: str) -> list[psutil.Process]:
        found = [status.identity.process() for status in self.mesh.processes(service) if status.identity is not None]
        return [process for process in found if process is not None]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)
