"""Which of several pools that serve a model gets a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from zlib import crc32

from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import RequestKind

# Pools whose shares of taken seats differ by no more than this are as good as each other.
AS_GOOD = 0.1


@dataclass(frozen=True, slots=True)
class PoolSeats:
    """The seats for one model and kind of work in one pool.

    Attributes:
        seats: of the engines that are ready; 0 where none is.
        taken: requests on those, as they last said.
    """

    seats: int = 0
    taken: int = 0


def seats_by_pool(engines: Iterable[EngineState], model: str, kind: RequestKind) -> dict[str, PoolSeats]:
    """Return the seats of each pool with an engine that does this work; stopped engines do not count."""
    found: dict[str, PoolSeats] = {}
    for engine in engines:
        card = None if engine.phase is EnginePhase.STOPPED else engine.spec.card(model)
        if card is None or kind not in card.kinds:
            continue
        seats = found.setdefault(engine.spec.pool, PoolSeats())
        if engine.phase is EnginePhase.READY:
            taken = seats.taken + len(engine.running)
            found[engine.spec.pool] = PoolSeats(seats.seats + engine.spec.max_concurrency, taken)
    return found


def pick_pool(pools: Mapping[str, PoolSeats], sent: Mapping[str, int], beginning: int | None) -> str:
    """Return the pool that has the smallest share of its seats taken.

    Of those that are as good as that, a prompt goes where others with its beginning go (rendezvous hashing), so that
    the turns of a conversation find what an engine has cached. A pool without a ready engine is chosen only where none
    has one.

    Args:
        pools: not empty.
        sent: requests that were sent to each pool and are not among its taken seats yet.
        beginning: hash of the prompt's first block; None where there is none.
    """
    shares = {
        name: (pool.taken + sent.get(name, 0)) / pool.seats for name, pool in pools.items() if pool.seats
    } or dict.fromkeys(pools, 0.0)
    if beginning is None:
        return min(shares, key=lambda name: (shares[name], name))
    least = min(shares.values())
    good = [name for name, share in shares.items() if share <= least + AS_GOOD]
    return max(good, key=lambda name: (crc32(b"%x %b" % (beginning, name.encode())), name))
