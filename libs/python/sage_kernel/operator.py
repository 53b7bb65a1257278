"""What the runtime asks of an operator, and what it offers to one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sage_kernel.file_access import FileAccess
from sage_kernel.model_port import ModelPort
from sage_kernel.nodes import NodeSpec

# A record maps field names to JSON values or to NumPy vectors. Operators never change a record, they make a new one:
# the same object may go down several branches.
Record = dict[str, Any]
Batch = Sequence[Record]

S = TypeVar("S", bound=NodeSpec)


class Skipped(NamedTuple):
    """Something that a source left out, and why."""

    node: str
    item: str
    reason: str


@dataclass(frozen=True)
class RunContext:
    """What operators of one run share.

    Attributes:
        models: how to reach models.
        files: which files may be read and written.
        cache_dir: where vectors are kept between runs; None keeps nothing.
        warn: takes a warning for people, with the node's id.
        skip: takes what a source left out.
        indexes: by id of an index node, the index when it is complete.
        collections: by name, records given to collection sinks.
    """

    models: ModelPort
    files: FileAccess
    cache_dir: Path | None
    warn: Callable[[str, str], None]
    skip: Callable[[Skipped], None]
    indexes: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    collections: dict[str, list[Record]] = field(default_factory=dict)


class Source(Protocol):
    """Where records come from."""

    def batches(self) -> AsyncIterator[Batch]:
        """Yield batches until the source ends; no faster than they are taken."""
        ...


class Operator(Protocol):
    """A step over batches of records. ``process`` may run several times at once, up to the node's concurrency."""

    @property
    def batch_records(self) -> int:
        """Most records that a call of ``process`` takes; it may get fewer, and never waits for more."""
        ...

    async def process(self, batch: Batch) -> Batch:
        """Return what ``batch`` becomes. On an error nothing of the batch may have taken effect."""
        ...

    async def finish(self) -> Batch:
        """Return the last output, after the last input."""
        ...

    async def close(self) -> None:
        """Release what is held. Called once, whether the run succeeded, failed or was cancelled."""
        ...


class StatelessOperator:
    """Base of operators with nothing to finish and nothing to release."""

    @property
    def batch_records(self) -> int:
        """Most records that a call of ``process`` takes."""
        return 256

    async def finish(self) -> Batch:
        """Return nothing."""
        return ()

    async def close(self) -> None:
        """Release nothing."""


@dataclass(frozen=True)
class OperatorType(Generic[S]):
    """A registry entry: an operator's spec and how to make it run.

    Attributes:
        spec: the Pydantic model of its nodes.
        build: makes a Source (when the spec takes no input) or an Operator from node id, spec and context.
    """

    spec: type[S]
    build: Callable[[str, S, RunContext], Source | Operator]

    @property
    def op(self) -> str:
        """The operator's name in YAML."""
        literal: str = self.spec.model_fields["op"].annotation.__args__[0]  # type: ignore[union-attr]
        return literal
