"""What runs in Ray's workers: one class a kind of operator, each over Arrow tables.

An object of these classes is made in the worker that runs it, from values that can be sent there: a node's spec, the
types of its inputs, and a ``StepSetting``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from sage_common.errors import SageError
from sage_kernel.answer_store import FileAnswers
from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import FunctionRegistry
from sage_kernel.model_port import ModelPort
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import (
    AsyncOperator,
    DeadLetter,
    Emission,
    RunContext,
    Skipped,
    Source,
    Split,
    StatefulOperator,
    Transform,
)
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.ray_runtime.arrow import concatenated, to_frame, to_table
from sage_kernel.ray_runtime.outcome import Failure
from sage_kernel.runtime.elements import END_OF_TIME_US
from sage_kernel.runtime.failures import may_pass
from sage_kernel.stage_targets import StageTargets
from sage_kernel.stream_type import StreamType

# The columns of a table that is shuffled: which input a record came from, its key as text, and the record, in a column
# for each input.
SIDE = "side"
KEY = "key"
RECORD = "record_"


@dataclass(frozen=True)
class StepSetting:
    """What a step needs besides its node; everything in it can be sent to another process.

    Attributes:
        models: makes the port to models, in the worker.
        outcome: handle of the ``Outcome`` actor.
        deadline_unix: when the job's answers are wanted, in seconds since 1970; None for any time.
        indexes: by node id, object references of indexes that are complete.
    """

    models: Callable[[], ModelPort]
    files: FileAccess
    functions: FunctionRegistry
    cache_dir: Path | None
    run_id: str
    outcome: Any
    nodes: Mapping[str, NodeSpec]
    deadline_unix: float | None = None
    indexes: Mapping[str, Any] = field(default_factory=dict)

    def context(self) -> RunContext:
        """Return the context of operators in this process."""
        deadline = self.deadline_unix

        def skip(skipped: Skipped) -> None:
            self.outcome.skip.remote(skipped)

        async def dead_letter(letter: DeadLetter) -> None:
            self.outcome.dead_letters.remote([letter])

        keeps_answers = self.cache_dir is not None and any(getattr(node, "cache", None) for node in self.nodes.values())
        return RunContext(
            models=self.models(),
            files=self.files,
            functions=self.functions,
            collections=_no_collections,
            cache_dir=self.cache_dir,
            warn=lambda node, message: self.outcome.warn.remote(node, message),
            skip=skip,
            dead_letter=dead_letter,
            now_us=lambda: time.time_ns() // 1000,
            run_id=self.run_id,
            answers=FileAnswers(self.cache_dir / "answers.sqlite") if keeps_answers and self.cache_dir else None,
            targets=StageTargets(self.nodes, None if deadline is None else lambda: deadline - time.time()),
        )


class NodeStep:
    """Base of the steps: builds the operator, counts, and puts records aside that fail."""

    def __init__(self, node_id: str, spec: NodeSpec, inputs: Sequence[StreamType], setting: StepSetting) -> None:
        self.node_id = node_id
        self.spec = spec
        self.inputs = inputs
        self.setting = setting
        # What Ray calls it in its messages.
        self.__name__ = f"{spec.op}:{node_id}"

    def __getstate__(self) -> dict[str, Any]:
        # What was made in this process stays in it.
        return {name: value for name, value in self.__dict__.items() if name not in ("context", "operator")}

    @cached_property
    def context(self) -> RunContext:
        """What operators share, in this process."""
        return self.setting.context()

    @cached_property
    def operator(self) -> Any:
        """The operator of this process."""
        return self.build()

    def build(self) -> Any:
        """Return a new operator of the node."""
        return OPERATORS[self.spec.op].build(self.node_id, self.spec, self.context, self.inputs)

    def count(self, records_in: int, records_out: int, failed: int = 0) -> None:
        """Add to the node's counts."""
        self.setting.outcome.count.remote(self.node_id, records_in, records_out, failed)

    def put_aside(self, frame: pl.DataFrame, error: Exception) -> None:
        """Put records aside as ``on_error`` says. Raises what failed where it says that the run fails."""
        message = error.message if isinstance(error, SageError) else f"{type(error).__name__}: {error}"
        if self.spec.on_error == "fail":
            self.setting.outcome.fail.remote(Failure(self.node_id, self.spec.op, message))
            raise RuntimeError(f"node {self.node_id!r} failed: {message}") from None
        self.count(0, 0, frame.height)
        if self.spec.on_error == "dlq":
            attempts = 1 + (self.spec.retries if may_pass(error) else 0)
            letters = [DeadLetter(self.node_id, record, message, attempts) for record in frame.iter_rows(named=True)]
            self.setting.outcome.dead_letters.remote(letters)

    def halved(self, frame: pl.DataFrame, error: Exception) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """Return the halves of a batch that failed, or None when its records have been put aside."""
        if self.spec.on_error == "fail" or frame.height == 1:
            self.put_aside(frame, error)
            return None
        half = frame.height // 2
        return frame[:half], frame[half:]


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
            self.setting.outcome.fail.remote(Failure(self.node_id, self.spec.op, _words(error)))
            raise RuntimeError(_words(error)) from None
        finally:
            loop.close()

    def _read(self, loop: asyncio.AbstractEventLoop, source: Source, written: str) -> Iterator[pa.Table]:
        split: Split = orjson.loads(written)
        batches = source.batches(split, None)
        while True:
            try:
                batch = loop.run_until_complete(_next(batches))
            except _EndOfSplitError:
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
                return await self._attempt(self.operator, frame)
        except Exception as error:
            halves = self.halved(frame, error)
        return concatenated([await self._process(half) for half in halves or ()])

    async def _attempt(self, operator: AsyncOperator, frame: pl.DataFrame) -> pl.DataFrame:
        for attempt in range(self.spec.retries + 1):
            try:
                return await operator.process(frame)
            except SageError as error:
                if attempt == self.spec.retries or not may_pass(error):
                    raise
                await asyncio.sleep(min(error.retry_after_seconds or 0.2 * 2**attempt, 5.0))
        raise AssertionError("the last attempt returns or raises")


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

    def _take(
        self, operator: StatefulOperator, frame: pl.DataFrame, index: int, emissions: list[Emission]
    ) -> None:
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


def _no_collections(name: str, node_id: str, stream: StreamType) -> Any:
    raise AssertionError("sinks are written by the program that started the run")


async def _next(batches: AsyncIterator[Any]) -> Any:
    async for batch in batches:
        return batch
    raise _EndOfSplitError


class _EndOfSplitError(Exception):
    """A split has been read to its end."""


def _words(error: Exception) -> str:
    return error.message if isinstance(error, SageError) else f"{type(error).__name__}: {error}"
