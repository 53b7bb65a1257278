"""The local runner: a whole pipeline on one event loop."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from sage_common.clock import Clock, MonotonicClock
from sage_kernel.connectors.collections import MemoryCollections, OnRecords
from sage_kernel.file_access import ANY_FILE, FileAccess
from sage_kernel.file_answers import FileAnswers
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import ANY_HOST, HostAccess
from sage_kernel.knowledge_access import KnowledgeAccess, NoKnowledge
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import LazyNats, NatsAccess
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.run_context import DeadLetter, RunContext, Sleep
from sage_kernel.runtime.executor import Execution, ExecutionOptions
from sage_kernel.runtime.progress import MAX_DEAD_LETTERS, NodeCounts, OnProgress, RunResult
from sage_kernel.spec import PipelineSpec
from sage_kernel.stage_targets import StageTargets
from sage_kernel.state.checkpoint import CheckpointStore, NoCheckpoints
from sage_kernel.validation import problems_of


class LocalRunner:
    """Runs pipelines in this process. One runner may run several at once.

    Args:
        models: how nodes reach models.
        files: which files pipelines may touch.
        functions: which functions pipelines may name.
        hosts: which hosts pipelines may talk to over HTTP.
        knowledge: the knowledge bases that pipelines may search; None allows none.
        nats: how nodes reach NATS; None connects by this machine's settings when a node asks.
        cache_dir: where vectors and answers are kept between runs; None keeps nothing.
        queue_batches: most batches waiting before each node that waits; memory is bounded by it.
        clock, sleep, now_us: time, for tests; ``now_us`` counts microseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        models: ModelPort,
        *,
        files: FileAccess = ANY_FILE,
        functions: FunctionRegistry = NO_FUNCTIONS,
        hosts: HostAccess = ANY_HOST,
        knowledge: KnowledgeAccess | None = None,
        nats: NatsAccess | None = None,
        cache_dir: Path | None = None,
        queue_batches: int = 4,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._models = models
        self._files = files
        self._functions = functions
        self._hosts = hosts
        self._knowledge = knowledge or NoKnowledge()
        self._nats = nats
        self._cache_dir = cache_dir
        self._queue_batches = queue_batches
        self._clock = clock or MonotonicClock()
        self._sleep = sleep
        self._now_us = now_us

    async def run(
        self,
        spec: PipelineSpec,
        on_progress: OnProgress | None = None,
        checkpoints: CheckpointStore | None = None,
        on_start: Callable[[Execution], None] = lambda execution: None,
        on_records: OnRecords | None = None,
        collects: bool = True,
    ) -> RunResult:
        """Run ``spec`` to its end, from the last of ``checkpoints`` if there is one. Cancel the task to stop it.

        Args:
            on_start: gets the execution, which can be paused, resumed and stopped with a savepoint.
            on_records: told of what comes into a collection, as it comes.
            collects: whether the result has the records of collections.

        Raises:
            PipelineInvalidError: the graph is wrong.
            NodeFailedError: a node failed; the first failure ends the run.
        """
        # In a thread, where it does not hold up the loop: the graph may be large.
        problems = await asyncio.to_thread(problems_of, spec)
        if problems:
            raise PipelineInvalidError(problems)
        result = RunResult({}, {node_id: NodeCounts() for node_id in spec.nodes})
        collections = MemoryCollections(on_records, collects=collects)
        keeps_answers = checkpoints is not None or any(getattr(node, "cache", None) for node in spec.nodes.values())
        answers = FileAnswers(self._cache_dir / "answers.sqlite") if self._cache_dir and keeps_answers else None
        loop = asyncio.get_running_loop()
        own_nats = LazyNats()

        async def keep(letter: DeadLetter) -> None:
            if len(result.dead_letters) < MAX_DEAD_LETTERS:
                result.dead_letters.append(letter)

        context = RunContext(
            models=self._models,
            files=self._files,
            functions=self._functions,
            hosts=self._hosts,
            knowledge=self._knowledge,
            nats=self._nats or own_nats,
            collections=collections,
            cache_dir=self._cache_dir,
            warn=lambda node, message: result.warnings.append((node, message)),
            skip=result.skipped.append,
            dead_letter=keep,
            now_us=self._now_us,
            run_id=spec.spec_hash[:16] if checkpoints else secrets.token_hex(8),
            indexes={node_id: loop.create_future() for node_id, node in spec.nodes.items() if node.makes_index},
            targets=StageTargets(spec.nodes, self._until(spec.settings.deadline)),
            answers=answers,
            clock=self._clock,
            sleep=self._sleep,
        )
        options = ExecutionOptions(
            queue_batches=self._queue_batches,
            checkpoints=checkpoints or NoCheckpoints(),
            checkpoint_seconds=spec.settings.checkpoint_interval / 1e6 if checkpoints else None,
        )
        started = self._clock.now()
        try:
            execution = Execution(spec.nodes, spec.spec_hash, context, result.counts, options, on_progress)
            on_start(execution)
            is_complete = await execution.run()
        finally:
            for index in context.indexes.values():
                index.cancel()
            await own_nats.close()
            if answers is not None:
                answers.close()
        return RunResult(
            collections.records(),
            result.counts,
            result.dead_letters,
            result.skipped,
            result.warnings,
            self._clock.now() - started,
            is_stopped=not is_complete,
        )

    def _until(self, deadline_us: int | None) -> Callable[[], float] | None:
        """Return what tells the seconds that are left of a deadline that begins now."""
        if deadline_us is None:
            return None
        end = self._clock.now() + deadline_us / 1e6
        return lambda: end - self._clock.now()
