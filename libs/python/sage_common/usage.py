"""What requests have come to: one event a request, and sums of them by hour, tenant, key and model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage_common.value_type import value_type

HOUR_SECONDS = 3_600


@value_type
class UsageEvent:
    """One request that has ended.

    Attributes:
        at: when it ended, in seconds since 1970-01-01 UTC.
        key_id: of the issued key that it came with; empty for none.
        model: empty where the request ended before it was known.
        cached_tokens: those of the prompt that the engine had in its cache.
        nanos: what it cost, in billionths of the currency; 0 without a price.
        status: ``ok``, or the code of the error that ended it.
        route: the model route that it named; empty where it named the model itself.
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
    route: str = ""


@value_type
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


@value_type
class UsageGroup:
    """What is summed together; ``hour`` is its beginning, in seconds since 1970-01-01 UTC.

    Attributes:
        route: the model route that requests named; empty for those that named the model itself.
    """

    hour: int
    tenant: str
    key_id: str
    model: str
    route: str = ""


Sums = Mapping[UsageGroup, UsageSum]


def summed(events: Iterable[UsageEvent]) -> dict[UsageGroup, UsageSum]:
    """Return the sums of events."""
    counts: dict[tuple[int, str, str, str, str], list[int]] = {}
    for event in events:
        hour = int(event.at // HOUR_SECONDS * HOUR_SECONDS)
        key = (hour, event.tenant, event.key_id, event.model, event.route)
        count = counts.get(key)
        if count is None:
            count = counts[key] = [0] * 6
        count[0] += 1
        count[1] += event.status != "ok"
        count[2] += event.prompt_tokens
        count[3] += event.cached_tokens
        count[4] += event.completion_tokens
        count[5] += event.nanos
    return {UsageGroup(*key): UsageSum(*count) for key, count in counts.items()}
