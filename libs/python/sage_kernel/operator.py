"""What the runtime asks of an operator.

Records travel as polars frames (Arrow batches). An operator is one of five things: a ``Source``, a ``Transform``
(stateless), a ``StatefulOperator`` (keyed or timed state), an ``AsyncOperator`` (waits for models or the network), or a
``Sink``. Only those that wait are asynchronous; the others are called inline, one call a batch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import polars as pl
from pydantic import JsonValue

from sage_common.errors import SageError

# A record maps field names to values; records are made of frames only for people, templates and user functions.
Record = dict[str, Any]
Position: TypeAlias = JsonValue
"""Where to go on reading, as JSON; what it means is the source's own."""
Split: TypeAlias = JsonValue
"""A part of a source that can be read by itself, as JSON."""


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
class LooksAhead(AsyncOperator, Protocol):
    """An asynchronous operator that bounds by itself what it asks of others: it looks up what it can while it waits."""

    @property
    def calls_ahead(self) -> int:
        """How many calls of ``process`` may run beyond the node's concurrency."""
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


AnyOperator: TypeAlias = "Source | Transform | StatefulOperator | AsyncOperator | Sink"
