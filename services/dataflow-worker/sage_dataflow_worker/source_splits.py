"""Opens the sources of a pipeline in order to learn into which parts they can be read, and how much they hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sage_common.errors import SageError
from sage_kernel.connectors.collections import MemoryCollections
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import FunctionRegistry
from sage_kernel.host_access import HostAccess
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import NatsAccess
from sage_kernel.operator import CountedSource, Source, Split
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.placement.tasks import partitioned_sources
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import DeadLetter, RunContext
from sage_kernel.spec import PipelineSpec


@dataclass(frozen=True)
class SourceParts:
    """What the sources of a pipeline hold.

    Attributes:
        splits: of the sources that may be partitioned; empty where one of them cannot be split.
        counted: those of them, or of all where none may, that can say how many records they have.
    """

    splits: Mapping[str, Sequence[Split]] = field(default_factory=dict)
    counted: Mapping[str, CountedSource] = field(default_factory=dict)


async def source_parts(
    spec: PipelineSpec,
    models: ModelPort,
    files: FileAccess,
    hosts: HostAccess,
    functions: FunctionRegistry,
    nats: NatsAccess,
) -> SourceParts:
    """Return what the sources of a pipeline hold.

    Raises:
        NodeFailedError: a source that may be partitioned could not be opened.
    """
    names, _ = partitioned_sources(spec.nodes)
    context = RunContext(
        models=models,
        files=files,
        hosts=hosts,
        functions=functions,
        nats=nats,
        collections=MemoryCollections(),
        cache_dir=None,
        warn=lambda node, message: None,
        skip=lambda skipped: None,
        dead_letter=_drop,
        now_us=lambda: time.time_ns() // 1000,
        run_id="plan",
    )
    splits: dict[str, Sequence[Split]] = {}
    counted: dict[str, CountedSource] = {}
    for name in sorted(names or (one for one, node in spec.nodes.items() if not node.takes_input)):
        node = spec.nodes[name]
        try:
            source = OPERATORS[node.op].build(name, node, context, ())
            assert isinstance(source, Source)
            if name in names:
                splits[name] = await source.splits()
        except Exception as error:
            if name not in names:
                continue  # its task says why it could not be opened
            raise NodeFailedError(name, node.op, error) from error
        if isinstance(source, CountedSource):
            counted[name] = source
    return SourceParts(splits, counted)


async def record_counts(counted: Mapping[str, CountedSource]) -> dict[str, int]:
    """Return how many records each source has; one that cannot be counted is left out, its task says why."""
    counts: dict[str, int] = {}
    for name, source in counted.items():
        with contextlib.suppress(SageError, OSError):
            counts[name] = await source.count()
    return counts


async def _drop(letter: DeadLetter) -> None:
    """Nothing is read, so nothing fails."""
