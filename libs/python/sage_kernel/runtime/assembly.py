"""Makes the running parts of a graph: operators, their runners, and the queues between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from sage_kernel.event_time.watermarks import WatermarkGenerator
from sage_kernel.graph import sharing_ancestors, topological_order
from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.operator import AnyOperator, AsyncOperator, Sink, Source, Split, StatefulOperator, Transform
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import RunContext
from sage_kernel.runtime.async_runner import AsyncRunner
from sage_kernel.runtime.checkpointing import Checkpointer, Participant
from sage_kernel.runtime.element_queue import ElementQueue, MemoryQueue
from sage_kernel.runtime.failures import FailedRecords
from sage_kernel.runtime.fenced_sink import FencedSink
from sage_kernel.runtime.inlet import Inlet
from sage_kernel.runtime.memory_guard import MemoryGuard
from sage_kernel.runtime.outlet import Outlet, Receiver
from sage_kernel.runtime.progress import NodeCounts, OnProgress
from sage_kernel.runtime.running_node import RunningNode
from sage_kernel.runtime.sink_runner import SinkRunner
from sage_kernel.runtime.source_runner import SourceRunner
from sage_kernel.runtime.spilling_queue import SpillingQueue
from sage_kernel.runtime.sync_runner import SyncRunner
from sage_kernel.runtime.task_scope import TaskScope
from sage_kernel.stream_type import StreamType

Runner: TypeAlias = "SourceRunner | SyncRunner | AsyncRunner | SinkRunner"


@dataclass(frozen=True)
class Assembly:
    """The parts of one run, by node id.

    Attributes:
        order: every node behind those that it depends on.
        inlets: of the nodes that have queues and a task of their own; the others run inline.
        indexes: the nodes whose end offers an index to others.
    """

    order: Sequence[str]
    outlets: dict[str, Outlet] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    inlets: dict[str, Inlet] = field(default_factory=dict)
    sinks: dict[str, Sink] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()

    @property
    def sources(self) -> dict[str, SourceRunner]:
        """Return the sources."""
        return {node_id: runner for node_id, runner in self.runners.items() if isinstance(runner, SourceRunner)}


@dataclass(frozen=True)
class Assembler:
    """Makes an assembly.

    Attributes:
        types: of every output.
        closing: closes the operators at the end of the run.
        queue_batches: most batches waiting in one queue.
        spill_dir: where the queues go on that cannot hold back their senders.
        replaced: operators that take the place of a node's own, by node id.
        memory: fails a node whose state fills the memory of this process.
        may_write: asked before each write of a sink; None where there is nobody who could take the run over.
    """

    nodes: Mapping[str, NodeSpec]
    types: Mapping[Producer, StreamType]
    context: RunContext
    counts: Mapping[str, NodeCounts]
    checkpointer: Checkpointer
    scope: TaskScope
    closing: contextlib.AsyncExitStack
    queue_batches: int
    spill_dir: Path
    splits: Mapping[str, Sequence[Split]]
    replaced: Mapping[str, AnyOperator]
    on_progress: OnProgress | None
    may_write: Callable[[], bool] | None = None
    memory: MemoryGuard | None = None

    def assemble(self, finished: frozenset[str]) -> Assembly:
        """Build everything and connect what has not ``finished``. Raises NodeFailedError."""
        types = self.types
        indexes = frozenset(node_id for node_id, node in self.nodes.items() if node.makes_index)
        parts = Assembly(topological_order(self.nodes), indexes=indexes)
        spilling = sharing_ancestors(self.nodes)
        for node_id in parts.order:
            node = self.nodes[node_id]
            inputs = [types[producer] for producer in node.producers]
            parts.outlets[node_id] = Outlet(self.counts[node_id], self._changed(node_id))
            operator = self.replaced.get(node_id) or self._operator(node_id, node, inputs)
            if isinstance(operator, Sink):
                operator = FencedSink(operator, self.may_write) if self.may_write is not None else operator
                parts.sinks[node_id] = operator
            runner = self._runner(node_id, operator, parts.outlets[node_id], types[Producer(node_id, "")])
            parts.runners[node_id] = runner
            if node_id not in finished and not isinstance(runner, SourceRunner):
                self._connect(node_id, runner, parts, is_spilling=node_id in spilling)
        # Behind the loop: who is woken by room is known when everything is connected.
        for node_id, inlet in parts.inlets.items():
            inlet.follow(self._target_of(parts, node_id))
        return parts

    @staticmethod
    def _target_of(parts: Assembly, node_id: str) -> SyncRunner | AsyncRunner | SinkRunner:
        runner = parts.runners[node_id]
        assert not isinstance(runner, SourceRunner)
        return runner

    def _operator(self, node_id: str, node: NodeSpec, inputs: Sequence[StreamType]) -> AnyOperator:
        try:
            return OPERATORS[node.op].build(node_id, node, self.context, inputs)
        except Exception as error:
            raise NodeFailedError(node_id, node.op, error) from error

    def _connect(
        self, node_id: str, runner: SyncRunner | AsyncRunner | SinkRunner, parts: Assembly, *, is_spilling: bool
    ) -> None:
        node = self.nodes[node_id]
        receiver: Receiver
        if isinstance(runner, SyncRunner) and len(node.inputs) == 1:
            receiver = runner
        else:
            held = node.held_inputs()
            queues = [self._queue(is_spilling=is_spilling and (not held or i in held)) for i in range(len(node.inputs))]
            participant = Participant(node_id, self.checkpointer)
            receiver = parts.inlets[node_id] = Inlet(queues, participant, self.counts[node_id], held)
            self.closing.callback(parts.inlets[node_id].close)
            if isinstance(runner, AsyncRunner):
                inlet = parts.inlets[node_id]
                runner.has_more = lambda: inlet.has_records
        for index, (name, port) in enumerate(node.producers):
            parts.outlets[name].connect(port, receiver, index)

    def _queue(self, *, is_spilling: bool) -> ElementQueue:
        return SpillingQueue(self.queue_batches, self.spill_dir) if is_spilling else MemoryQueue(self.queue_batches)

    def _runner(self, node_id: str, operator: AnyOperator, outlet: Outlet, output: StreamType) -> Runner:
        context, spec, counts = self.context, self.nodes[node_id], self.counts[node_id]
        node = RunningNode(
            spec,
            outlet,
            counts,
            FailedRecords(node_id, spec, outlet, counts, context.dead_letter),
            Participant(node_id, self.checkpointer),
            context.clock,
            context.sleep,
            self._changed(node_id),
        )
        if isinstance(operator, AsyncOperator | Sink):
            self.closing.push_async_callback(operator.close)
        if isinstance(operator, AsyncOperator):
            return AsyncRunner(node, operator, self.scope)
        if isinstance(operator, Sink):
            return SinkRunner(node, operator)
        if isinstance(operator, Source):
            return SourceRunner(node, operator, self._watermarks(spec, output), self.splits.get(node_id))
        assert isinstance(operator, Transform | StatefulOperator)
        return SyncRunner(node, operator, self.memory)

    def _watermarks(self, node: NodeSpec, output: StreamType) -> WatermarkGenerator | None:
        timing = getattr(node, "timing", None)
        if output.event_time is None or timing is None:
            return None
        lateness_us, idle_after_us, max_ahead_us = timing()
        return WatermarkGenerator(output.event_time, lateness_us, idle_after_us, max_ahead_us, self.context.now_us)

    def _changed(self, node_id: str) -> Callable[[], None]:
        return Changed(node_id, self.counts[node_id], self.on_progress)


@dataclass(frozen=True)
class Changed:
    """Tells whoever follows a run that a node's counts have changed."""

    node_id: str
    counts: NodeCounts
    on_progress: OnProgress | None

    def __call__(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.node_id, self.counts)
