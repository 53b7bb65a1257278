"""What every node of a pipeline has, and what an operator's own spec adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

NODE_ID_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
NodeId = Annotated[str, StringConstraints(pattern=NODE_ID_PATTERN)]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class FieldUse(NamedTuple):
    """Something that a node uses (a record field, a node, a path), and the parameter that says so."""

    parameter: str
    name: str


class NodeSpec(BaseModel):
    """Base of every operator's spec. Subclasses set ``op`` to one literal.

    Attributes:
        inputs: ids of the nodes whose output comes in (``in`` in YAML); a single id may stand without a list.
        on_error: what a record does that fails after its retries: ``fail`` the run, be left out (``skip``), or be
            kept among the dead letters (``dlq``).
        retries: further attempts after an error that may pass.
        concurrency: most calls of the operator at once.
        ordered: emit records in the order in which they came in, rather than as they are done.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    # Parameters that the builder takes by position; "id" is the node's id.
    positional: ClassVar[tuple[str, ...]] = ()
    takes_input: ClassVar[bool] = True
    gives_output: ClassVar[bool] = True
    # Whether it makes an index, which other nodes need; see RunContext.indexes.
    makes_index: ClassVar[bool] = False

    op: str
    inputs: tuple[NodeId, ...] = Field((), alias="in", max_length=64)
    on_error: Literal["fail", "skip", "dlq"] = "fail"
    retries: int = Field(0, ge=0, le=20)
    concurrency: int = Field(1, ge=1, le=1024)
    ordered: bool = False

    @field_validator("inputs", mode="before")
    @classmethod
    def _one_input_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def needs(self) -> Iterator[FieldUse]:
        """Yield (parameter, node id) of nodes that must have finished before this one can work."""
        return iter(())

    def results(self) -> Iterator[FieldUse]:
        """Yield (parameter, name) of what a run leaves behind: every pipeline has one, and no name has two nodes."""
        return iter(())

    def paths(self) -> Iterator[FieldUse]:
        """Yield (parameter, path) of files and folders that this node reads or writes."""
        return iter(())

    def reads(self) -> Iterator[FieldUse]:
        """Yield the record fields that this node reads."""
        return iter(())

    def fields_out(self, fields_in: frozenset[str]) -> frozenset[str]:
        """Return the fields of output records, from those of input records."""
        return fields_in
