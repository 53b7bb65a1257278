"""What every service process shows of itself beside what Prometheus' client does: its NATS connection and its disk."""

from __future__ import annotations

import math
import shutil
from functools import partial
from pathlib import Path

from nats.aio.client import Client
from prometheus_client import CollectorRegistry, Counter, Gauge

from sage_common import paths


class ProcessGauges:
    """Gauges that are read at each scrape, and a counter of reconnections."""

    def __init__(self, connection: Client | None, registry: CollectorRegistry) -> None:
        connected = Gauge("sage_nats_connected", "Whether NATS is connected: 1 or 0.", registry=registry)
        connected.set_function(lambda: float(connection is not None and connection.is_connected))
        self._reconnected = Counter("sage_nats_reconnected", "Connections to NATS after the first.", registry=registry)
        free = Gauge("sage_disk_free_bytes", "Free bytes below the folder.", ["folder"], registry=registry)
        size = Gauge("sage_disk_size_bytes", "Bytes of the disk below the folder.", ["folder"], registry=registry)
        for name, folder in (("data", paths.data_dir()), ("state", paths.state_dir())):
            free.labels(name).set_function(partial(_free, folder))
            size.labels(name).set_function(partial(_size, folder))

    def reconnected(self) -> None:
        """NATS is connected again."""
        self._reconnected.inc()


def _free(folder: Path) -> float:
    return _disk(folder)[0]


def _size(folder: Path) -> float:
    return _disk(folder)[1]


def _disk(folder: Path) -> tuple[float, float]:
    """Return the free bytes and the size of the disk that a folder is on, or would be; NaN where that is not known."""
    try:
        while not folder.exists():
            folder = folder.parent
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan, math.nan
    return float(usage.free), float(usage.total)
