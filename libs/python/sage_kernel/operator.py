"""What the runtime asks of an operator, and what it offers to one.

Records travel as polars frames (Arrow batches). An operator is one of five things: a ``Source``, a ``Transform``
(stateless), a ``StatefulOperator`` (keyed or timed state), an ``AsyncOperator`` (waits for models or the network), or a
``Sink``. Only those that wait are asynchronous; the others are called inline, one call a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import polars as pl
from pydantic import JsonValue

from sage_common.clock import Clock, MonotonicClock
from sage_common.errors import SageError
from sage_kernel.answer_store import AnswerStore
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import NO_HOST, HostAccess
from sage_kernel.knowledge_access import KnowledgeAccess, NoKnowledge
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import NatsAccess, NoNats
from sage_kernel.nodes import NodeSpec
from sage_kernel.search_index import SearchIndex
from sage_kernel.stage_targets import NO_TARGETS, StageTargets
from sage_kernel.stream_type import StreamType

# A record maps field names to values; records are made of frames only for people, templates and user functions.
Record = dict[str, Any]
Position: TypeAlias = JsonValue
"""Where to go on reading, as JSON; what it means is the source's own."""
Split: TypeAlias = JsonValue
"""A part of a source that can be read by itself, as JSON."""
Sleep = Callable[[float], Awaitable[None]]

S = TypeVar("S", bound=NodeSpec)


class Skipped(NamedTuple):
    """Something that a source left out, and why."""

    node: str
    item: str
    reason: str


class DeadLetter(NamedTuple):
    """A record that failed at a node with ``on_error: dlq``, and why."""

    node: str
    record: Record
    error: str
    attempts: int


class Emission(NamedTuple):
    """Records that an operator gives out: ``port`` is a named output such as ``late``, or empty for the main one."""

    frame: pl.DataFrame
    port: str = ""


@dataclass(frozen=True)
class State:
    """What an operator needs in order to go on: JSON values, and frames by name. Frames never change, so a state is
    taken in no time and written while the pipeline goes on."""

    values: Mapping[str, JsonValue] = field(default_factory=dict)
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)


class Refused(NamedTuple):
    """Records that a source cannot give out, with the columns of ``REFUSED_FIELDS``, and why."""

    frame: pl.DataFrame
    error: SageError


# What a source tells of a record that it refuses: its text, as far as it is kept, and where it stands.
REFUSED_FIELDS: Mapping[str, pl.DataType] = {"raw": pl.String(), "place": pl.String()}


class SourceBatch(NamedTuple):
    """Records of a source, and where to go on after them. The frame may be empty where only the position moved.

    ``refused`` are records between this position and the one before that do not fit; the node's ``on_error`` says what
    becomes of them.
    """

    frame: pl.DataFrame
    position: Position
    refused: Sequence[Refused] = ()


@runtime_checkable
class Source(Protocol):
    """Where records come from."""

    async def splits(self) -> Sequence[Split]:
        """Return the parts that can be read one by one, in order; a source that cannot be split has one, ``None``."""
        ...

    def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the records of a split, no faster than they are taken, from ``position`` on (None: its beginning).

        Raises:
            PositionGoneError: what was to be read from ``position`` on is no longer there.
        """
        ...


@runtime_checkable
class DiscoveringSource(Source, Protocol):
    """A source whose fields are not stated: they are read off its first records, before anything runs."""

    async def discover(self) -> Mapping[str, pl.DataType]:
        """Return the fields that the records will have."""
        ...


@runtime_checkable
class CountedSource(Source, Protocol):
    """A source that can say how many records it has, without reading them."""

    async def count(self) -> int:
        """Return how many records all of its splits have. Raises what ``splits`` raises."""
        ...


@runtime_checkable
class JoiningSource(Source, Protocol):
    """A source whose splits may have no end, so that those of one task are read together and not one by one."""

    def joined(self, splits: Sequence[Split]) -> Split:
        """Return ``splits`` as one."""
        ...


@runtime_checkable
class Transform(Protocol):
    """A step without state. It may fail as a whole: the runtime then finds the record that is to blame."""

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what ``frame`` becomes."""
        ...


@runtime_checkable
class StatefulOperator(Protocol):
    """A step with state. A call that raises leaves the state as it was."""

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Take records of the input with this position in ``in``."""
        ...

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Take the news that no record before ``time_us`` is expected any more; it never goes back."""
        ...

    def on_end(self) -> Sequence[Emission]:
        """Give out the rest, after the last record. A last watermark at the end of time came before it."""
        ...

    def snapshot(self) -> State:
        """Return the state as of now."""
        ...

    def restore(self, state: State) -> None:
        """Take up ``state``, before anything else is called."""
        ...


