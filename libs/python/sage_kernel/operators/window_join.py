"""``window_join``: pairs of records of two streams whose vectors are alike, near in event time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.event_time.join_times import LATE_LEFT, LATE_RIGHT
from sage_kernel.event_time.similarity_join import SimilarityJoin, VectorSide
from sage_kernel.nodes import FieldName
from sage_kernel.operator import StatefulOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.joined_inputs import JoinedInputs
from sage_kernel.run_context import RunContext
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType
from sage_kernel.vector_columns import is_vector
from sage_libs.vector_pairs import best_pair_search


class WindowJoinNode(JoinedInputs):
    """Pairs of a left and a right record (``in: [left, right]``) with similar vectors, near in event time.

    Every pair that is similar enough is found: vectors are compared exactly. A pair has the fields of both and the
    similarity, the cosine rounded to six digits; a right field whose name the left has too gets the suffix ``_right``,
    and the keys of ``on``, where there are any, are there once. Its event time is that of the left record. Pairs are
    given out as soon as both records are there; with ``k``, when no further right record can come. A null vector is
    like nothing; one of zeros has similarity 0; one with NaN or of another length is an error of its record.

    Records before the watermark are late: they leave by the outputs ``late_left`` and ``late_right``.

    Attributes:
        threshold: least cosine similarity of a pair.
        by: field with the vector.
        right_by: the same of the right record where it has a different name.
        k: most pairs of a left record, the most similar ones; of equals the earlier right record. None keeps all.
        into: field that gets the similarity.
        max_rows: most records of either input that are near enough in time to be kept.
    """

    op: Literal["window_join"]
    threshold: float = Field(ge=-1.0, le=1.0)
    by: FieldName = "vector"
    right_by: FieldName | None = None
    k: int | None = Field(None, ge=1, le=10_000)
    into: FieldName = "similarity"
    max_rows: int = Field(1_000_000, ge=1)

    @model_validator(mode="after")
    def _is_bounded_in_time(self) -> WindowJoinNode:
        if self.within is None:
            raise ValueError("a window_join needs 'within: 10m', how far apart in time a pair may be")
        self.check_interval()
        return self

    @property
    def is_splittable(self) -> bool:
        """Two streams meet in one place."""
        return False

    def ports(self) -> frozenset[str]:
        """Return the outputs for late records beside those of every node."""
        return super().ports() | {LATE_LEFT, LATE_RIGHT}

    def port_type(self, port: str, inputs: Sequence[StreamType]) -> StreamType:
        """Return the type of late records: that of their input."""
        return self.late_type(port, inputs) or super().port_type(port, inputs)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the fields of a pair, and its similarity."""
        if len(inputs) != 2:
            problems.add("in", f"a window_join takes two inputs, got {len(inputs)}", "write 'in: [left, right]'")
            return StreamType(is_open=True)
        for parameter, name, stream in self._vectors(inputs):
            problems.missing(parameter, name, stream)
            dtype = stream.fields.get(name)
            if dtype is not None and not is_vector(dtype):
                what = f"{name!r} is {write_type(dtype)!r}, not a vector"
                problems.add(parameter, what, "name a field of type vector, such as that of an embed node")
        sizes = [stream.fields.get(name) for _, name, stream in self._vectors(inputs)]
        left, right = (dtype.size if isinstance(dtype, pl.Array) else None for dtype in sizes)
        if left is not None and right is not None and left != right:
            what = f"the vectors have {left} numbers on the left and {right} on the right"
            problems.add("by", what, "embed both with the same model")
        pair = self.pair_type(inputs, problems, is_timed=True)
        if self.into in pair.fields:
            problems.add("into", f"the records have a field {self.into!r} already", "give the similarity another name")
        return pair.with_fields({self.into: pl.Float64()})

    def _vectors(self, inputs: Sequence[StreamType]) -> list[tuple[str, str, StreamType]]:
        right = ("right_by", self.right_by) if self.right_by is not None else ("by", self.by)
        return [("by", self.by, inputs[0]), (*right, inputs[1])]


def build(node_id: str, spec: WindowJoinNode, context: RunContext, inputs: Sequence[StreamType]) -> StatefulOperator:
    """Make the operator of a node."""
    left, right = inputs
    columns = spec.columns(left, right)
    lower, upper = spec.interval()
    return SimilarityJoin(
        columns,
        (_side(spec.by, columns.left_on, left), _side(spec.right_by or spec.by, columns.right_on, right)),
        lower,
        upper,
        spec.threshold,
        best=spec.k,
        similarity=spec.into,
        max_rows=spec.max_rows,
        search=best_pair_search(),
    )


def _side(vector: str, on: tuple[str, ...], stream: StreamType) -> VectorSide:
    time = event_time_us(stream)
    # See JoinedInputs.pair_type.
    assert time is not None
    assert stream.event_time is not None
    return VectorSide(vector, on, time, stream.event_time)


WINDOW_JOIN = OperatorType(WindowJoinNode, build)
