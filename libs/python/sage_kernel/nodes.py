"""What every node of a pipeline has, and what an operator's own spec adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from sage_kernel.stream_type import NodeProblems, StreamType, union_of

NODE_ID_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
NodeId = Annotated[str, StringConstraints(pattern=NODE_ID_PATTERN)]
# A node, or one of its further outputs: ``windows.late``, ``answers.errors``.
InputRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}(\.[a-z_]{1,32})?$")]
ERRORS_PORT = "errors"
# Records that came when their window had been given out; of a join, ``late_left`` and ``late_right``.
LATE_PORT = "late"
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class FieldUse(NamedTuple):
    """Something that a node uses (a record field, a node, a path, a URL), and the parameter that says so."""

    parameter: str
    name: str


class FunctionUse(NamedTuple):
    """A function that a node calls, ``package.module:name`` or callable, and the parameter that says so."""

    parameter: str
    function: Any


class Producer(NamedTuple):
    """A node and which of its outputs; ``port`` is empty for the main one."""

    node: str
    port: str


def producer_of(reference: str) -> Producer:
    """Return what an entry of ``in`` names."""
    node, _, port = reference.partition(".")
    return Producer(node, port)


class NodeSpec(BaseModel):
    """Base of every operator's spec. Subclasses set ``op`` to one literal.

    Attributes:
        inputs: ids of the nodes whose output comes in (``in`` in YAML); a single id may stand without a list, and
            ``node.port`` names a further output of a node, such as ``windows.late``.
        on_error: what a record does that fails after its retries: ``fail`` the run, be left out (``skip``), be kept
            among the dead letters (``dlq``), or leave by the node's output ``errors`` (``output``).
        retries: further attempts after an error that may pass.
        concurrency: most calls of the operator at once.
        ordered: emit records in the order in which they came in, rather than as they are done.
        parallelism: most tasks that a job on the mesh runs this node in; None leaves it to the planner.
        num_cpus, num_gpus, memory_mb: what a worker must have to run this node.
        labels: labels that such a worker must carry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    # Parameters that the builder takes by position; "id" is the node's id.
    positional: ClassVar[tuple[str, ...]] = ()
    # Whether the last of them takes all further values, as in key_by("shop", "day").
    takes_many: ClassVar[bool] = False
    # The parameter, a mapping, that gets the keywords which name no parameter, as in aggregate(n=count()).
    keywords_into: ClassVar[str | None] = None
    takes_input: ClassVar[bool] = True
    gives_output: ClassVar[bool] = True
    # Whether it makes an index, which other nodes need; see RunContext.indexes.
    makes_index: ClassVar[bool] = False
    # Whether each record waits for a model.
    calls_model: ClassVar[bool] = False
    # Where it can run.
    runners: ClassVar[frozenset[str]] = frozenset(("local", "mesh", "ray"))
    # How many inputs it can have at most; None for any number.
    most_inputs: ClassVar[int | None] = None

    op: str
    inputs: tuple[InputRef, ...] = Field((), alias="in", max_length=64)
    on_error: Literal["fail", "skip", "dlq", "output"] = "fail"
    retries: int = Field(0, ge=0, le=20)
    concurrency: int = Field(1, ge=1, le=1024)
    ordered: bool = False
    parallelism: int | None = Field(None, ge=1, le=1024)
    num_cpus: float = Field(0.0, ge=0, le=1024)
    num_gpus: float = Field(0.0, ge=0, le=64)
    memory_mb: int = Field(0, ge=0)
    labels: dict[str, str] = Field(default_factory=dict, max_length=32)

    @field_validator("inputs", mode="before")
    @classmethod
    def _one_input_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def knowledge(self) -> str | None:
        """The name of the knowledge base that this node searches or stores in; None for none."""
        return None

    @property
    def needs_models(self) -> bool:
        """Whether a run of this node has to reach models."""
        return self.calls_model

    def needs(self) -> Iterator[FieldUse]:
        """Yield (parameter, node id) of nodes that must have finished before this one can work."""
        return iter(())

    def held_inputs(self) -> frozenset[int]:
        """Return the positions in ``in`` whose records are handed on only when the other inputs have ended.

        They wait in a queue; where they share ancestors with the others, so that their source cannot be held back, it
        goes on on the disk.
        """
        return frozenset()

    @property
    def is_splittable(self) -> bool:
        """Whether several tasks, each with a part of the records, together give what one task gives. Operators that
        bring records together (aggregates, joins of two streams, indexes) say False."""
        return True

    @property
    def is_mergeable(self) -> bool:
        """Whether an operator that is not splittable can be made of parts: of partial results, see ``Grouping``, or,
        for a sink, of the records of each part one behind the other."""
        return False

    def results(self) -> Iterator[FieldUse]:
        """Yield (parameter, name) of what a run leaves behind: every pipeline has one, and no name has two nodes."""
        return iter(())

    def paths(self) -> Iterator[FieldUse]:
        """Yield (parameter, path) of files and folders that this node reads or writes."""
        return iter(())

    def urls(self) -> Iterator[FieldUse]:
        """Yield (parameter, URL) of what this node reads from or writes to over HTTP."""
        return iter(())

    def user_functions(self) -> Iterator[FunctionUse]:
        """Yield the functions that this node calls."""
        return iter(())

    def reads(self) -> Iterator[FieldUse]:
        """Yield the record fields that this node reads, those within a record by their path, as ``window.start``."""
        return iter(())

    @property
    def producers(self) -> tuple[Producer, ...]:
        """What comes in, in the order of ``in``."""
        return tuple(producer_of(reference) for reference in self.inputs)

    def ports(self) -> frozenset[str]:
        """Return the names of further outputs; an operator with its own adds them."""
        return frozenset((ERRORS_PORT,)) if self.on_error == "output" else frozenset()

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the type of the main output from those of the inputs, and report what is wrong with them.

        That the fields of ``reads`` are there has been checked.
        """
        return union_of(inputs)

    def shuffle_keys(self, inputs: Sequence[StreamType]) -> list[tuple[str, ...]]:
        """Return for each input the fields whose equal values must come together in one place; none for all."""
        return [stream.key for stream in inputs]

    def port_type(self, port: str, inputs: Sequence[StreamType]) -> StreamType:
        """Return the type of a further output: for ``errors`` the records as they came in, with why they failed."""
        return union_of(inputs).with_fields({"error": pl.String()} if port == ERRORS_PORT else {})