@runtime_checkable
class DelayedOutput(Protocol):
    """A stateful operator whose records may have happened before the watermark at which they are given out."""

    def watermark_behind(self, time_us: int) -> int:
        """Return the watermark of what is given out when that of the inputs is ``time_us``: at most as much."""
        ...


@runtime_checkable
class AsyncOperator(Protocol):
    """A step that waits for others. ``process`` runs several times at once, up to the node's concurrency."""

    @property
    def batch_records(self) -> int:
        """Most records that a call of ``process`` takes; it may get fewer."""
        ...

    @property
    def linger_seconds(self) -> float:
        """How long to wait for a call to be full; 0 takes what is there."""
        ...

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what ``frame`` becomes. On an error nothing of it may have taken effect."""
        ...

    async def close(self) -> None:
        """Release what is held. Called once, whether the run succeeded, failed or was cancelled."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where records end. What a checkpoint holds of it is enough to go on after it, without loss or repetition."""

    async def write(self, frame: pl.DataFrame) -> None:
        """Take records."""
        ...

    async def flush(self) -> State:
        """Make everything written so far durable, and return what ``restore`` needs."""
        ...

    async def restore(self, state: State) -> None:
        """Go on from ``state``: what was written after it is taken back, or left out when it comes again."""
        ...

    async def publish(self) -> None:
        """Show the whole result, after the last record; called again where it was not known to have been done."""
        ...

    async def close(self) -> None:
        """Release what is held. Called once, whether the run succeeded, failed or was cancelled."""
        ...


class StatelessAsyncOperator:
    """Base of asynchronous operators that wait for no full batch and have nothing to release."""

    @property
    def batch_records(self) -> int:
        """Most records that a call of ``process`` takes."""
        return 256

    @property
    def linger_seconds(self) -> float:
        """Wait for nothing."""
        return 0.0

    async def close(self) -> None:
        """Release nothing."""


class CollectionSinks(Protocol):
    """Makes the sinks behind ``collection:NAME``: in memory for a run in this process, else results of a job."""

    def __call__(self, name: str, node_id: str, stream: StreamType) -> Sink:
        """Return the sink of a collection."""
        ...


@dataclass(frozen=True)
class RunContext:
    """What operators of one run share.

    Attributes:
        models: how to reach models.
        files: which files may be read and written.
        collections: makes the sinks of collections.
        cache_dir: where vectors and answers are kept between runs; None keeps nothing.
        warn: takes a warning for people, with the node's id.
        skip: takes what a source left out.
        dead_letter: keeps a record that failed.
        run_id: names the run, the same after a restart from a checkpoint.
        targets: within which time each node's requests to models are wanted.
        answers: where answers of models are kept; None keeps none.
        indexes: by id of an index node, the index when it is complete.
        functions: the functions that ``ref:`` may name.
        nats: how to reach NATS.
        hosts: which hosts may be talked to over HTTP.
        knowledge: the knowledge bases that may be searched and stored in.
        clock, sleep: time; ``now_us`` is the time of day in microseconds since 1970-01-01 UTC.
    """

    models: ModelPort
    files: FileAccess
    collections: CollectionSinks
    cache_dir: Path | None
    warn: Callable[[str, str], None]
    skip: Callable[[Skipped], None]
    dead_letter: Callable[[DeadLetter], Awaitable[None]]
    now_us: Callable[[], int]
    run_id: str
    indexes: dict[str, asyncio.Future[SearchIndex]] = field(default_factory=dict)
    functions: FunctionRegistry = NO_FUNCTIONS
    nats: NatsAccess = field(default_factory=NoNats)
    hosts: HostAccess = NO_HOST
    knowledge: KnowledgeAccess = field(default_factory=NoKnowledge)
    targets: StageTargets = NO_TARGETS
    answers: AnswerStore | None = None
    clock: Clock = field(default_factory=MonotonicClock)
    sleep: Sleep = asyncio.sleep


AnyOperator: TypeAlias = "Source | Transform | StatefulOperator | AsyncOperator | Sink"


@dataclass(frozen=True)
class OperatorType(Generic[S]):
    """A registry entry: an operator's spec and how to make it run.

    Attributes:
        spec: the Pydantic model of its nodes.
        build: makes the operator from node id, spec, context and the types of its inputs, in the order of ``in``.
    """

    spec: type[S]
    build: Callable[[str, S, RunContext, Sequence[StreamType]], AnyOperator]

    @property
    def op(self) -> str:
        """The operator's name in YAML."""
        literal: str = self.spec.model_fields["op"].annotation.__args__[0]  # type: ignore[union-attr]
        return literal
