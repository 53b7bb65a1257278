"""What is wrong with a pipeline, with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_common.errors import InvalidRequestError, SageError


@dataclass(frozen=True)
class Problem:
    """One error of a pipeline.

    Attributes:
        node: id of the node at fault; empty when it is the pipeline as a whole.
        field: parameter at fault; empty when there is no single one.
        message: what is wrong, with the value seen.
        remedy: what to do.
    """

    node: str
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = f"node {self.node!r}" if self.node else "pipeline"
        field = f", field {self.field!r}" if self.field else ""
        # A message may end in the question whether another name was meant.
        joint = " " if self.message.endswith("?") else "; "
        return f"{where}{field}: {self.message}{joint}{self.remedy}"


class PipelineInvalidError(InvalidRequestError):
    """A pipeline cannot run; ``problems`` are all of its errors."""

    default_code = "invalid_pipeline"

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = "one error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = "".join(f"\n- {problem}" for problem in problems)
        super().__init__(f"the pipeline has {count}:{lines}")
        self.problems = tuple(problems)


class NodeFailedError(SageError):
    """A node failed while the pipeline ran. ``cause`` is what it raised."""

    default_code = "node_failed"

    def __init__(self, node: str, op: str, cause: Exception) -> None:
        message = cause.message if isinstance(cause, SageError) else f"{type(cause).__name__}: {cause}"
        super().__init__(f"node {node!r} ({op}) failed: {message}")
        self.node = node
        self.cause = cause
