"""The interface of scheduling policies: a policy orders the queue and picks the request that goes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sage_control_plane.policies.bands import Band
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.pick import Pick
from sage_control_plane.request.request import PendingRequest, Route

S = TypeVar("S")


class PoolView(Protocol):
    """The view of a pool that policies have. Every call is O(1)."""

    @property
    def saturation(self) -> float:
        """Share of the pool in use: 0 is idle, 1 is full."""
        ...

    @property
    def engines(self) -> int:
        """Engines that take work."""
        ...

    def turnover(self, request: PendingRequest) -> float:
        """Return how many requests like this one would begin in a second if they had all seats; 0 where not known."""
        ...

    def predicted_ttft_seconds(self, request: PendingRequest) -> float | None:
        """Return the expected time from dispatch to first token on a typical idle engine of the pool.

        It changes slowly, so it may be part of a static key. None without a trusted prediction.
        """
        ...

    def can_begin_within(self, request: PendingRequest, seconds: float) -> bool:
        """Return whether a free engine is expected to return the first token within ``seconds`` of a dispatch now.

        True without a trusted prediction.
        """
        ...

    def has_room(self, route: Route, band: Band, *, late: bool = False) -> bool:
        """Return whether a request of this route and band may take a seat and leave enough to more urgent work."""
        ...

    def holds_seat(self, route: Route, band: Band) -> bool:
        """Return whether the band holds a seat where requests of this route may get one."""
        ...

    def wait_seconds(self) -> float | None:
        """Return the expected time until the queue has drained: queued tokens / drain rate. None when not known."""
        ...


class SchedulingPolicy(Protocol):
    """Orders the queued requests of one pool.

    The mechanism opens and closes lanes; a policy picks from open lanes only. Every call is O(log n) in the number of
    queued requests, amortised. A policy reads no clock: ``now`` is in seconds of the scheduler's clock.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""
        ...

    def __len__(self) -> int:
        """Requests queued."""
        ...

    def refusal(self, request: PendingRequest, now: float, view: PoolView) -> str | None:
        """Return why a request is not to be queued, although the queue has room; None queues it."""
        ...

    def push(self, request: PendingRequest, lane: Lane, now: float, view: PoolView) -> None:
        """Queue a request whose id is not queued. A new lane is open."""
        ...

    def remove(self, request_id: str) -> bool:
        """Remove a request that was placed, cancelled or expired; return whether it was queued."""
        ...

    def next(self, now: float, view: PoolView) -> Pick | None:
        """Return the request that goes next, which stays queued; None when none in an open lane may go now."""
        ...

    def open(self, lane: Lane) -> None:
        """Allow picks from the lane: an engine may be free for it."""
        ...

    def close(self, lane: Lane) -> None:
        """Stop picking from the lane until it is opened: no engine is free for it."""
        ...

    def dispatched(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        """Charge the estimated cost of a placed request, where the policy accounts for it."""
        ...

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:
        """Charge the actual cost of an ended request beyond its estimate; negative refunds."""
        ...

    def ranks_before_bulk(self, request: PendingRequest) -> bool:
        """Return whether running bulk answers may be interrupted for the request. It does not change."""
        ...

    def next_change_at(self) -> float | None:
        """Return when the result of ``next`` may change without an event; None for never."""
        ...


@dataclass(frozen=True, slots=True)
class NoSettings:
    """Settings of a policy without settings."""


@dataclass(frozen=True, slots=True)
class PolicyType(Generic[S]):
    """A registry entry: a policy's name, its settings and how to make it.

    Attributes:
        settings: the dataclass of its settings, all with defaults; ``scheduler.<name>.<field>`` are their names.
        build: makes an empty policy from its settings.
    """

    name: str
    settings: type[S]
    build: Callable[[S], SchedulingPolicy]
