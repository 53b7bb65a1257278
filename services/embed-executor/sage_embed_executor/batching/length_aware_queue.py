"""Which queued texts are embedded together, and which request is served next.

On a CPU the cost of a batch is that of its padded rectangle, so a batch of mixed lengths is slower than no batch
at all. A batch is therefore seeded with one item and filled with the items nearest to it in length, within a token
budget and a limit on padding, as long as each lowers the cost of a token: as long as its part of the fixed cost of a
batch exceeds the padding that it adds. The seed is the oldest item of the request that is furthest behind its equal
share of the tokens computed: a short request waits for the batch being computed, not for all of a long request, and
the long request still progresses. Source: weighted fair queueing, Parekh and Gallager (IEEE/ACM ToN 1(3), 1993), with
equal weights.

Deadlines come before shares where they matter: a request that would miss its deadline by waiting for one more batch,
and can still meet it, goes first, least laxity first, and its batch grows only as far as the deadline allows. A request
that is late already goes by its share, since serving the late first makes every request late. Once most of the queued
requests with a deadline are late, with more than a batch to do, the queue is overloaded and batches are whole again:
small ones would only add to the work.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Generic, TypeVar

from sage_embed_executor.batching.batch_cost import BatchCostModel

K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=Hashable)


# A smaller batch takes hardly less time.
MIN_SPLIT_TOKENS = 64


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
        """Return whether a batch of ``items`` with ``tokens`` in all, the longest of ``longest``, is within limits."""
        padded = items * longest
        return padded <= self.token_budget and padded - tokens <= self.max_padding_share * padded

    def split(self, tokens: int, streams: int) -> BatchLimits:
        """Return the limits for one of ``streams`` that take batches of the same ``tokens`` at the same time."""
        if streams == 1 or tokens >= streams * self.token_budget:
            return self
        return replace(self, token_budget=min(self.token_budget, max(MIN_SPLIT_TOKENS, -(-tokens // streams))))


@dataclass(frozen=True, slots=True)
class TokenBatch(Generic[K]):
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
class _ActiveRequest(Generic[K]):
    """A request's place in the fair order: the virtual time up to which it is served, and its queued items."""

    served_until: float
    number: int
    deadline: float
    items: deque[_Item[K]] = field(default_factory=deque)
    queued_tokens: int = 0


@dataclass(slots=True, eq=False)
class _Item(Generic[K]):
    key: K
    tokens: int
    # The requests that want it; the first one queued it and is charged for it.
    requests: list[_ActiveRequest[K]]


# Sequence number of the item, for age, and the item; one that is no longer queued is skipped when it surfaces.
_Heap = list[tuple[int, _Item[K]]]


