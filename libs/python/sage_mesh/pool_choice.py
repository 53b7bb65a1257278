"""The pool of each request whose model several pools serve, by what their engines' heartbeats say."""

from __future__ import annotations

from collections import Counter

from sage.inference.v1 import request_pb2
from sage_common.clock import Clock
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.pool_shares import PoolSeats, pick_pool, seats_by_pool
from sage_control_plane.request.request import RequestKind
from sage_mesh.directory import EngineDirectory

# For how long a request that was sent is not among those that engines say they run: until their next heartbeat.
SENT_SECONDS = 0.5
# How old what is known of the pools may be.
FRESH_SECONDS = 0.1


class PoolChoice:
    """Chooses pools. What this process has sent lately counts, so that a burst does not go to one pool."""

    def __init__(self, directory: EngineDirectory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._seats: dict[tuple[str, RequestKind], tuple[float, dict[str, PoolSeats]]] = {}
        # Requests sent in this half of ``SENT_SECONDS``, and in the one before.
        self._sent: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._since = float("-inf")

    @property
    def catalog(self) -> ModelCatalog:
        """The models of the mesh."""
        return self._directory.catalog

    def assign(self, classification: request_pb2.Classification) -> None:
        """Set the pool of a request whose model several pools serve, and say why."""
        pools = self.catalog.pools_of(classification.model)
        if len(pools) < 2:
            return
        now = self._clock.now()
        seats = self._seats_of(classification.model, RequestKind(classification.kind), now)
        if not seats:
            return
        sent = self._sent_lately(now)
        blocks = classification.prefix_blocks
        chosen = pick_pool(seats, sent[0] + sent[1], blocks[0] if blocks else None)
        sent[0][chosen] += 1
        classification.pool = chosen
        if len(seats) > 1:
            taken = seats[chosen].taken + sent[0][chosen] + sent[1][chosen] - 1
            classification.reasons.append(f"pool {chosen} with {taken} of {seats[chosen].seats} seats taken")

    def _seats_of(self, model: str, kind: RequestKind, now: float) -> dict[str, PoolSeats]:
        at, seats = self._seats.get((model, kind), (float("-inf"), {}))
        if now - at > FRESH_SECONDS:
            seats = seats_by_pool(self._directory.engines.values(), model, kind)
            self._seats[model, kind] = now, seats
        return seats

    def _sent_lately(self, now: float) -> tuple[Counter[str], Counter[str]]:
        age = now - self._since
        if age > SENT_SECONDS / 2:
            self._sent = Counter(), self._sent[0] if age <= SENT_SECONDS else Counter()
            self._since = now
        return self._sent
