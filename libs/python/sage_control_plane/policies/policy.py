"""What a scheduling policy is: it keeps the queue and says which request goes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sage_control_plane.policies.lanes import Lane
from sage_control_plane.request.request import PendingRequest

S = TypeVar("S")


class PoolView(Protocol):
    """What a policy may know of its pool. Everything here is O(1)."""

    @property
    def saturation(self) -> float:
        """Share of the pool's credits that is in use: 0 is idle, 1 is full."""
        ...

    @property
    def engines(self) -> int:
        """Engines that take work."""
        ...

    def predicted_ttft_seconds(self, request: PendingRequest) -> float | None:
        """Expected time from dispatch to first token on the pool's usual engine under its usual load.

        It changes slowly, so it may go into a key. None while nothing trustworthy is known.
        """
        ...

    def can_begin_within(self, request: PendingRequest, seconds: float) -> bool:
        """Whether a free engine is expected to give the first token so soon if the request goes to it now.

        True while nothing trustworthy is known.
        """
        ...

    def wait_seconds(self) -> float | None:
        """Expected time until all that is queued has been placed: work ahead / drain rate. None when not known."""
        ...


@dataclass(frozen=True, slots=True)
class Pick:
    """A policy's answer.

    Attributes:
        band: name of the group it was taken from, for explanations.
        shed: why the request is to be refused with 429 rather than served; empty serves it.
    """

    request: PendingRequest
    band: str = ""
    shed: str = ""


class SchedulingPolicy(Protocol):
    """Orders the queued requests of one pool.

    The mechanism opens and closes lanes; a policy picks from open lanes only. Every call is O(log n) in the number of
    queued requests, amortised. Nothing here reads a clock: ``now`` is seconds of the scheduler's clock.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""
        ...

    def __len__(self) -> int:
        """Requests queued."""
        ...

    def push(self, request: PendingRequest, lane: Lane, now: float, view: PoolView) -> None:
        """Queue a request whose id is not queued. A lane that was not known is open."""
        ...

    def remove(self, request_id: str) -> bool:
        """Take a request out, because it was placed, cancelled or expired; return whether it was queued."""
        ...

    def next(self, now: float, view: PoolView) -> Pick | None:
        """Return the request that goes next, which stays queued; None when nothing in an open lane may go now."""
        ...

    def open(self, lane: Lane) -> None:
        """An engine may be free for the lane."""
        ...

    def close(self, lane: Lane) -> None:
        """No engine is free for the lane until it is opened again."""
        ...

    def dispatched(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        """A request was placed: charge its estimated cost to whoever pays."""
        ...

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:
        """A request has ended, and cost so much more (or less, when negative) than was charged for it."""
        ...

    def next_change_at(self) -> float | None:
        """When ``next`` may answer differently without any event in between; None for never."""
        ...


@dataclass(frozen=True, slots=True)
class NoSettings:
    """Of a policy that has nothing to set."""


@dataclass(frozen=True, slots=True)
class PolicyType(Generic[S]):
    """A registry entry: a policy's name, its settings and how to make it.

    Attributes:
        settings: the dataclass of its settings, all with defaults; ``scheduler.<name>.<field>`` are their names.
        build: makes an empty policy.
    """

    name: str
    settings: type[S]
    build: Callable[[S], SchedulingPolicy]
