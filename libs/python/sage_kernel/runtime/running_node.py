"""What every kind of runner is given of its node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sage_common.clock import Clock
from sage_kernel.nodes import NodeSpec
from sage_kernel.run_context import Sleep
from sage_kernel.runtime.checkpointing import Participant
from sage_kernel.runtime.failures import FailedRecords
from sage_kernel.runtime.outlet import Outlet
from sage_kernel.runtime.progress import NodeCounts


@dataclass(frozen=True)
class RunningNode:
    """One node of a run.

    Attributes:
        outlet: where its records go.
        failed: what becomes of those that it cannot process.
        participant: its part in checkpoints.
        clock, sleep: time.
        changed: tells whoever follows the run that ``counts`` have changed.
    """

    spec: NodeSpec
    outlet: Outlet
    counts: NodeCounts
    failed: FailedRecords
    participant: Participant
    clock: Clock
    sleep: Sleep
    changed: Callable[[], None]

    def came_in(self, records: int) -> None:
        """Count records."""
        self.counts.records_in += records
        self.changed()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count the time that the body takes as work of the node."""
        started = self.clock.now()
        try:
            yield
        finally:
            self.counts.busy_seconds += self.clock.now() - started
