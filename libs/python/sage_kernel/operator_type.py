"""An entry of the registry of operators: what its nodes are written as, and how one is made to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import AnyOperator
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import StreamType

S = TypeVar("S", bound=NodeSpec)


@dataclass(frozen=True)
class OperatorType(Generic[S]):
    """A registry entry: an operator's spec and how to make it run.

    Attributes:
        spec: the Pydantic model of its nodes.
        build: makes the operator from node id, spec, context and the types of its inputs, in the order of ``in``.
    """

    spec: type[S]
    build: Callable[[str, S, RunContext, Sequence[StreamType]], AnyOperator]

    @property
    def op(self) -> str:
        """The operator's name in YAML."""
        literal: str = self.spec.model_fields["op"].annotation.__args__[0]  # type: ignore[union-attr]
        return literal
