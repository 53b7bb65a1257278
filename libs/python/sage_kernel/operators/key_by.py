"""``key_by``: says by which fields the operators behind it group records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType, union_of


class KeyByNode(NodeSpec):
    """The records pass as they are; ``aggregate``, ``reduce`` and ``join`` read the key.

    Attributes:
        fields: of text, whole numbers, booleans or times.
    """

    positional = ("fields",)
    takes_many = True
    most_inputs = 1

    op: Literal["key_by"]
    fields: tuple[FieldName, ...] = Field(min_length=1, max_length=32)

    @field_validator("fields", mode="before")
    @classmethod
    def _one_field_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def reads(self) -> Iterator[FieldUse]:
        """Yield the key."""
        return (FieldUse("fields", name) for name in self.fields)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the records with their key."""
        stream = union_of(inputs)
        for name in self.fields:
            dtype = stream.fields.get(name)
            if dtype is not None and (dtype.is_nested() or dtype.is_float()):
                remedy = "name fields of text, whole numbers, booleans or times, or CAST it in a map"
                problems.add("fields", f"{name!r} is {write_type(dtype)!r}, which is no key", remedy)
        return replace(stream, key=self.fields)


class KeyBy:
    """Passes records on: the key is part of their type."""

    def __init__(self, node_id: str, spec: KeyByNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        pass

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records as they are."""
        return frame


KEY_BY = OperatorType(KeyByNode, KeyBy)
