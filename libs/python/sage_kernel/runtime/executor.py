"""One run of a graph in this process: operators built, connected, restored, run to their end, published."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sage_common.errors import ConflictError
from sage_kernel.event_time.watermarks import WatermarkGenerator
from sage_kernel.graph import topological_order
from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.operator import (
    AsyncOperator,
    RunContext,
    Sink,
    Source,
    Split,
    StatefulOperator,
    Transform,
)
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import MAX_PROBLEMS, NodeFailedError, PipelineInvalidError, Problem
from sage_kernel.runtime.async_runner import AsyncRunner
from sage_kernel.runtime.checkpointing import Checkpointer, Participant
from sage_kernel.runtime.elements import END_OF_TIME_US, End, Watermark
from sage_kernel.runtime.failures import FailedRecords
from sage_kernel.runtime.inlet import Inlet
from sage_kernel.runtime.opened_types import opened_types
from sage_kernel.runtime.outlet import Outlet, Receiver
from sage_kernel.runtime.progress import NodeCounts, OnProgress
from sage_kernel.runtime.sink_runner import SinkRunner
from sage_kernel.runtime.source_runner import SourceRunner
from sage_kernel.runtime.sync_runner import SyncRunner
from sage_kernel.runtime.task_scope import TaskScope
from sage_kernel.state.checkpoint import Checkpoint, CheckpointStore, NoCheckpoints, NodeCheckpoint
from sage_kernel.stream_type import StreamType
from sage_kernel.type_inference import infer_types

Runner: TypeAlias = "SourceRunner | SyncRunner | AsyncRunner | SinkRunner"


@dataclass(frozen=True)
class ExecutionOptions:
    """How a graph is run.

    Attributes:
        queue_batches: most batches waiting in front of a node that waits.
        checkpoints: where checkpoints are kept.
        checkpoint_seconds: between two; None takes none but the last.
        splits: by node id of a source, the parts that this run reads; a source that is not named reads all of its own.
    """

    queue_batches: int = 4
    checkpoints: CheckpointStore = field(default_factory=NoCheckpoints)
    checkpoint_seconds: float | None = None
    splits: Mapping[str, Sequence[Split]] = field(default_factory=dict)


class Execution:
    """Builds and runs one graph, once.

    Nodes that do not wait and have one input run inline in the task that feeds them: a chain of them is one call a
    batch and no queue. Every other node has bounded queues and a task of its own.

    Args:
        nodes: a graph without problems.
        spec_hash: of its pipeline.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeSpec],
        spec_hash: str,
        context: RunContext,
        counts: Mapping[str, NodeCounts],
        options: ExecutionOptions,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._nodes = nodes
        self._spec_hash = spec_hash
        self._context = context
        self._counts = counts
        self._options = options
        self._on_progress = on_progress
        self._scope = TaskScope()
        self._outlets: dict[str, Outlet] = {}
        self._runners: dict[str, Runner] = {}
        self._inlets: dict[str, Inlet] = {}
        self._sinks: dict[str, Sink] = {}
        self._sources: dict[str, Source] = {}
        self._checkpointer = Checkpointer(
            options.checkpoints, spec_hash, {node_id: node.op for node_id, node in nodes.items()}
        )

    @property
    def checkpointer(self) -> Checkpointer:
        """Takes checkpoints of this run on demand."""
        return self._checkpointer

    async def run(self) -> None:
        """Run to the end. Cancel the task to stop it where it stands: the last checkpoint stays.

        Raises:
            NodeFailedError: a node failed; the first failure ends the run.
            PipelineInvalidError: the records of an opened source do not fit what reads them.
        """
        checkpoint = await self._options.checkpoints.latest()
        async with contextlib.AsyncExitStack() as closing:
            finished = {n for n, node in (checkpoint.nodes if checkpoint else {}).items() if node.is_finished}
            self._build(closing, finished, await self._types())
            if checkpoint is not None:
                await self._restore(checkpoint)
            if checkpoint is None or not checkpoint.is_final:
                await self._run_nodes(checkpoint)
                await self._checkpointer.finish()
            for node_id, sink in self._sinks.items():
                try:
                    await sink.publish()
                except Exception as error:
                    raise NodeFailedError(node_id, self._nodes[node_id].op, error) from error

    async def _run_nodes(self, checkpoint: Checkpoint | None) -> None:
        for node_id in topological_order(self._nodes):
            runner = self._runners[node_id]
            saved = checkpoint.nodes.get(node_id) if checkpoint else None
            if saved is not None and saved.is_finished:
                self._scope.spawn(self._stay_finished(node_id, saved), node_id)
                continue
            if isinstance(runner, SourceRunner):
                self._checkpointer.add_source(runner)
                self._scope.spawn(runner.run(), node_id)
            elif node_id in self._inlets:
                self._scope.spawn(self._run_queued(node_id, runner), node_id)
        interval = self._options.checkpoint_seconds
        taking = None
        if interval is not None:
            taking = asyncio.create_task(self._checkpointer.run(interval, self._context.sleep), name="checkpoints")
        try:
            await self._scope.join()
        finally:
            if taking is not None:
                taking.cancel()
                await asyncio.wait({taking})

    async def _run_queued(self, node_id: str, runner: Runner) -> None:
        if isinstance(runner, AsyncRunner):
            await runner.start()
        await self._inlets[node_id].run()

    async def _stay_finished(self, node_id: str, saved: NodeCheckpoint) -> None:
        """Let a node that had given out everything end again, without giving out anything twice."""
        await self._checkpointer.node_finished(node_id, saved.state)
        await self._outlets[node_id].mark(Watermark(END_OF_TIME_US))
        await self._outlets[node_id].mark(End())

    async def _types(self) -> Mapping[Producer, StreamType]:
        """Follow the types of records, those of sources without a stated schema as their first records show them."""
        opened, self._sources = await opened_types(self._nodes, self._context)
        types, found = infer_types(self._nodes, opened)
        problems = [Problem(name, *what) for name, node in found.items() for what in node.found]
        if problems:
            raise PipelineInvalidError(problems[:MAX_PROBLEMS])
        return types

    def _build(
        self, closing: contextlib.AsyncExitStack, finished: set[str], types: Mapping[Producer, StreamType]
    ) -> None:
        for node_id in topological_order(self._nodes):
            node = self._nodes[node_id]
            inputs = [types[producer] for producer in node.producers]
            self._outlets[node_id] = Outlet(self._counts[node_id], self._changed(node_id))
            self._runners[node_id] = self._runner(node_id, node, inputs, types[Producer(node_id, "")], closing)
            if node_id not in finished:
                self._connect(node_id, node)

    def _connect(self, node_id: str, node: NodeSpec) -> None:
        runner = self._runners[node_id]
        if isinstance(runner, SourceRunner):
            return
        receiver: Receiver = runner
        if len(node.inputs) > 1 or not isinstance(runner, SyncRunner):
            receiver = self._inlets[node_id] = Inlet(runner, len(node.inputs), self._options.queue_batches)
            if isinstance(runner, AsyncRunner):
                inlet = self._inlets[node_id]
                runner.has_more = lambda: inlet.has_more
        for index, (name, port) in enumerate(node.producers):
            self._outlets[name].connect(port, receiver, index)

    def _runner(
        self,
        node_id: str,
        node: NodeSpec,
        inputs: Sequence[StreamType],
        output: StreamType,
        closing: contextlib.AsyncExitStack,
    ) -> Runner:
        context = self._context
        outlet, counts, changed = self._outlets[node_id], self._counts[node_id], self._changed(node_id)
        try:
            operator = self._sources.get(node_id) or OPERATORS[node.op].build(node_id, node, context, inputs)
        except Exception as error:
            raise NodeFailedError(node_id, node.op, error) from error
        failed = FailedRecords(node_id, node, outlet, counts, context.dead_letter)
        participant = Participant(node_id, self._checkpointer)
        if isinstance(operator, AsyncOperator):
            closing.push_async_callback(operator.close)
            return AsyncRunner(
                node, operator, outlet, counts, failed, participant,
                scope=self._scope, clock=context.clock, sleep=context.sleep, changed=changed,
            )  # fmt: skip
        if isinstance(operator, Sink):
            closing.push_async_callback(operator.close)
            self._sinks[node_id] = operator
            return SinkRunner(node, operator, counts, failed, participant, context.clock, context.sleep, changed)
        if isinstance(operator, Source):
            watermarks = self._watermarks(node, output)
            splits = self._options.splits.get(node_id)
            return SourceRunner(operator, outlet, failed, participant, watermarks, splits)
        assert isinstance(operator, Transform | StatefulOperator)
        return SyncRunner(operator, outlet, counts, failed, participant, context.clock, changed)

    def _watermarks(self, node: NodeSpec, output: StreamType) -> WatermarkGenerator | None:
        timing = getattr(node, "timing", None)
        if output.event_time is None or timing is None:
            return None
        lateness_us, idle_after_us, max_ahead_us = timing()
        return WatermarkGenerator(output.event_time, lateness_us, idle_after_us, max_ahead_us, self._context.now_us)

    async def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.spec_hash != self._spec_hash:
            raise ConflictError(
                f"the checkpoint belongs to another pipeline ({checkpoint.spec_hash[:12]}), this one is "
                f"{self._spec_hash[:12]}; resume it with a plan of what is kept, or start it anew"
            )
        for node_id, saved in checkpoint.nodes.items():
            runner, sink = self._runners[node_id], self._sinks.get(node_id)
            try:
                if sink is not None:
                    await sink.restore(saved.state)
                elif not isinstance(runner, SinkRunner) and not saved.is_finished:
                    runner.restore(saved.state)
            except Exception as error:
                raise NodeFailedError(node_id, saved.op, error) from error

    def _changed(self, node_id: str) -> Changed:
        return Changed(node_id, self._counts[node_id], self._on_progress)


@dataclass(frozen=True)
class Changed:
    """Tells whoever follows a run that a node's counts have changed."""

    node_id: str
    counts: NodeCounts
    on_progress: OnProgress | None

    def __call__(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.node_id, self.counts)
