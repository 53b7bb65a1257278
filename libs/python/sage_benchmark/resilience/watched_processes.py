"""Processor time and resident memory of a mesh's services while something is measured."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_benchmark.resilience.processor_times import ProcessorTimes, processor_times

SAMPLE_SECONDS = 0.25
# What this process is called among the services.
LOAD_GENERATOR = "load generator"
MB = 1e6


@dataclass
class WatchedProcesses:
    """Reads the processes of ``services``; a service of several processes counts with all of them.

    Attributes:
        resident_mb: what each service had, with seconds of the monotonic clock, in MB of 10^6 bytes.
        processor: what each service, and the load generator, had of the processors by then, where the system tells.
    """

    mesh: IsolatedMesh
    services: Sequence[str]
    resident_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    processor: dict[str, list[tuple[float, ProcessorTimes]]] = field(default_factory=dict)

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time that each service has used so far."""
        return {name: sum(_cpu(process) for process in self._processes(name)) for name in self.services}

    async def sample_until(self, ended: asyncio.Event) -> None:
        """Take notes every quarter of a second until ``ended`` is set."""
        while not ended.is_set():
            self.sample()
            try:
                await asyncio.wait_for(ended.wait(), SAMPLE_SECONDS)
            except asyncio.TimeoutError:
                continue

    def sample(self) -> None:
        """Take notes now."""
        now = time.monotonic()
        for name in self.services:
            processes = self._processes(name)
            resident = sum(_resident(process) for process in processes) / MB
            self.resident_mb.setdefault(name, []).append((now, resident))
            self._note_processor(name, [process.pid for process in processes], now)
        self._note_processor(LOAD_GENERATOR, [os.getpid()], now)

    def peak_mb(self, service: str, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the most that a service had within a time; 0 where nothing was noted."""
        return max((mb for at, mb in self.resident_mb.get(service, ()) if since <= at <= until), default=0.0)

    def processor_shares(self, since: float, until: float) -> Mapping[str, ProcessorTimes]:
        """Return what each had of a processor, and waited for one, in each second of a time; empty where nothing was
        noted."""
        shares = {}
        for name, notes in self.processor.items():
            those = [note for note in notes if since <= note[0] <= until]
            if len(those) > 1:
                (began, first), (ended, last) = those[0], those[-1]
                shares[name] = last.share_since(first, ended - began)
        return shares

    def _note_processor(self, name: str, pids: Sequence[int], now: float) -> None:
        times = processor_times(pids)
        if times is not None:
            self.processor.setdefault(name, []).append((now, times))

    def _processes(self, service: str) -> list[psutil.Process]:
        found = [status.identity.process() for status in self.mesh.processes(service) if status.identity is not None]
        return [process for process in found if process is not None]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)
