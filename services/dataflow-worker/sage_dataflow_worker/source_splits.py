"""Opens the sources of a pipeline in order to learn into which parts they can be read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sage_kernel.connectors.collections import MemoryCollections
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import FunctionRegistry
from sage_kernel.host_access import HostAccess
from sage_kernel.model_port import ModelPort
from sage_kernel.operator import DeadLetter, RunContext, Source, Split
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.placement.tasks import partitioned_sources
from sage_kernel.problems import NodeFailedError
from sage_kernel.spec import PipelineSpec


async def source_splits(
    spec: PipelineSpec, models: ModelPort, files: FileAccess, hosts: HostAccess, functions: FunctionRegistry
) -> Mapping[str, Sequence[Split]]:
    """Return the splits of the sources that may be partitioned; empty where one of them cannot be split.

    Raises:
        NodeFailedError: a source could not be opened.
    """
    names, _ = partitioned_sources(spec.nodes)
    context = RunContext(
        models=models,
        files=files,
        hosts=hosts,
        functions=functions,
        collections=MemoryCollections(),
        cache_dir=None,
        warn=lambda node, message: None,
        skip=lambda skipped: None,
        dead_letter=_drop,
        now_us=lambda: time.time_ns() // 1000,
        run_id="plan",
    )
    splits: dict[str, Sequence[Split]] = {}
    for name in sorted(names):
        node = spec.nodes[name]
        try:
            source = OPERATORS[node.op].build(name, node, context, ())
            assert isinstance(source, Source)
            splits[name] = await source.splits()
        except Exception as error:
            raise NodeFailedError(name, node.op, error) from error
    return splits


async def _drop(letter: DeadLetter) -> None:
    """Nothing is read, so nothing fails."""
