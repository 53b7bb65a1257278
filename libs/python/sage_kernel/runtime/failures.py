"""What becomes of a record that a node cannot process, by the node's ``on_error``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import polars as pl

from sage_kernel.nodes import ERRORS_PORT, NodeSpec
from sage_kernel.problems import NodeFailedError, message_of
from sage_kernel.run_context import DeadLetter
from sage_kernel.runtime.outlet import Outlet
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.runtime.retries import may_pass


class FailedRecords:
    """Fails the run, or puts single records aside.

    Args:
        dead_letter: keeps a record with ``on_error: dlq``.
    """

    def __init__(
        self,
        node_id: str,
        spec: NodeSpec,
        outlet: Outlet,
        counts: NodeCounts,
        dead_letter: Callable[[DeadLetter], Awaitable[None]],
    ) -> None:
        self._node_id = node_id
        self._spec = spec
        self._outlet = outlet
        self._counts = counts
        self._dead_letter = dead_letter

    def failed(self, error: Exception, frame: pl.DataFrame | None = None) -> NodeFailedError:
        """Return ``error`` as the failure of this node, with the record to blame where ``frame`` is a single one."""
        if isinstance(error, NodeFailedError):
            return error
        record = frame.row(0, named=True) if frame is not None and frame.height == 1 else None
        return NodeFailedError(self._node_id, self._spec.op, error, record)

    @property
    def are_fatal(self) -> bool:
        """Whether one record that fails ends the run."""
        return self._spec.on_error == "fail"

    async def put_aside(self, frame: pl.DataFrame, error: Exception) -> None:
        """Put the records of ``frame`` aside. Raises NodeFailedError where the node's ``on_error`` says so."""
        if self.are_fatal:
            raise self.failed(error, frame) from error
        self._counts.records_failed += frame.height
        message = message_of(error)
        if self._spec.on_error == "output":
            await self._outlet.emit(frame.with_columns(pl.lit(message).alias("error")), ERRORS_PORT)
        elif self._spec.on_error == "dlq":
            attempts = 1 + (self._spec.retries if may_pass(error) else 0)
            for record in frame.iter_rows(named=True):
                await self._dead_letter(DeadLetter(self._node_id, record, message, attempts))