class LengthAwareQueue(Generic[R, K]):
    """Items wanted by requests. A batch costs O(log n) an item, plus the active requests and the distinct lengths.

    Virtual time is in tokens. It passes as fast as each active request would be served under equal sharing. Deadlines
    are seconds of the caller's clock; they count once ``cost_model`` predicts. Not thread-safe.
    """

    def __init__(self, limits: BatchLimits, cost_model: BatchCostModel | None = None) -> None:
        self._limits = limits
        self._cost_model = cost_model or BatchCostModel()
        self._requests: dict[R, _ActiveRequest[K]] = {}
        self._items: dict[K, _Item[K]] = {}
        self._by_length: dict[int, _Heap[K]] = {}
        self._numbers = count()
        self._tokens = 0
        self._virtual_time = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: K) -> bool:
        return key in self._items

    @property
    def tokens(self) -> int:
        """Tokens queued, without padding."""
        return self._tokens

    def open(self, request: R, deadline: float = math.inf) -> None:
        """Make a request active; ``deadline`` is when it is to be complete."""
        self._requests[request] = _ActiveRequest(self._virtual_time, next(self._numbers), deadline)

    def add(self, request: R, key: K, tokens: int) -> None:
        """Queue an item of ``tokens`` for an open request; an item that is queued already is shared.

        Raises:
            ValueError: ``tokens`` is less than 1.
        """
        if tokens < 1:
            raise ValueError(f"an item has at least one token, got {tokens}")
        active = self._requests[request]
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(key, tokens, [])
            self._tokens += tokens
            heapq.heappush(self._by_length.setdefault(tokens, []), (next(self._numbers), item))
        item.requests.append(active)
        active.items.append(item)
        active.queued_tokens += item.tokens

    def close(self, request: R) -> list[K]:
        """Remove a request, complete or given up; return the items that were queued for it alone, removed with it."""
        active = self._requests.pop(request)
        dropped = []
        for item in active.items:
            if not self._is_queued(item):
                continue
            item.requests.remove(active)
            if not item.requests:
                self._remove(item)
                dropped.append(item.key)
        return dropped

    def discard(self, key: K) -> None:
        """Remove an item that is computed elsewhere; a no-op when it is not queued."""
        item = self._items.get(key)
        if item is not None:
            self._remove(item)

    def take(self, now: float = 0.0, streams: int = 1) -> TokenBatch[K] | None:
        """Remove and return the next batch; None when nothing is queued.

        Args:
            now: the time, for the deadlines.
            streams: how many are about to take a batch, the caller among them; few tokens are split between them.
        """
        urgent, overloaded = self._most_urgent(now)
        request = urgent or self._furthest_behind()
        if request is None:
            return None
        seed = request.items[0]
        # A batch that ends after the deadline does not help to meet it.
        time_left = urgent.deadline - now if urgent and not overloaded else math.inf
        limits, overhead = self._limits.split(self._tokens, streams), self._cost_model.overhead_tokens
        predict_seconds = self._cost_model.predict_seconds
        items = [seed]
        tokens = longest = seed.tokens
        self._remove(seed)
        lengths = sorted(self._by_length)
        shorter = [length for length in lengths if length <= seed.tokens]
        longer = [length for length in reversed(lengths) if length > seed.tokens]
        while side := self._nearer_side(shorter, longer, seed.tokens):
            length = side[-1]
            new_longest = max(longest, length)
            padded = (len(items) + 1) * new_longest
            cheaper = (padded + overhead) * tokens <= (len(items) * longest + overhead) * (tokens + length)
            allowed = cheaper and limits.allow(len(items) + 1, new_longest, tokens + length)
            if not allowed or (time_left < math.inf and (predict_seconds(padded) or 0.0) > time_left):
                # Lengths further out on this side only cost more.
                side.clear()
                continue
            item = self._by_length[length][0][1]
            items.append(item)
            tokens += length
            longest = new_longest
            self._remove(item)
        for item in items:
            item.requests[0].served_until += item.tokens
        self._virtual_time += tokens / max(1, len(self._requests))
        return TokenBatch(tuple(item.key for item in items), tokens, longest)

    def _most_urgent(self, now: float) -> tuple[_ActiveRequest[K] | None, bool]:
        """Return the request to serve out of its turn, if any, and whether the queue is overloaded.

        That is the one of least laxity among those that would be late after one more batch and are not late yet.
        The queue is overloaded when most of the requests with a deadline are late, with more than a batch to do.
        """
        predict_seconds = self._cost_model.predict_seconds
        whole_batch = predict_seconds(self._limits.token_budget)
        if not whole_batch:
            return None, False
        waiting = late = late_tokens = 0
        best: _ActiveRequest[K] | None = None
        best_laxity = whole_batch
        for request in self._requests.values():
            if request.deadline == math.inf or not self._has_queued(request):
                continue
            laxity = request.deadline - now - (predict_seconds(request.queued_tokens) or 0.0)
            waiting += 1
            if laxity < 0:
                late += 1
                late_tokens += request.queued_tokens
            if 0 <= laxity < best_laxity:
                best, best_laxity = request, laxity
        return best, 2 * late > waiting and late_tokens > self._limits.token_budget

    def _furthest_behind(self) -> _ActiveRequest[K] | None:
        waiting = (request for request in self._requests.values() if self._has_queued(request))
        return min(waiting, key=_fair_order, default=None)

    def _has_queued(self, request: _ActiveRequest[K]) -> bool:
        """Return whether any of its items is queued, with the oldest of them moved to the front."""
        while request.items and not self._is_queued(request.items[0]):
            request.items.popleft()
        return bool(request.items)

    def _nearer_side(self, shorter: list[int], longer: list[int], seed: int) -> list[int] | None:
        """Return the side whose last length is nearer to the seed's and has items; the shorter one on a tie."""
        for side in (shorter, longer):
            while side and not self._has_length(side[-1]):
                side.pop()
        if shorter and longer:
            return shorter if seed - shorter[-1] <= longer[-1] - seed else longer
        return shorter or longer or None

    def _has_length(self, length: int) -> bool:
        heap = self._by_length.get(length, [])
        while heap and not self._is_queued(heap[0][1]):
            heapq.heappop(heap)
        if not heap:
            self._by_length.pop(length, None)
        return bool(heap)

    def _is_queued(self, item: _Item[K]) -> bool:
        return self._items.get(item.key) is item

    def _remove(self, item: _Item[K]) -> None:
        del self._items[item.key]
        self._tokens -= item.tokens
        for request in item.requests:
            request.queued_tokens -= item.tokens


def _fair_order(request: _ActiveRequest[K]) -> tuple[float, int, int]:
    # Of requests that are equally far behind, the shorter one delays the other less.
    return request.served_until, request.queued_tokens, request.number
