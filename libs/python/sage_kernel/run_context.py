"""What a run offers to its operators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from sage_common.clock import Clock, MonotonicClock
from sage_kernel.answer_store import AnswerStore
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import NO_HOST, HostAccess
from sage_kernel.knowledge_access import KnowledgeAccess, NoKnowledge
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import NatsAccess, NoNats
from sage_kernel.operator import Record, Sink
from sage_kernel.search_index import SearchIndex
from sage_kernel.stage_targets import NO_TARGETS, StageTargets
from sage_kernel.stream_type import StreamType

Sleep = Callable[[float], Awaitable[None]]


class Skipped(NamedTuple):
    """Something that a source left out, and why."""

    node: str
    item: str
    reason: str


class DeadLetter(NamedTuple):
    """A record that failed at a node with ``on_error: dlq``, and why."""

    node: str
    record: Record
    error: str
    attempts: int


class CollectionSinks(Protocol):
    """Makes the sinks behind ``collection:NAME``: in memory for a run in this process, else results of a job."""

    def __call__(self, name: str, node_id: str, stream: StreamType) -> Sink:
        """Return the sink of a collection."""
        ...


@dataclass(frozen=True)
class RunContext:
    """What operators of one run share.

    Attributes:
        models: how to reach models.
        files: which files may be read and written.
        collections: makes the sinks of collections.
        cache_dir: where vectors and answers are kept between runs; None keeps nothing.
        warn: takes a warning for people, with the node's id.
        skip: takes what a source left out.
        dead_letter: keeps a record that failed.
        run_id: names the run, the same after a restart from a checkpoint.
        targets: within which time each node's requests to models are wanted.
        answers: where answers of models are kept; None keeps none.
        indexes: by id of an index node, the index when it is complete.
        functions: the functions that ``ref:`` may name.
        nats: how to reach NATS.
        hosts: which hosts may be talked to over HTTP.
        knowledge: the knowledge bases that may be searched and stored in.
        clock, sleep: time; ``now_us`` is the time of day in microseconds since 1970-01-01 UTC.
    """

    models: ModelPort
    files: FileAccess
    collections: CollectionSinks
    cache_dir: Path | None
    warn: Callable[[str, str], None]
    skip: Callable[[Skipped], None]
    dead_letter: Callable[[DeadLetter], Awaitable[None]]
    now_us: Callable[[], int]
    run_id: str
    indexes: dict[str, asyncio.Future[SearchIndex]] = field(default_factory=dict)
    functions: FunctionRegistry = NO_FUNCTIONS
    nats: NatsAccess = field(default_factory=NoNats)
    hosts: HostAccess = NO_HOST
    knowledge: KnowledgeAccess = field(default_factory=NoKnowledge)
    targets: StageTargets = NO_TARGETS
    answers: AnswerStore | None = None
    clock: Clock = field(default_factory=MonotonicClock)
    sleep: Sleep = asyncio.sleep
