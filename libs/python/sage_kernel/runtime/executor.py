"""One run of a graph in this process: operators built, connected, restored, run to their end, published."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sage_common.errors import ConflictError, SageError, UnavailableError
from sage_common.tasks import end_tasks
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import AnyOperator, Split
from sage_kernel.problems import MAX_PROBLEMS, NodeFailedError, PipelineInvalidError, Problem
from sage_kernel.run_context import RunContext
from sage_kernel.runtime.assembly import Assembler, Assembly
from sage_kernel.runtime.async_runner import AsyncRunner
from sage_kernel.runtime.checkpointing import Checkpointer
from sage_kernel.runtime.elements import END_OF_TIME_US, End, Watermark
from sage_kernel.runtime.inbox import Inbox
from sage_kernel.runtime.memory_guard import MemoryGuard, guard_of_process
from sage_kernel.runtime.opened_types import opened_types
from sage_kernel.runtime.progress import NodeCounts, OnProgress
from sage_kernel.runtime.sink_runner import SinkRunner
from sage_kernel.runtime.source_runner import SourceRunner
from sage_kernel.runtime.sync_runner import SyncRunner
from sage_kernel.runtime.task_scope import TaskScope
from sage_kernel.state.checkpoint import Checkpoint, CheckpointStore, NoCheckpoints, NodeCheckpoint
from sage_kernel.type_inference import infer_types


@dataclass(frozen=True)
class ExecutionOptions:
    """How a graph is run.

    Attributes:
        queue_batches: most batches waiting in front of a node that waits.
        checkpoints: where checkpoints are kept.
        checkpoint_seconds: between two; None takes none but the last.
        splits: by node id of a source, the parts that this run reads; a source that is not named reads all of its own.
        spill_dir: where queues go on that must not hold back their senders; the system's temporary folder by default.
        replaced: operators that take the place of a node's own, by node id.
        memory: fails a node whose state fills the memory of this process.
        may_write: whether the run is still the one that goes on with this work; asked before each write of a sink.
    """

    queue_batches: int = 4
    checkpoints: CheckpointStore = field(default_factory=NoCheckpoints)
    checkpoint_seconds: float | None = None
    splits: Mapping[str, Sequence[Split]] = field(default_factory=dict)
    spill_dir: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    replaced: Mapping[str, AnyOperator] = field(default_factory=dict)
    may_write: Callable[[], bool] | None = None
    memory: MemoryGuard = field(default_factory=guard_of_process)


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
        self._parts = Assembly(())
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_paused = False
        self._stopping: asyncio.Future[None] | None = None
        self._running = asyncio.Event()
        ops = {node_id: node.op for node_id, node in nodes.items()}
        self._checkpointer = Checkpointer(options.checkpoints, spec_hash, ops)

    @property
    def checkpointer(self) -> Checkpointer:
        """Takes checkpoints of this run on demand."""
        return self._checkpointer

    @property
    def counts(self) -> Mapping[str, NodeCounts]:
        """The counts of every node, as they are now."""
        return self._counts

    @property
    def parts(self) -> Assembly:
        """The running parts."""
        return self._parts

    @property
    def is_paused(self) -> bool:
        """Whether its sources read nothing for now."""
        return self._is_paused

    @property
    def has_ended(self) -> bool:
        """Whether every node has ended; the last checkpoint and the publishing of results may still be under way."""
        return bool(self._tasks) and all(task.done() for task in self._tasks.values())

    @property
    def busy_parts(self) -> int:
        """How many things are at work or wait for others: nodes with elements to hand on, and calls of models.

        At 0 nothing happens any more until a source gives something out.
        """
        busy = 0 if self._tasks else 1  # still being built
        for node_id, task in self._tasks.items():
            part = self._parts.inlets.get(node_id) or self._parts.sources.get(node_id)
            busy += not task.done() and not (part is not None and part.is_waiting)
        return busy + sum(r.calls for r in self._parts.runners.values() if isinstance(r, AsyncRunner))

    def pause(self) -> None:
        """Have the sources read nothing more for now; what they have sent is processed, and checkpoints go on."""
        self._is_paused = True
        for source in self._parts.sources.values():
            source.pause()

    def resume(self) -> None:
        """Have the sources read on."""
        self._is_paused = False
        for source in self._parts.sources.values():
            source.resume()

    async def savepoint(self) -> Checkpoint:
        """Take a checkpoint now. Raises ConflictError where the run has ended, else as the store does."""
        await self._running.wait()
        return await self._checkpointer.take()

    async def stop_with_savepoint(self) -> Checkpoint:
        """Take a checkpoint and end ``run``, which then returns without publishing anything.

        Raises as ``savepoint`` does; the run goes on then.
        """
        was_paused = self._is_paused
        self.pause()
        try:
            checkpoint = await self.savepoint()
        except BaseException:
            if not was_paused:
                self.resume()
            raise
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        return checkpoint

    async def run(self) -> bool:
        """Run to the end, and return whether it came to that: not where it was stopped with a savepoint.

        Cancel the task to stop it where it stands: the last checkpoint stays.

        Raises:
            NodeFailedError: a node failed; the first failure ends the run.
            PipelineInvalidError: the records of an opened source do not fit what reads them.
            UnavailableError: the last checkpoint could not be kept, so nothing was published.
        """
        self._stopping = asyncio.get_running_loop().create_future()
        checkpoint = await self._options.checkpoints.latest()
        async with contextlib.AsyncExitStack() as closing:
            closing.callback(self._end)
            finished = {n for n, node in (checkpoint.nodes if checkpoint else {}).items() if node.is_finished}
            await self._assemble(closing, frozenset(finished))
            if checkpoint is not None:
                self._checkpointer.count_from(checkpoint.number)
                await self._restore(checkpoint)
            if checkpoint is None or not checkpoint.is_final:
                await self._run_nodes(checkpoint)
                if self._stopping.done():
                    return False
                await self._keep_last_checkpoint()
            for node_id, sink in self._parts.sinks.items():
                try:
                    await sink.publish()
                except Exception as error:
                    raise NodeFailedError(node_id, self._nodes[node_id].op, error) from error
        await self._options.checkpoints.discard()
        return True

    def _end(self) -> None:
        self._checkpointer.close()
        self._running.set()

    async def _assemble(self, closing: contextlib.AsyncExitStack, finished: frozenset[str]) -> None:
        options = self._options
        opened, sources = await opened_types(self._nodes, self._context, options.replaced)
        types, found = infer_types(self._nodes, opened)
        problems = [Problem(name, *what) for name, node in found.items() for what in node.found]
        if problems:
            raise PipelineInvalidError(problems[:MAX_PROBLEMS])
        replaced = {**sources, **options.replaced}
        self._parts = Assembler(
            self._nodes, types, self._context, self._counts, self._checkpointer, self._scope, closing,
            options.queue_batches, options.spill_dir, options.splits, replaced, self._on_progress,
            options.may_write, options.memory,
        ).assemble(finished)  # fmt: skip
        if self._is_paused:
            self.pause()

    async def _run_nodes(self, checkpoint: Checkpoint | None) -> None:
        parts = self._parts
        for node_id in parts.order:
            runner = parts.runners[node_id]
            saved = checkpoint.nodes.get(node_id) if checkpoint else None
            if saved is not None and saved.is_finished:
                self._tasks[node_id] = self._scope.spawn(self._stay_finished(node_id, saved), node_id)
            elif isinstance(runner, SourceRunner):
                self._checkpointer.add_origin(runner)
                self._tasks[node_id] = self._scope.spawn(runner.run(), node_id)
            elif node_id in parts.inlets:
                self._checkpointer.add_origin(parts.inlets[node_id])
                self._tasks[node_id] = self._scope.spawn(parts.inlets[node_id].run(), node_id)
        assert self._stopping is not None
        nodes = asyncio.create_task(self._scope.join(), name="nodes")
        interval, taking = self._options.checkpoint_seconds, None
        if interval is not None:
            taking = asyncio.create_task(self._checkpointer.run(interval, self._context.sleep), name="checkpoints")
        self._running.set()
        try:
            await asyncio.wait({nodes, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
            if nodes.done():
                nodes.result()
        finally:
            await end_tasks(*(task for task in (taking, nodes) if task is not None))

    async def _keep_last_checkpoint(self) -> None:
        try:
            await self._checkpointer.finish()
        except (OSError, SageError) as error:
            raise UnavailableError(
                f"every record was processed, but the last checkpoint cannot be kept: {error}; nothing was published, "
                "make room or repair its place and resume from the checkpoint before",
                code="checkpoint_failed",
            ) from error

    async def _stay_finished(self, node_id: str, saved: NodeCheckpoint) -> None:
        """Let a node that had given out everything end again, without giving out anything twice."""
        runner = self._parts.runners[node_id]
        if node_id in self._parts.indexes and isinstance(runner, SyncRunner):
            await runner.end_again(saved.state)
        self._checkpointer.node_finished(node_id, saved.state)
        await self._parts.outlets[node_id].mark(Watermark(END_OF_TIME_US))
        await self._parts.outlets[node_id].mark(End())

    async def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.spec_hash != self._spec_hash:
            raise ConflictError(
                f"the checkpoint belongs to another pipeline ({checkpoint.spec_hash[:12]}), this one is "
                f"{self._spec_hash[:12]}; resume it with a plan of what is kept, or start it anew"
            )
        for node_id, saved in checkpoint.nodes.items():
            node = self._nodes.get(node_id)
            if node is None or node.op != saved.op:
                raise ConflictError(
                    f"the checkpoint has a node {node_id!r} ({saved.op}) that this pipeline lacks; resume it with a "
                    "plan of what is kept, or start it anew"
                )
            try:
                await self._restore_node(node_id, saved)
            except Exception as error:
                raise NodeFailedError(node_id, saved.op, error) from error

    async def _restore_node(self, node_id: str, saved: NodeCheckpoint) -> None:
        runner, sink = self._parts.runners[node_id], self._parts.sinks.get(node_id)
        if sink is not None:
            await sink.restore(saved.state)
        elif not saved.is_finished and not isinstance(runner, SinkRunner | AsyncRunner):
            runner.restore(saved.state)
        inlet = self._parts.inlets.get(node_id)
        if inlet is not None:
            await inlet.restore(Inbox(saved.inbox))
