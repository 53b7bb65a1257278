"""``vote``: classifies a record by the labels of those that were retrieved for it, the nearest neighbours' vote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType, union_of

# Columns beside a record's own; a field's name has no colon.
ROW, PLACE, LABEL, WEIGHT = ":row", ":place", ":label", ":weight"


class VoteNode(NodeSpec):
    """Adds the label that most of a list of labelled records have, such as the hits of a ``retrieve``.

    Each votes with its weight; a weight below 0 or none counts nothing, and a record without a label has no vote. Of
    equal sums that of the earlier record wins. Where nobody votes the label is null, and its share 0.

    Attributes:
        label: field of the listed records whose values are voted on.
        voters: field with the list.
        weight: field of the listed records with the weight of each vote; None gives each the same.
        into: field that gets the label; None names it as ``label`` does.
        share: field that gets the label's share of all votes, from 0 to 1.
    """

    positional = ("label",)

    op: Literal["vote"]
    label: FieldName
    voters: FieldName = "context"
    weight: FieldName | None = "score"
    into: FieldName | None = None
    share: FieldName | None = None

    def reads(self) -> Iterator[FieldUse]:
        """Yield the list."""
        yield FieldUse("voters", self.voters)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields, the label and its share."""
        stream = union_of(inputs)
        given = stream.fields.get(self.voters)
        if given is None:
            return stream
        fields = voter_fields(given)
        if fields is None:
            what = f"{self.voters!r} is {write_type(given)!r}, not a list of records"
            problems.add("voters", what, "name what a retrieve node adds")
            return stream
        for parameter, name in (("label", self.label), ("weight", self.weight)):
            if name is not None and name not in fields:
                what = f"the records of {self.voters!r} have no field {name!r}"
                problems.add(parameter, what + problems.suggestions.nearest(name, fields), "name one that they have")
        weight = fields.get(self.weight) if self.weight is not None else None
        if weight is not None and not weight.is_numeric():
            problems.add(
                "weight", f"{self.weight!r} is {write_type(weight)!r}, not a number", "name a field of numbers"
            )
        added: dict[str, pl.DataType] = {self.into or self.label: fields.get(self.label, pl.String())}
        if self.share is not None:
            added[self.share] = pl.Float64()
        return stream.replacing(added).with_fields(added)


def voter_fields(dtype: pl.DataType) -> dict[str, pl.DataType] | None:
    """Return the fields of the records of a list; None where it is no list of records."""
    inner = dtype.inner if isinstance(dtype, pl.List) else None
    return {f.name: f.dtype for f in inner.fields} if isinstance(inner, pl.Struct) else None  # type: ignore[misc]


class Vote:
    """Counts the votes of a batch of records in one query."""

    def __init__(self, node_id: str, spec: VoteNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._spec = spec

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with what was voted."""
        spec = self._spec
        voters = frame.select(pl.int_range(pl.len()).alias(ROW), pl.col(spec.voters).alias(LABEL))
        votes = voters.filter(pl.col(LABEL).list.len() > 0).explode(LABEL)
        weight = pl.lit(1.0) if spec.weight is None else pl.col(LABEL).struct.field(spec.weight).cast(pl.Float64)
        counted = (
            votes.select(
                pl.col(ROW),
                pl.int_range(pl.len()).alias(PLACE),
                weight.alias(WEIGHT),
                pl.col(LABEL).struct.field(spec.label).alias(LABEL),
            )
            .filter(pl.col(LABEL).is_not_null() & (pl.col(WEIGHT) > 0) & pl.col(WEIGHT).is_finite())
            .group_by(ROW, LABEL)
            .agg(pl.col(WEIGHT).sum(), pl.col(PLACE).min())
            .sort([ROW, WEIGHT, PLACE], descending=[False, True, False])
            .group_by(ROW, maintain_order=True)
            .agg(pl.col(LABEL).first(), pl.col(WEIGHT).first() / pl.col(WEIGHT).sum())
        )
        found = voters.select(ROW).join(counted, on=ROW, how="left", maintain_order="left")
        columns = [found.get_column(LABEL).alias(spec.into or spec.label)]
        if spec.share is not None:
            columns.append(found.get_column(WEIGHT).fill_null(0.0).alias(spec.share))
        return frame.with_columns(columns)


VOTE = OperatorType(VoteNode, Vote)
