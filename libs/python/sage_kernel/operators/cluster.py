"""``cluster``: numbers groups of records whose vectors are alike, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from sage_kernel.durations import Duration
from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.event_time.leader_clusters import LeaderClusters
from sage_kernel.nodes import LATE_PORT, FieldName, FieldUse, NodeSpec
from sage_kernel.operator import StatefulOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.grouping import input_type
from sage_kernel.run_context import RunContext
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType
from sage_kernel.vector_columns import is_vector


class ClusterNode(NodeSpec):
    """Adds the number of the cluster that a record belongs to, from 1: records whose vectors are alike have the same.

    Records are taken in the order of their event time. Each joins the cluster to whose mean it is most similar, or
    begins one where none is similar enough: single-pass clustering, of topic detection in news. A record is given out
    when no earlier one is expected. A null vector is in no cluster; one with NaN or of another length is an error of
    its record. Records before the watermark are late: they leave by the output ``late``.

    Attributes:
        threshold: least cosine similarity to the mean of a cluster.
        within: how long after its last record a cluster is joined no more.
        by: field with the vector.
        into: field that gets the number.
        max_clusters: most that may be joined at a time.
    """

    positional = ("threshold",)
    most_inputs = 1

    op: Literal["cluster"]
    threshold: float = Field(ge=-1.0, le=1.0)
    within: Duration = Field(gt=0)
    by: FieldName = "vector"
    into: FieldName = "cluster"
    max_clusters: int = Field(10_000, ge=1)

    @property
    def is_splittable(self) -> bool:
        """All records meet in one place."""
        return False

    def ports(self) -> frozenset[str]:
        """Return ``late`` beside those of every node."""
        return super().ports() | {LATE_PORT}

    def reads(self) -> Iterator[FieldUse]:
        """Yield the vector."""
        yield FieldUse("by", self.by)

    def shuffle_keys(self, inputs: Sequence[StreamType]) -> list[tuple[str, ...]]:
        """Return no key: clusters are of all records."""
        return [() for _ in inputs]

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields and the number."""
        stream = input_type(inputs)
        dtype = stream.fields.get(self.by)
        if dtype is not None and not is_vector(dtype):
            what = f"{self.by!r} is {write_type(dtype)!r}, not a vector"
            problems.add("by", what, "name a field of type vector, such as that of an embed node")
        if stream.event_time is None:
            remedy = "set 'event_time' on the source, and keep the field"
            problems.add("", "its records have no event time, in whose order they are taken", remedy)
        if self.into in stream.fields:
            problems.add("into", f"the records have a field {self.into!r} already", "give the number another name")
        return stream.with_fields({self.into: pl.Int64()})


def build(node_id: str, spec: ClusterNode, context: RunContext, inputs: Sequence[StreamType]) -> StatefulOperator:
    """Make the operator of a node."""
    stream = input_type(inputs)
    time = event_time_us(stream)
    # See ClusterNode.infer.
    assert time is not None
    assert stream.event_time is not None
    return LeaderClusters(spec.by, spec.into, time, stream.event_time, spec.threshold, spec.within, spec.max_clusters)


CLUSTER = OperatorType(ClusterNode, build)
