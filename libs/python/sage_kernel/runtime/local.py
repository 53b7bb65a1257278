"""The local runner: a whole pipeline on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from sage_common.clock import Clock, MonotonicClock
from sage_kernel.file_access import ANY_FILE, FileAccess
from sage_kernel.graph import sharing_ancestors
from sage_kernel.model_port import ModelPort
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Operator, RunContext, Source
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import NodeFailedError, PipelineInvalidError
from sage_kernel.runtime.channel import Channel
from sage_kernel.runtime.node_runner import NodeOutput, OperatorRunner, Sleep, SourceRunner
from sage_kernel.runtime.progress import MAX_DEAD_LETTERS, DeadLetter, NodeCounts, OnProgress, RunResult
from sage_kernel.runtime.task_scope import TaskScope
from sage_kernel.spec import PipelineSpec
from sage_kernel.validation import problems_of


class LocalRunner:
    """Runs pipelines in this process. One runner may run several at once.

    Args:
        models: how nodes reach models.
        files: which files pipelines may touch.
        cache_dir: where vectors are kept between runs; None keeps nothing.
        queue_batches: most batches waiting before each node; memory is bounded by it.
        clock, sleep: time, for tests.
    """

    def __init__(
        self,
        models: ModelPort,
        *,
        files: FileAccess = ANY_FILE,
        cache_dir: Path | None = None,
        queue_batches: int = 4,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._models = models
        self._files = files
        self._cache_dir = cache_dir
        self._queue_batches = queue_batches
        self._clock = clock or MonotonicClock()
        self._sleep = sleep

    async def run(self, spec: PipelineSpec, on_progress: OnProgress | None = None) -> RunResult:
        """Run ``spec`` to its end. Cancel the task to stop it.

        Raises:
            PipelineInvalidError: the graph is wrong.
            NodeFailedError: a node failed; the first failure ends the run.
        """
        # In a thread, where it does not hold up the loop: the graph may be large.
        problems = await asyncio.to_thread(problems_of, spec)
        if problems:
            raise PipelineInvalidError(problems)
        nodes: Mapping[str, NodeSpec] = spec.nodes
        result = RunResult({}, {node_id: NodeCounts() for node_id in nodes})
        loop = asyncio.get_running_loop()
        context = RunContext(
            models=self._models,
            files=self._files,
            cache_dir=self._cache_dir,
            warn=lambda node, message: result.warnings.append((node, message)),
            skip=result.skipped.append,
            indexes={node_id: loop.create_future() for node_id, node in nodes.items() if node.makes_index},
            collections=result.collections,
        )
        started = self._clock.now()
        async with contextlib.AsyncExitStack() as closing:
            for index in context.indexes.values():
                closing.callback(index.cancel)
            await self._run_nodes(nodes, context, result, on_progress, closing)
        return RunResult(
            result.collections,
            result.counts,
            result.dead_letters,
            result.skipped,
            result.warnings,
            self._clock.now() - started,
        )

    async def _run_nodes(
        self,
        nodes: Mapping[str, NodeSpec],
        context: RunContext,
        result: RunResult,
        on_progress: OnProgress | None,
        closing: contextlib.AsyncExitStack,
    ) -> None:
        scope = TaskScope()
        unbounded = await asyncio.to_thread(sharing_ancestors, nodes)
        # A node that waits for an index must not hold up the records which that index is still to be made of: then
        # its queue has no bound.
        channels = {
            node_id: Channel(len(node.inputs), 0 if node_id in unbounded else self._queue_batches)
            for node_id, node in nodes.items()
            if node.takes_input
        }
        followers: dict[str, list[Channel]] = {node_id: [] for node_id in nodes}
        for node_id, node in nodes.items():
            for name in dict.fromkeys(node.inputs):
                followers[name].append(channels[node_id])
        runners: dict[str, SourceRunner | OperatorRunner] = {}
        for node_id, node in nodes.items():
            counts = result.counts[node_id]

            def changed(node_id: str = node_id, counts: NodeCounts = counts) -> None:
                if on_progress is not None:
                    on_progress(node_id, counts)

            output = NodeOutput(followers[node_id], counts, changed)
            made = _build(node_id, node, context)
            if not node.takes_input:
                runners[node_id] = SourceRunner(node_id, node, cast(Source, made), output)
                continue
            operator = cast(Operator, made)
            closing.push_async_callback(operator.close)
            runners[node_id] = OperatorRunner(
                node_id, node, operator, channels[node_id], output, counts,
                scope=scope, clock=self._clock, sleep=self._sleep, changed=changed, dead_letter=_keep_in(result),
            )  # fmt: skip
        for node_id, runner in runners.items():
            scope.spawn(runner.run(), node_id)
        await scope.join()


def _build(node_id: str, node: NodeSpec, context: RunContext) -> Source | Operator:
    try:
        made: Any = OPERATORS[node.op].build(node_id, node, context)
    except Exception as error:
        raise NodeFailedError(node_id, node.op, error) from error
    return cast("Source | Operator", made)


def _keep_in(result: RunResult) -> Callable[[DeadLetter], None]:
    def keep(letter: DeadLetter) -> None:
        if len(result.dead_letters) < MAX_DEAD_LETTERS:
            result.dead_letters.append(letter)

    return keep
