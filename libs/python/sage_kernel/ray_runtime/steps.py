"""What runs in Ray's workers: one class a kind of operator, each over Arrow tables.

An object of these classes is made in the worker that runs it, from values that can be sent there: a node's spec, the
types of its inputs, and a ``StepSetting``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import orjson
import polars as pl
import pyarrow as pa

from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import AsyncOperator, Emission, Source, Split, StatefulOperator, Transform
from sage_kernel.problems import message_of
from sage_kernel.ray_runtime.arrow import concatenated, to_frame, to_table
from sage_kernel.ray_runtime.node_step import NodeStep, StepSetting
from sage_kernel.ray_runtime.run_report import Failure
from sage_kernel.runtime.elements import END_OF_TIME_US
from sage_kernel.runtime.next_batch import next_batch
from sage_kernel.runtime.retries import with_retries
from sage_kernel.stream_type import StreamType

# The columns of a table that is shuffled: which input a record came from, its key as text, and the record, in a column
# for each input.
SIDE = "side"
KEY = "key"
RECORD = "record_"


class ReadStep(NodeStep):
    """Reads splits of a source."""

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield the records of the splits that ``table`` lists."""
        source: Source = self.build()
        loop = asyncio.new_event_loop()
        try:
            for split in table.column("split").to_pylist():
                yield from self._read(loop, source, split)
        except Exception as error:
            self.setting.report.fail.remote(Failure(self.node_id, self.spec.op, message_of(error)))
            raise RuntimeError(message_of(error)) from None
        finally:
            loop.close()

    def _read(self, loop: asyncio.AbstractEventLoop, source: Source, written: str) -> Iterator[pa.Table]:
        split: Split = orjson.loads(written)
        batches = source.batches(split, None)
        while True:
            batch = loop.run_until_complete(next_batch(batches))
            if batch is None:
                return
            for refused in batch.refused:
                self.put_aside(refused.frame, refused.error)
            self.count(0, batch.frame.height)
            if batch.frame.height:
                yield to_table(batch.frame)


class TransformStep(NodeStep):
    """Applies a transform."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return what the records become."""
        frame = to_frame(table, self.inputs[0].fields)
        result = concatenated(list(self._apply(frame)))
        self.count(frame.height, result.height)
        return to_table(result)

    def _apply(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        try:
            transform: Transform = self.operator
            yield transform.apply(frame)
        except Exception as error:
            for half in self.halved(frame, error) or ():
                yield from self._apply(half)


class AsyncStep(NodeStep):
    """Calls models, many at once. Ray runs several batches of it at a time."""

    def __init__(self, node_id: str, spec: NodeSpec, inputs: Sequence[StreamType], setting: StepSetting) -> None:
        super().__init__(node_id, spec, inputs, setting)
        self._slots: asyncio.Semaphore | None = None

    async def __call__(self, table: pa.Table) -> AsyncIterator[pa.Table]:
        """Yield what the records become."""
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.spec.concurrency)
            for node_id, index in self.setting.indexes.items():
                self.context.indexes[node_id] = asyncio.get_running_loop().create_future()
                self.context.indexes[node_id].set_result(await index)
        frame = to_frame(table, self.inputs[0].fields)
        operator: AsyncOperator = self.operator
        most = operator.batch_records
        pieces = [frame[start : start + most] for start in range(0, frame.height, most)]
        result = concatenated(await asyncio.gather(*(self._process(piece) for piece in pieces)))
        self.count(frame.height, result.height)
        yield to_table(result)

    async def _process(self, frame: pl.DataFrame) -> pl.DataFrame:
        assert self._slots is not None
        try:
            async with self._slots:
                process = self.operator.process
                return await with_retries(lambda: process(frame), self.spec.retries, asyncio.sleep)
        except Exception as error:
            halves = self.halved(frame, error)
        return concatenated([await self._process(half) for half in halves or ()])


class StatefulStep(NodeStep):
    """Runs a stateful operator over all records of one key, which Ray has brought together."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return what the operator gives out for these records."""
        frame = to_frame(table)
        operator: StatefulOperator = self.build()
        emissions: list[Emission] = []
        held = self.spec.held_inputs()
        for index in sorted(range(len(self.inputs)), key=lambda at: at in held):
            stream = self.inputs[index]
            if f"{RECORD}{index}" not in frame.columns:
                continue
            mine = frame.filter(pl.col(SIDE) == index).select(f"{RECORD}{index}").unnest(f"{RECORD}{index}")
            if (time_us := event_time_us(stream)) is not None:
                mine = mine.sort(time_us, maintain_order=True)
            self._take(operator, mine, index, emissions)
        emissions += operator.on_watermark(END_OF_TIME_US)
        emissions += operator.on_end()
        result = concatenated([emission.frame for emission in emissions if not emission.port])
        self.count(frame.height, result.height)
        return to_table(result)

    def of_nothing(self) -> pa.Table:
        """Return what the operator gives out where there are no records."""
        operator: StatefulOperator = self.build()
        emissions = [*operator.on_watermark(END_OF_TIME_US), *operator.on_end()]
        return to_table(concatenated([emission.frame for emission in emissions if not emission.port]))

    def _take(self, operator: StatefulOperator, frame: pl.DataFrame, index: int, emissions: list[Emission]) -> None:
        if not frame.height:
            return
        try:
            emissions += operator.on_batch(frame, index)
        except Exception as error:
            for half in self.halved(frame, error) or ():
                self._take(operator, half, index, emissions)


@dataclass(frozen=True)
class Tagged:
    """Prepares an input for a shuffle: its side, its key as text (null is a key like others), and the record.

    Attributes:
        numbers: positions in the key that are compared as numbers.
    """

    side: int
    key: tuple[str, ...]
    numbers: frozenset[int]

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the table of these columns."""
        frame = to_frame(table)
        if not frame.height:
            return table.select([])
        parts = [self._part(number, name).alias(f"k{number}") for number, name in enumerate(self.key)]
        key = pl.struct(parts).struct.json_encode() if parts else pl.lit("")
        side = pl.lit(self.side, dtype=pl.Int8).alias(SIDE)
        return to_table(frame.select(key.alias(KEY), side, pl.struct(pl.all()).alias(f"{RECORD}{self.side}")))

    def _part(self, number: int, name: str) -> pl.Expr:
        # Two sides may count in different types, and -0.0 equals 0.0.
        return pl.col(name).cast(pl.Float64) + 0.0 if number in self.numbers else pl.col(name)
