"""Runs a bounded pipeline on Ray Data.

Ray reads splits, schedules, shuffles and spills; the kernels are those of the other runners. Records of one key are
brought together by Ray's ``groupby`` and go through the same stateful operators, in the order of their event time, so
nothing is late here. Sinks are written by the program that starts the run, as the records arrive.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy

from sage_common.errors import InternalError
from sage_kernel.connectors.collections import MemoryCollections
from sage_kernel.file_access import ANY_FILE, FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.graph import topological_order
from sage_kernel.model_port import ModelPort
from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.operator import AsyncOperator, Sink, Source, StatefulOperator
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import NodeFailedError, PipelineInvalidError, Problem
from sage_kernel.ray_runtime.arrow import to_frame
from sage_kernel.ray_runtime.node_step import StepSetting
from sage_kernel.ray_runtime.run_report import Failure, RunReport
from sage_kernel.ray_runtime.steps import (
    KEY,
    AsyncStep,
    ReadStep,
    StatefulStep,
    Tagged,
    TransformStep,
)
from sage_kernel.run_context import RunContext
from sage_kernel.run_target import RunTarget
from sage_kernel.runtime.opened_types import opened_types
from sage_kernel.runtime.progress import NodeCounts, RunResult
from sage_kernel.search_index import SearchIndex
from sage_kernel.spec import PipelineSpec
from sage_kernel.stream_type import StreamType
from sage_kernel.type_inference import infer_types
from sage_kernel.validation import problems_of

# Records in one call of a kernel.
_KERNEL_RECORDS = 65_536
_SINK_RECORDS = 8_192
_PARTITIONS_A_CPU = 2


class RayRunner:
    """Runs bounded pipelines on the Ray cluster that is connected, or on this machine where none is.

    Args:
        models: makes the port to models; called in each of Ray's actors that need it, so it must be picklable.
        files, functions, cache_dir: as for the local runner; the same paths in every worker.
    """

    def __init__(
        self,
        models: Callable[[], ModelPort],
        *,
        files: FileAccess = ANY_FILE,
        functions: FunctionRegistry = NO_FUNCTIONS,
        cache_dir: Path | None = None,
    ) -> None:
        self._models = models
        self._files = files
        self._functions = functions
        self._cache_dir = cache_dir

    async def run(self, spec: PipelineSpec) -> RunResult:
        """Run ``spec`` to its end.

        Raises:
            PipelineInvalidError: the graph is wrong, or a source of it never ends.
            NodeFailedError: a node failed.
        """
        problems = problems_of(spec, RunTarget("ray"))
        if problems:
            raise PipelineInvalidError(problems)
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
        # Progress is the report's counts; Ray's own goes to a file of its session.
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        DataContext.get_current().enable_progress_bars = False
        started = time.monotonic()
        report: Any = ray.remote(num_cpus=0)(RunReport).remote()
        collections = MemoryCollections()
        deadline = spec.settings.deadline
        setting = StepSetting(
            self._models,
            self._files,
            self._functions,
            self._cache_dir,
            secrets.token_hex(8),
            report,
            spec.nodes,
            time.time() + deadline / 1e6 if deadline is not None else None,
        )
        run = _Run(spec.nodes, setting, collections)
        try:
            await run.to_the_end()
        except Exception as error:
            told: Failure | None = (await report.read.remote())["failure"]
            if told is None or isinstance(error, PipelineInvalidError | NodeFailedError):
                raise
            raise NodeFailedError(told.node, told.op, InternalError(told.message)) from None
        told_all = await report.read.remote()
        counts = {node_id: NodeCounts(**told_all["counts"].get(node_id, {})) for node_id in spec.nodes}
        return RunResult(
            collections.records(),
            counts,
            told_all["letters"],
            told_all["skipped"],
            told_all["warnings"],
            time.monotonic() - started,
        )


class _Run:
    """One run: a Dataset a node, made in topological order; sinks pull them."""

    def __init__(self, nodes: Mapping[str, NodeSpec], setting: StepSetting, collections: MemoryCollections) -> None:
        self._nodes = nodes
        self._setting = setting
        self._context: RunContext = replace(setting.context(), collections=collections)
        self._data: dict[Producer, Dataset] = {}
        self._indexes: dict[str, Any] = {}
        self._types: Mapping[Producer, StreamType] = {}

    async def to_the_end(self) -> None:
        """Run everything."""
        self._types, problems = infer_types(self._nodes, (await opened_types(self._nodes, self._context))[0])
        found = [Problem(name, *what) for name, node in problems.items() for what in node.found]
        if found:
            raise PipelineInvalidError(found)
        for node_id in topological_order(self._nodes):
            await self._add(node_id, self._nodes[node_id])

    async def _add(self, node_id: str, node: NodeSpec) -> None:
        inputs = [self._types[producer] for producer in node.producers]
        operator = OPERATORS[node.op].build(node_id, node, self._context, inputs)
        sources = [self._data[producer] for producer in node.producers]
        setting = replace(self._setting, indexes={name: self._indexes[name] for _, name in node.needs()})
        arguments = (node_id, node, inputs, setting)
        if isinstance(operator, Source):
            made = await self._read(operator, arguments)
        elif isinstance(operator, Sink):
            await self._write(node_id, node, operator, sources)
            return
        elif node.makes_index:
            await self._index(node_id, operator, sources[0])
            return
        elif isinstance(operator, AsyncOperator):
            # One actor: the node's concurrency is that of the whole run, as it is elsewhere.
            made = _united(sources).map_batches(
                AsyncStep,
                fn_constructor_args=arguments,
                batch_format="pyarrow",
                batch_size=max(operator.batch_records, node.concurrency),
                compute=ActorPoolStrategy(size=1),
                num_cpus=0,
                **_resources(node),
            )
        elif isinstance(operator, StatefulOperator):
            made = await asyncio.to_thread(self._shuffled, node, inputs, sources, arguments)
        else:
            made = _united(sources).map_batches(
                TransformStep(*arguments),
                batch_format="pyarrow",
                batch_size=_KERNEL_RECORDS,
                compute=TaskPoolStrategy(size=node.parallelism),
                **_resources(node),
            )
        followers = sum(Producer(node_id, "") in other.producers for other in self._nodes.values())
        # What several read is computed once.
        self._data[Producer(node_id, "")] = await asyncio.to_thread(made.materialize) if followers > 1 else made

    async def _read(self, source: Source, arguments: tuple[Any, ...]) -> Dataset:
        splits = [{"split": orjson.dumps(split).decode()} for split in await source.splits()]
        listed = ray.data.from_items(splits, override_num_blocks=max(1, min(len(splits), 256)))
        return listed.map_batches(ReadStep(*arguments), batch_format="pyarrow", batch_size=1)

    def _shuffled(
        self, node: NodeSpec, inputs: list[StreamType], sources: list[Dataset], arguments: tuple[Any, ...]
    ) -> Dataset:
        keys = node.shuffle_keys(inputs)
        if len(keys) < len(sources):
            sources = [_united(sources)]
        numbers = frozenset(
            number
            for side, names in enumerate(keys)
            for number, name in enumerate(names)
            if inputs[side].fields[name].is_float()
        )
        tagged = [
            source.map_batches(Tagged(side, keys[side], numbers), batch_format="pyarrow", batch_size=_KERNEL_RECORDS)
            for side, source in enumerate(sources)
        ]
        step = StatefulStep(*arguments)
        # Ray's own 200 partitions are for clusters: each costs some milliseconds.
        processors = int(ray.cluster_resources().get("CPU", 1))
        partitions = max(1, _PARTITIONS_A_CPU * processors)
        made = _united(tagged).groupby(KEY, num_partitions=partitions).map_groups(step, batch_format="pyarrow")
        if any(keys):
            return made
        # Without a key there is one group, also where there are no records: a count of them is 0.
        made = made.materialize()
        return made if made.count() else ray.data.from_arrow(step.of_nothing())

    async def _index(self, node_id: str, operator: Any, source: Dataset) -> None:
        index: asyncio.Future[SearchIndex] = asyncio.get_running_loop().create_future()
        self._context.indexes[node_id] = index

        def collect() -> None:
            for table in source.iter_batches(batch_format="pyarrow", batch_size=_SINK_RECORDS):
                operator.on_batch(to_frame(table), 0)
            operator.on_end()

        await asyncio.to_thread(collect)
        self._indexes[node_id] = ray.put(await index)

    async def _write(self, node_id: str, node: NodeSpec, sink: Sink, sources: list[Dataset]) -> None:
        fields = self._types[node.producers[0]].fields
        records = 0
        try:
            async for table in _batches(_united(sources)):
                frame = to_frame(table, fields)
                if frame.height:
                    records += frame.height
                    await sink.write(frame)
            await sink.flush()
            await sink.publish()
        except (OSError, NodeFailedError) as error:
            raise NodeFailedError(node_id, node.op, error) from error
        finally:
            await sink.close()
            self._setting.report.count.remote(node_id, records, 0, 0)


def _united(sources: list[Dataset]) -> Dataset:
    return sources[0] if len(sources) == 1 else sources[0].union(*sources[1:])


def _resources(node: NodeSpec) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if node.num_gpus:
        wanted["num_gpus"] = node.num_gpus
    if node.memory_mb:
        wanted["memory"] = node.memory_mb << 20
    return wanted


async def _batches(data: Dataset) -> AsyncIterator[Any]:
    """Yield the tables of a dataset; the thread that waits for them is at most two ahead."""
    loop = asyncio.get_running_loop()
    tables: asyncio.Queue[Any] = asyncio.Queue(2)
    stopped = threading.Event()

    def pull() -> None:
        try:
            for table in data.iter_batches(batch_format="pyarrow", batch_size=_SINK_RECORDS):
                if stopped.is_set():
                    return
                asyncio.run_coroutine_threadsafe(tables.put(table), loop).result()
        except Exception as error:
            asyncio.run_coroutine_threadsafe(tables.put(error), loop).result()
            return
        asyncio.run_coroutine_threadsafe(tables.put(None), loop).result()

    pulling = loop.run_in_executor(None, pull)
    try:
        while (table := await tables.get()) is not None:
            if isinstance(table, Exception):
                raise table
            yield table
    finally:
        stopped.set()
        while not pulling.done():
            while not tables.empty():
                tables.get_nowait()
            await asyncio.wait({pulling}, timeout=0.05)
