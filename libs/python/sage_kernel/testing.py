"""A harness for tests of pipelines: records are pushed into named sources, time is moved by hand, sinks are read.

Nothing waits for real, so a test of a window of a day takes milliseconds and always gives the same. See
docs/testing-pipelines.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any

import polars as pl

from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_common.tasks import end_tasks
from sage_kernel.builder import Pipeline
from sage_kernel.connectors.collections import MemoryCollections, MemorySink
from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.records import frame_of
from sage_kernel.durations import parse_duration
from sage_kernel.file_access import ANY_FILE
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.model_port import ModelPort
from sage_kernel.nodes import Producer
from sage_kernel.operator import AnyOperator, Position, Record, SourceBatch, Split
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.run_context import DeadLetter, RunContext, Skipped
from sage_kernel.runtime.elements import END_OF_TIME_US
from sage_kernel.runtime.executor import Execution, ExecutionOptions
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.schema import Schema, parse_schema
from sage_kernel.spec import PipelineSpec
from sage_kernel.state.checkpoint import Checkpoint
from sage_kernel.type_inference import infer_types
from sage_kernel.validation import problems_of
from sage_kernel.virtual_time import VirtualTime

_LONGEST_SETTLE_SECONDS = 30.0
_QUIET_TURNS = 5


class PushedSource:
    """A source that gives out what a test pushes, and again after a restart."""

    def __init__(self, node_id: str, schema: Schema) -> None:
        self._node_id = node_id
        self._schema = dict(schema)
        self._conformer = Conformer(self._schema, extra="fail")
        self._frames: list[pl.DataFrame] = []
        self._given = 0
        self._has_ended = False
        self._changed = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether everything has been given out."""
        return self._given >= len(self._frames)

    def push(self, records: Sequence[Record]) -> None:
        """Add records as one batch. Raises InvalidRequestError where they do not fit the schema."""
        if self._has_ended:
            raise InvalidRequestError(f"the source {self._node_id!r} has ended; push before end()")
        try:
            self._frames.append(self._conformer.conform(frame_of(records)))
        except (ValueError, UnprocessableError) as error:
            raise InvalidRequestError(f"records pushed into {self._node_id!r}: {error}") from None
        self._changed.set()

    def end(self) -> None:
        """Let it end."""
        self._has_ended = True
        self._changed.set()

    async def discover(self) -> Schema:
        """Return the fields that were stated."""
        return self._schema

    async def splits(self) -> Sequence[Split]:
        """It is one split."""
        return (None,)

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield what is pushed."""
        at = position if isinstance(position, int) else 0
        while True:
            self._given = at
            if at < len(self._frames):
                at += 1
                yield SourceBatch(self._frames[at - 1], at)
            elif self._has_ended:
                return
            else:
                self._changed.clear()
                await self._changed.wait()


class NoModels:
    """Stands for the models of a pipeline that has none."""

    def __getattr__(self, name: str) -> Any:
        raise InvalidRequestError("the pipeline calls a model; give the test one with models=")


class PipelineTest:
    """One run of a pipeline whose sources are pushed into and whose sinks are kept in memory.

    An asynchronous context manager. Every method returns when nothing more happens by itself.

    Args:
        pipeline: as it is run in production; sources and sinks of any kind are replaced.
        models: answers for the model operators; one that takes time does so with ``time.sleep`` of this harness.
        functions: the functions that ``ref:`` may name.
        schemas: fields of sources that do not state theirs, by node id, as in a pipeline file.
        start: the time of day at the beginning.

    Attributes:
        models: may be set until the test begins.
        time: the virtual time; ``test.time.sleep`` is what a fake model waits with.
        dead_letters, skipped, warnings: what the run reported.
    """

    def __init__(
        self,
        pipeline: Pipeline | PipelineSpec,
        *,
        models: ModelPort | None = None,
        functions: FunctionRegistry = NO_FUNCTIONS,
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
        start: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc),
    ) -> None:
        self._spec = pipeline.build() if isinstance(pipeline, Pipeline) else pipeline
        self.models: ModelPort = models or NoModels()
        self._functions = functions
        self.time = VirtualTime(round(start.timestamp() * 1e6))
        self.dead_letters: list[DeadLetter] = []
        self.skipped: list[Skipped] = []
        self.warnings: list[tuple[str, str]] = []
        self._sources = self._make_sources(schemas or {})
        self._sinks: dict[str, MemorySink] = {}
        self._checkpoints = LastCheckpoint()
        self._execution: Execution | None = None
        self._run: asyncio.Task[bool] | None = None
        self._counts: dict[str, NodeCounts] = {}

    async def __aenter__(self) -> PipelineTest:
        if problems := problems_of(self._spec):
            raise PipelineInvalidError(problems)
        self._start()
        await self.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            await end_tasks(self._run)

    async def push(self, source: str, *records: Record) -> None:
        """Push records into a source as one batch. Raises NodeFailedError where the run fails on them."""
        self._source(source).push(records)
        await self.settle()

    async def end(self, *sources: str) -> None:
        """End sources, every one where none is named; the run ends with the last."""
        for name in sources or self._sources:
            self._source(name).end()
        await self.settle()

    async def advance(self, duration: str | float | timedelta) -> None:
        """Move time on by ``30s``, ``2h``, a number of seconds or a timedelta; all who sleep wake at their hours."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else parse_duration(duration) / 1e6
        target = self.time.now() + seconds
        while (wake_up := self.time.next_wake_up()) is not None and wake_up <= target:
            self.time.move_to(wake_up)
            await self.settle()
        self.time.move_to(target)
        await self.settle()

    async def crash_and_resume(self) -> None:
        """Take a checkpoint, let the run die without another word, and go on from that checkpoint in a new one."""
        assert self._execution is not None
        assert self._run is not None
        await self._execution.savepoint()
        await end_tasks(self._run)
        self._start()
        await self.settle()

    def read(self, sink: str) -> list[Record]:
        """Return every record that a sink was given so far."""
        if sink not in self._sinks:
            raise InvalidRequestError(f"there is no sink {sink!r}; the sinks are {', '.join(self._sinks)}")
        return self._sinks[sink].records()

    def watermark(self, node: str) -> datetime | None:
        """Return the watermark that a node sent last: None before the first, ``datetime.max`` behind the end."""
        at = self.counts(node).watermark_us
        if at is None:
            return None
        if at >= END_OF_TIME_US:
            return datetime.max.replace(tzinfo=timezone.utc)
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=at)

    def counts(self, node: str) -> NodeCounts:
        """Return the counts of a node."""
        if node not in self._counts:
            raise InvalidRequestError(f"there is no node {node!r}; the nodes are {', '.join(self._counts)}")
        return self._counts[node]

    async def settle(self) -> None:
        """Return when nothing happens any more until records are pushed or time moves. Raises what the run raised."""
        assert self._execution is not None
        assert self._run is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LONGEST_SETTLE_SECONDS
        turns = quiet = 0
        while quiet < _QUIET_TURNS and not self._run.done():
            # Threads are at work beside the loop, so it has to pause for them once it has turned often enough.
            await asyncio.sleep(0 if turns < 1000 else 0.001)
            turns += 1
            is_quiet = self._execution.busy_parts <= self.time.foreground_sleepers and self._sources_are_empty()
            quiet = quiet + 1 if is_quiet and not self._execution.has_ended else 0
            if loop.time() > deadline:
                raise AssertionError(
                    f"the pipeline was still at work after {_LONGEST_SETTLE_SECONDS:.0f} s of real time; a model or "
                    "function that takes time has to wait with the sleep of PipelineTest.time"
                )
        if self._run.done() and not self._run.cancelled():
            self._run.result()

    def _sources_are_empty(self) -> bool:
        return all(source.is_empty for source in self._sources.values())

    def _source(self, name: str) -> PushedSource:
        if name not in self._sources:
            raise InvalidRequestError(f"there is no source {name!r}; the sources are {', '.join(self._sources)}")
        return self._sources[name]

    def _make_sources(self, schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, PushedSource]:
        types, _ = infer_types(self._spec.nodes)
        sources = {}
        for node_id, node in self._spec.nodes.items():
            if node.takes_input:
                continue
            stated = types[Producer(node_id, "")]
            if node_id not in schemas and stated.is_open:
                raise InvalidRequestError(
                    f"the source {node_id!r} does not state its fields; give them as schemas={{{node_id!r}: {{...}}}}"
                )
            fields = parse_schema(schemas[node_id]) if node_id in schemas else stated.fields
            sources[node_id] = PushedSource(node_id, fields)
        return sources

    def _start(self) -> None:
        nodes = self._spec.nodes
        self._counts = {node_id: NodeCounts() for node_id in nodes}
        self._sinks = {
            node_id: MemorySink() for node_id, node in nodes.items() if not node.gives_output and node.op == "sink"
        }
        loop = asyncio.get_running_loop()

        async def keep(letter: DeadLetter) -> None:
            self.dead_letters.append(letter)

        context = RunContext(
            models=self.models,
            files=ANY_FILE,
            collections=MemoryCollections(),
            cache_dir=None,
            warn=lambda node, message: self.warnings.append((node, message)),
            skip=self.skipped.append,
            dead_letter=keep,
            now_us=self.time.now_us,
            run_id="test",
            indexes={node_id: loop.create_future() for node_id, node in nodes.items() if node.makes_index},
            functions=self._functions,
            clock=self.time,
            sleep=self.time.sleep,
        )
        replaced: dict[str, AnyOperator] = {**self._sources, **self._sinks}
        options = ExecutionOptions(checkpoints=self._checkpoints, replaced=replaced)
        self._execution = Execution(nodes, self._spec.spec_hash, context, self._counts, options)
        self._run = asyncio.create_task(self._execution.run(), name="pipeline")


class LastCheckpoint:
    """Keeps the last checkpoint in memory."""

    def __init__(self) -> None:
        self._last: Checkpoint | None = None

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint``."""
        self._last = checkpoint

    async def latest(self) -> Checkpoint | None:
        """Return it."""
        return self._last

    async def discard(self) -> None:
        """Drop it."""
        self._last = None
