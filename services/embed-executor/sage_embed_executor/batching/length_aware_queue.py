"""Which queued texts are embedded together, and whose turn it is.

On a CPU the cost of a batch is that of its padded rectangle, so a batch of mixed lengths is slower than no batch
at all. A batch is therefore seeded with one item and filled with the items nearest to it in length, within a token
budget and a limit on padding, as long as each makes a token of the batch cheaper: as long as its part in what a batch
costs beside its tokens is more than the padding that it adds. The seed is the oldest item of the request that is
furthest behind its equal share of the tokens computed: a short request waits for what is being computed, not for all
of a long one, and the long one still moves on. Source: weighted fair queueing, Parekh and Gallager (IEEE/ACM ToN
1(3), 1993), with equal weights.

Deadlines come before shares where they matter: a request that would miss its deadline by waiting for one more batch,
and still can meet it, goes first, least laxity first, and its batch grows only as far as the deadline allows. One that
is late already goes by its share, since serving the late first makes everybody late. Once most of those that wait for
a deadline are late, with more than a batch to do, there is more work than time, and batches are whole again: small
ones would only add to it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Generic, TypeVar

from sage_embed_executor.batching.batch_cost import BatchPace

K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=Hashable)


# A batch of fewer takes hardly less time.
LEAST_SHARED_TOKENS = 64


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How far a batch may grow.

    Attributes:
        token_budget: most tokens in a batch with padding, ``items * longest``; one item alone may exceed it.
        max_padding_share: most of those tokens that may be padding, from 0 (equal lengths only) to 1.
    """

    token_budget: int = 512
    max_padding_share: float = 0.25

    def allow(self, items: int, longest: int, tokens: int) -> bool:
        """Say whether a batch of ``items`` with ``tokens`` in all and the longest of ``longest`` is within limits."""
        padded = items * longest
        return padded <= self.token_budget and padded - tokens <= self.max_padding_share * padded

    def shared(self, tokens: int, takers: int) -> BatchLimits:
        """Limits for one of several who take batches of the same few tokens at the same time."""
        if takers == 1 or tokens >= takers * self.token_budget:
            return self
        return replace(self, token_budget=min(self.token_budget, max(LEAST_SHARED_TOKENS, -(-tokens // takers))))


@dataclass(frozen=True, slots=True)
class Batch(Generic[K]):
    """Items to be computed together, the seed first.

    Attributes:
        keys: the items.
        tokens: tokens in them.
        longest: tokens in the longest.
    """

    keys: tuple[K, ...]
    tokens: int
    longest: int

    @property
    def padded_tokens(self) -> int:
        """Tokens with padding."""
        return len(self.keys) * self.longest


@dataclass(slots=True)
class _Share(Generic[K]):
    """An active request: virtual time up to which it has been served, and what it still waits for."""

    served_until: float
    number: int
    deadline: float
    items: deque[_Item[K]] = field(default_factory=deque)
    waiting_tokens: int = 0


@dataclass(slots=True, eq=False)
class _Item(Generic[K]):
    key: K
    tokens: int
    # Those who want it; the first has queued it and is charged for it.
    wanted_by: list[_Share[K]]


# Number of the item, for age, and the item; one that is no longer queued is skipped when it surfaces.
_Heap = list[tuple[int, _Item[K]]]


class LengthAwareQueue(Generic[R, K]):
    """Items wanted by requests. A batch costs O(log n) an item, plus the active requests and the distinct lengths.

    Virtual time is in tokens. It passes as fast as each active request would be served under equal sharing. Deadlines
    are seconds of the caller's clock; they count once ``pace`` has something to predict with.
    """

    def __init__(self, limits: BatchLimits, pace: BatchPace | None = None) -> None:
        self._limits = limits
        self._pace = pace or BatchPace()
        self._shares: dict[R, _Share[K]] = {}
        self._items: dict[K, _Item[K]] = {}
        self._by_length: dict[int, _Heap[K]] = {}
        self._numbers = count()
        self._tokens = 0
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: K) -> bool:
        return key in self._items

    @property
    def tokens(self) -> int:
        """Tokens queued, without padding."""
        return self._tokens

    def open(self, request: R, deadline: float = math.inf) -> None:
        """A request becomes active; it is to be complete at ``deadline``."""
        self._shares[request] = _Share(self._now, next(self._numbers), deadline)

    def add(self, request: R, key: K, tokens: int) -> None:
        """An open request wants an item of ``tokens`` (>= 1); one that is queued already has one more who wants it."""
        if tokens < 1:
            raise ValueError(f"an item has at least one token, got {tokens}")
        share = self._shares[request]
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(key, tokens, [])
            self._tokens += tokens
            heapq.heappush(self._by_length.setdefault(tokens, []), (next(self._numbers), item))
        item.wanted_by.append(share)
        share.items.append(item)
        share.waiting_tokens += item.tokens

    def close(self, request: R) -> list[K]:
        """A request is complete or given up; return the items that were queued for it alone, which are dropped."""
        share = self._shares.pop(request)
        dropped = []
        for item in share.items:
            if not self._queued(item):
                continue
            item.wanted_by.remove(share)
            if not item.wanted_by:
                self._remove(item)
                dropped.append(item.key)
        return dropped

    def discard(self, key: K) -> None:
        """Take an item out that is computed elsewhere; a no-op when it is not queued."""
        item = self._items.get(key)
        if item is not None:
            self._remove(item)

    def take(self, now: float = 0.0, takers: int = 1) -> Batch[K] | None:
        """Take the next batch out; None when nothing is queued.

        Args:
            now: the time, for the deadlines.
            takers: how many are about to take a batch, the caller among them. What is left is shared out among them.
        """
        pressed, overloaded = self._pressed(now)
        share = pressed or self._next_share()
        if share is None:
            return None
        seed = share.items[0]
        # Nobody's deadline is served by a batch that ends after it.
        time_left = pressed.deadline - now if pressed and not overloaded else math.inf
        limits, overhead = self._limits.shared(self._tokens, takers), self._pace.overhead_tokens
        items = [seed]
        tokens = longest = seed.tokens
        self._remove(seed)
        lengths = sorted(self._by_length)
        shorter = [length for length in lengths if length <= seed.tokens]
        longer = [length for length in reversed(lengths) if length > seed.tokens]
        while side := self._nearer_side(shorter, longer, seed.tokens):
            length = side[-1]
            wider = max(longest, length)
            padded = (len(items) + 1) * wider
            cheaper = (padded + overhead) * tokens <= (len(items) * longest + overhead) * (tokens + length)
            allowed = cheaper and limits.allow(len(items) + 1, wider, tokens + length)
            if not allowed or (time_left < math.inf and self._pace.seconds(padded) > time_left):
                # Lengths further out on this side only cost more.
                side.clear()
                continue
            item = self._by_length[length][0][1]
            items.append(item)
            tokens += length
            longest = wider
            self._remove(item)
        for item in items:
            item.wanted_by[0].served_until += item.tokens
        self._now += tokens / max(1, len(self._shares))
        return Batch(tuple(item.key for item in items), tokens, longest)

    def _pressed(self, now: float) -> tuple[_Share[K] | None, bool]:
        """The request with the least laxity among those that one more batch before them would make late; and whether
        most of the waiting requests with a deadline are late already, with more than a batch to do."""
        whole_batch = self._pace.seconds(self._limits.token_budget)
        if not whole_batch:
            return None, False
        waiting = late = late_tokens = 0
        best: _Share[K] | None = None
        best_laxity = whole_batch
        for share in self._shares.values():
            if share.deadline == math.inf or not self._waits(share):
                continue
            laxity = share.deadline - now - self._pace.seconds(share.waiting_tokens)
            waiting += 1
            if laxity < 0:
                late += 1
                late_tokens += share.waiting_tokens
            if 0 <= laxity < best_laxity:
                best, best_laxity = share, laxity
        return best, 2 * late > waiting and late_tokens > self._limits.token_budget

    def _next_share(self) -> _Share[K] | None:
        waiting = (share for share in self._shares.values() if self._waits(share))
        return min(waiting, key=_turn, default=None)

    def _waits(self, share: _Share[K]) -> bool:
        """Whether something of it is queued; its oldest item is first then."""
        while share.items and not self._queued(share.items[0]):
            share.items.popleft()
        return bool(share.items)

    def _nearer_side(self, shorter: list[int], longer: list[int], seed: int) -> list[int] | None:
        """The side whose last length is nearer to the seed's and still has items; the shorter one on a tie."""
        for side in (shorter, longer):
            while side and not self._has_length(side[-1]):
                side.pop()
        if shorter and longer:
            return shorter if seed - shorter[-1] <= longer[-1] - seed else longer
        return shorter or longer or None

    def _has_length(self, length: int) -> bool:
        heap = self._by_length.get(length, [])
        while heap and not self._queued(heap[0][1]):
            heapq.heappop(heap)
        if not heap:
            self._by_length.pop(length, None)
        return bool(heap)

    def _queued(self, item: _Item[K]) -> bool:
        return self._items.get(item.key) is item

    def _remove(self, item: _Item[K]) -> None:
        del self._items[item.key]
        self._tokens -= item.tokens
        for share in item.wanted_by:
            share.waiting_tokens -= item.tokens


def _turn(share: _Share[K]) -> tuple[float, int, int]:
    # Among equals the shorter one: it delays the other less.
    return share.served_until, share.waiting_tokens, share.number
