"""The manager's decisions. The service carries them out on the ring, the simulator on its engine models."""

from __future__ import annotations

from enum import Enum

from sage_common.errors import SageError
from sage_common.value_type import value_type
from sage_control_plane.placement.placer import ScoredEngine
from sage_control_plane.request.request import Attempt, PendingRequest


class Outcome(Enum):
    """How a request ended, other than by refusal."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"


@value_type
class Dispatch:
    """Send the request to the engine.

    Attributes:
        tries: dispatches of this submission so far, this one included.
        queue_us: microseconds queued, over all tries.
        band: the policy's group; None for a hedge or where the policy has no groups.
        candidates: the engines considered, the chosen one first.
        predicted_ttft: seconds from now to its first token; None without a trusted prediction.
        hedge_of: for a hedge, the dispatch number of the attempt that runs at the same time; an ``Abort`` of the
            losing one follows. None otherwise.
    """

    request: PendingRequest
    engine_id: str
    attempt: Attempt
    tries: int
    queue_us: int
    band: str | None = None
    candidates: tuple[ScoredEngine, ...] = ()
    predicted_ttft: float | None = None
    hedge_of: int | None = None

    @property
    def hedge(self) -> bool:
        """Whether an earlier attempt runs at the same time."""
        return self.hedge_of is not None

    @property
    def request_id(self) -> str:
        """Id of the request."""
        return self.request.request_id


@value_type
class Refuse:
    """End the request with an error to its edge. ``attempt`` is above all earlier ones."""

    request_id: str
    attempt: Attempt
    error: SageError


@value_type
class Abort:
    """Stop attempts at a request.

    Attributes:
        up_to: the last attempt to stop.
        engine_id: the engine on which to stop them; None for every engine.
        unbegun: whether to stop only those whose answer has not begun.
    """

    request_id: str
    up_to: Attempt
    reason: str
    engine_id: str | None = None
    unbegun: bool = False


@value_type
class Interrupt:
    """Ask the request's edge to stop the attempt and to submit what is left of the request again.

    The attempt counts as running until the edge has stopped it, which it does only where it can continue the answer.

    Attributes:
        tries: dispatches of this submission so far.
    """

    request_id: str
    attempt: Attempt
    engine_id: str
    tries: int
    reason: str


@value_type
class Ended:
    """The request is no longer tracked; its edge gets the answer or the error from the executor."""

    request_id: str
    outcome: Outcome


Decision = Dispatch | Refuse | Abort | Interrupt | Ended
