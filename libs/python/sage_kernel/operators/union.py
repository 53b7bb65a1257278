"""``union``: the records of several streams as one, in the order in which they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from sage_kernel.nodes import NodeSpec
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType, union_of


class UnionNode(NodeSpec):
    """Keeps the fields that all of its inputs have; whole and broken numbers become broken ones."""

    op: Literal["union"]

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the common fields, and report those of the same name whose types no type holds."""
        stream = union_of(inputs)
        for name, dtype in inputs[0].fields.items():
            types = [other.fields[name] for other in inputs if name in other.fields]
            if len(types) == len(inputs) and name not in stream.fields:
                different = next(other for other in types if other != dtype)
                message = f"{name!r} is {write_type(dtype)!r} in one input and {write_type(different)!r} in another"
                problems.add("in", message, "CAST or drop it in a map before the union")
        times = [other.event_time for other in inputs]
        if stream.event_time is None and all(times):
            message = f"its inputs have different event times: {', '.join(sorted({str(name) for name in times}))}"
            problems.add("in", message, "give that field the same name in every source")
        return stream


class Union:
    """Brings records to the common fields and types."""

    def __init__(self, node_id: str, spec: UnionNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._fields = [pl.col(name).cast(dtype) for name, dtype in union_of(inputs).fields.items()]

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with the common fields."""
        return frame.select(self._fields)


UNION = OperatorType(UnionNode, Union)
