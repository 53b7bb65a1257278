"""What is wrong with a pipeline, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sage_common.errors import ConflictError, InvalidRequestError, SageError
from sage_common.setting_table import nearest

# More of them help nobody, and each takes time and room.
MAX_PROBLEMS = 100
MAX_SUGGESTIONS = 10
MAX_EFFORT = 500_000
MAX_NAME_CHARACTERS = 80
MAX_MESSAGE_CHARACTERS = 500
MAX_RECORD_CHARACTERS = 300


class Suggestions:
    """The names that were probably meant, for the first few names that are wrong: finding one takes milliseconds."""

    def __init__(self, limit: int = MAX_SUGGESTIONS) -> None:
        self._left = limit

    def nearest(self, name: str, known: Iterable[str]) -> str:
        """Return what to add to a message about ``name``; empty once there have been enough of them."""
        if self._left <= 0:
            return ""
        self._left -= 1
        return nearest(name, known)


class Effort:
    """How much work it may be to follow types through one pipeline, in about microseconds: it may come from anyone."""

    def __init__(self, limit: int = MAX_EFFORT) -> None:
        self._left = limit

    @property
    def is_spent(self) -> bool:
        """Whether nothing more is looked at."""
        return self._left <= 0

    def spend(self, cost: int) -> None:
        """Take note of work."""
        self._left -= cost


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

    def shortened(self) -> Problem:
        """Return this problem with names and texts that are fit to be shown and sent."""
        return Problem(
            _shown(self.node, MAX_NAME_CHARACTERS),
            _shown(self.field, MAX_NAME_CHARACTERS),
            _shown(self.message, MAX_MESSAGE_CHARACTERS),
            _shown(self.remedy, MAX_MESSAGE_CHARACTERS),
        )

    def __str__(self) -> str:
        short = self.shortened()
        where = f"node {short.node!r}" if short.node else "pipeline"
        field = f", field {short.field!r}" if short.field else ""
        # A message may end in the question whether another name was meant.
        joint = " " if short.message.endswith("?") else "; "
        return f"{where}{field}: {short.message}{joint}{short.remedy}"


def _shown(text: str, limit: int) -> str:
    """Return ``text``, shortened, and without halves of surrogate pairs, which no encoding has a form for."""
    short = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return short.encode("utf-8", "backslashreplace").decode()


class PipelineInvalidError(InvalidRequestError):
    """A pipeline cannot run; ``problems`` are all of its errors, or the first ``MAX_PROBLEMS`` of them."""

    default_code = "invalid_pipeline"

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = "one error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = "".join(f"\n- {problem}" for problem in problems)
        super().__init__(f"the pipeline has {count}:{lines}")
        self.problems = tuple(problems)


def message_of(error: Exception) -> str:
    """Return what an error says; that of a foreign one with its kind."""
    return error.message if isinstance(error, SageError) else f"{type(error).__name__}: {error}"


class NodeFailedError(SageError):
    """A node failed while the pipeline ran.

    Attributes:
        cause: what it raised.
        record: the record that is to blame, where there is one.
    """

    default_code = "node_failed"

    def __init__(self, node: str, op: str, cause: Exception, record: Mapping[str, Any] | None = None) -> None:
        message = message_of(cause)
        at = f"; at the record {_shown(str(dict(record)), MAX_RECORD_CHARACTERS)}" if record is not None else ""
        super().__init__(f"node {node!r} ({op}) failed: {message}{at}")
        self.node = node
        self.cause = cause
        self.record = record


class PositionGoneError(ConflictError):
    """What a source was to read from a checkpoint's position on is no longer there. A run is never silent about it.

    Args:
        what: what is gone, with the position: ``the stream ORDERS begins at message 500, and message 120 was next``.
        remedy: what to do, such as ``start the job again from what is there, without its checkpoint``.
    """

    default_code = "position_gone"

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
