"""What requests have come to: one event a request, and sums of them by hour, tenant, key and model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HOUR_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One request that has ended.

    Attributes:
        at: when it ended, in seconds since 1970-01-01 UTC.
        key_id: of the issued key that it came with; empty for none.
        model: empty where the request ended before it was known.
        cached_tokens: those of the prompt that the engine had in its cache.
        nanos: what it cost, in billionths of the currency; 0 without a price.
        status: ``ok``, or the code of the error that ended it.
    """

    at: float
    request_id: str
    tenant: str
    key_id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    nanos: int
    status: str


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Several requests together.

    Attributes:
        failed: those of the requests that ended with an error.
    """

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    nanos: int = 0

    def plus(self, other: UsageSum) -> UsageSum:
        """Return both together."""
        return UsageSum(
            self.requests + other.requests,
            self.failed + other.failed,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
            self.nanos + other.nanos,
        )


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """What is summed together; ``hour`` is its beginning, in seconds since 1970-01-01 UTC."""

    hour: int
    tenant: str
    key_id: str
    model: str


Sums = Mapping[UsageGroup, UsageSum]


def summed(events: Iterable[UsageEvent]) -> dict[UsageGroup, UsageSum]:
    """Return the sums of events."""
    sums: dict[UsageGroup, UsageSum] = {}
    for event in events:
        hour = int(event.at // HOUR_SECONDS * HOUR_SECONDS)
        group = UsageGroup(hour, event.tenant, event.key_id, event.model)
        one = UsageSum(
            1,
            int(event.status != "ok"),
            event.prompt_tokens,
            event.cached_tokens,
            event.completion_tokens,
            event.nanos,
        )
        sums[group] = sums.get(group, UsageSum()).plus(one)
    return sums
