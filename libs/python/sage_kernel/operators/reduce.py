"""``reduce``: one record of the records of each key and window, by an associative function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from sage_kernel.event_time.event_times import WINDOW
from sage_kernel.event_time.reduction import Reduction
from sage_kernel.nodes import FunctionUse
from sage_kernel.operator import StatefulOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.grouping import GroupingNode, check_grouping, grouped_type, grouping, input_type
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType
from sage_kernel.user_functions import FunctionRef, load


class ReduceNode(GroupingNode):
    """Gives out one record for each key and window, of the type of those that come in, and ``window``.

    Attributes:
        ref: an allowed function, as ``package.module:name``, that makes one record of two. It must be associative:
            it is called for records and for its own results.
    """

    positional = ("ref",)

    op: Literal["reduce"]
    ref: FunctionRef

    def user_functions(self) -> Iterator[FunctionUse]:
        """Yield the function."""
        yield FunctionUse("ref", self.ref)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields, the key first, and the window."""
        stream = input_type(inputs)
        check_grouping(stream, problems)
        results = {name: dtype for name, dtype in stream.fields.items() if name not in stream.key}
        output = grouped_type(stream, results, problems, "")
        return output if stream.window is not None else replace(output, event_time=stream.event_time)


def build(node_id: str, spec: ReduceNode, context: RunContext, inputs: Sequence[StreamType]) -> StatefulOperator:
    """Make the operator of a node. Raises PermissionDeniedError for a function that is not allowed."""
    stream = input_type(inputs)
    fields = {name: dtype for name, dtype in stream.fields.items() if name != WINDOW or stream.window is None}
    return grouping(stream, Reduction(load(spec.ref, context.functions), fields, stream.key))


REDUCE = OperatorType(ReduceNode, build)
