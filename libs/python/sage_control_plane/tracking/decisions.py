"""What the manager decides. The service carries decisions out; the simulator acts them out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sage_common.errors import SageError
from sage_control_plane.request.request import Attempt, PendingRequest


class Outcome(Enum):
    """How a request ended, other than by refusal."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the request to the engine.

    Attributes:
        tries: dispatches of this submission so far, this one included.
        queue_us: microseconds queued here, over all tries.
        band: the policy's group.
        candidates: (engine id, score) of the engines considered, the chosen one first.
        predicted_ttft: seconds from now to its first token; None when nothing trustworthy is known.
        hedge_of: of a hedge, the dispatch number of the attempt that goes on at the same time; an ``Abort`` of the
            losing one follows. 0 otherwise.
    """

    request: PendingRequest
    engine_id: str
    attempt: Attempt
    tries: int
    queue_us: int
    band: str = ""
    candidates: tuple[tuple[str, float], ...] = ()
    predicted_ttft: float | None = None
    hedge_of: int = 0

    @property
    def hedge(self) -> bool:
        """Whether an earlier attempt goes on at the same time."""
        return self.hedge_of > 0

    @property
    def request_id(self) -> str:
        """The request."""
        return self.request.request_id


@dataclass(frozen=True, slots=True)
class Refuse:
    """End the request with an error to its edge. ``attempt`` is above all earlier ones."""

    request_id: str
    attempt: Attempt
    error: SageError


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell executors to stop attempts up to and including this one, on one engine if it names one.

    Attributes:
        unbegun: only if the answer has not begun.
    """

    request_id: str
    up_to: Attempt
    reason: str
    engine_id: str = ""
    unbegun: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The request is off the entries; its edge has or will have the answer from elsewhere."""

    request_id: str
    outcome: Outcome


Decision = Dispatch | Refuse | Abort | Ended
