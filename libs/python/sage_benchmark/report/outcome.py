"""What became of one request, whether it was sent over HTTP or simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.request import ServiceLevel

OK = 200


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """One request that was sent. Times are seconds from the start of the run, like the arrival's.

    Attributes:
        sent_at: when it really was sent; it lags the schedule where the load generator cannot keep up.
        first_token_at: when its first token came; for an answer in one piece, when it came. None: never.
        finished_at: when its last token came, or when it failed.
        tokens: tokens that came.
        status: HTTP status; 0 where there was no answer.
        error: what went wrong, as a word; empty for a complete answer.
        engine: who answered, where the server tells.
        queue_ms: milliseconds queued and ...
        attempts: dispatches that it took, where the server tells.
        token_times: when pieces of a streamed chat came, where that was noted.
        text: the answer's text, where it was asked to be kept.
    """

    arrival: Arrival
    sent_at: float
    first_token_at: float | None = None
    finished_at: float | None = None
    tokens: int = 0
    status: int = 0
    error: str = ""
    engine: str = ""
    queue_ms: float = 0.0
    attempts: int = 0
    text: str = ""
    token_times: Sequence[float] = ()

    @property
    def served(self) -> bool:
        """Whether the whole answer came."""
        return self.status == OK and not self.error and self.finished_at is not None

    @property
    def ttft_seconds(self) -> float | None:
        """Time to first token, from the scheduled arrival."""
        return None if self.first_token_at is None else self.first_token_at - self.arrival.at_seconds

    @property
    def tpot_seconds(self) -> float | None:
        """Mean time per output token after the first; None for answers with fewer than two, or in one piece."""
        if self.first_token_at is None or self.finished_at is None or self.tokens < 2 or not self.arrival.streaming:
            return None
        return (self.finished_at - self.first_token_at) / (self.tokens - 1)

    @property
    def end_to_end_seconds(self) -> float | None:
        """From the scheduled arrival to the last token; None for a request that was not served."""
        return self.finished_at - self.arrival.at_seconds if self.finished_at is not None and self.served else None

    def tokens_until(self, seconds: float) -> float:
        """Tokens that had come by then; in equal steps from the first to the last where their times were not noted."""
        first, last = self.first_token_at, self.finished_at
        if first is None or last is None or first > seconds:
            return 0.0
        if last <= seconds:
            return float(self.tokens)
        if self.token_times:
            return self.tokens * sum(at <= seconds for at in self.token_times) / len(self.token_times)
        return self.tokens * (seconds - first) / (last - first)


def level_of(arrival: Arrival) -> ServiceLevel:
    """The targets of a request: its class's defaults."""
    return DEFAULT_LEVEL[arrival.service_class]


def meets(outcome: RequestOutcome, level: ServiceLevel) -> bool:
    """Whether the request was served and within every target; a reject, error or time-out is a miss."""
    if not outcome.served:
        return False
    for seconds, target_ms in (
        (outcome.ttft_seconds, level.ttft_ms),
        (outcome.tpot_seconds, level.tpot_ms),
        (outcome.end_to_end_seconds, level.end_to_end_ms),
    ):
        if target_ms and seconds is not None and seconds * 1000 > target_ms:
            return False
    return True
