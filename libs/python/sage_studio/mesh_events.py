"""What happened between two looks at the mesh: what appeared, what went, what took over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sage_client.management.views import EngineView, PoolView

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True, slots=True)
class Service:
    """A registered process."""

    service: str
    instance_id: str
    host: str


@dataclass(frozen=True, slots=True)
class MeshSnapshot:
    """The mesh at one moment."""

    pools: tuple[PoolView, ...]
    engines: tuple[EngineView, ...]
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class MeshEvent:
    """Something that happened."""

    unix_ms: int
    text: str
    tone: Tone


def changes_between(before: MeshSnapshot, after: MeshSnapshot, unix_ms: int) -> Iterator[MeshEvent]:
    """Yield what changed, in words."""
    for text, tone in (*_services(before, after), *_pools(before, after), *_engines(before, after)):
        yield MeshEvent(unix_ms, text, tone)


def _services(before: MeshSnapshot, after: MeshSnapshot) -> Iterator[tuple[str, Tone]]:
    was, now = ({one.instance_id: one for one in snapshot.services} for snapshot in (before, after))
    for gone in was.keys() - now.keys():
        left = sum(one.service == was[gone].service for one in after.services)
        rest = f"{left} of its kind left" if left else "none of its kind left"
        yield f"{gone} is gone; {rest}", "bad" if not left else "plain"
    for new in now.keys() - was.keys():
        yield f"{new} has joined", "good"


def _pools(before: MeshSnapshot, after: MeshSnapshot) -> Iterator[tuple[str, Tone]]:
    was = {pool.pool: pool for pool in before.pools}
    for pool in after.pools:
        earlier = was.get(pool.pool)
        if earlier is None:
            yield f"pool {pool.pool} is new", "plain"
            continue
        if earlier.leader != pool.leader:
            if pool.leader is None:
                yield f"nobody leads pool {pool.pool}", "bad"
            else:
                after_whom = f" after {earlier.leader}" if earlier.leader else ""
                yield f"{pool.leader} leads pool {pool.pool}{after_whom}", "good"
        if earlier.policy != pool.policy:
            yield f"pool {pool.pool} is scheduled by {pool.policy}, no longer by {earlier.policy}", "plain"


def _engines(before: MeshSnapshot, after: MeshSnapshot) -> Iterator[tuple[str, Tone]]:
    was, now = ({one.engine_id: one for one in snapshot.engines} for snapshot in (before, after))
    for gone in was.keys() - now.keys():
        yield f"engine {was[gone].name or gone} is gone", "bad"
    for engine_id, engine in now.items():
        name = engine.name or engine_id
        earlier = was.get(engine_id)
        if earlier is None:
            yield f"engine {name} has joined ({engine.phase})", "good"
            continue
        if earlier.phase != engine.phase:
            reason = f": {engine.reason.partition(chr(10))[0]}" if engine.reason else ""
            yield f"engine {name} is {engine.phase}{reason}", "good" if engine.phase == "ready" else "bad"
        if earlier.draining != engine.draining:
            yield f"engine {name} {'gets no new work' if engine.draining else 'gets work again'}", "plain"
        if earlier.breaker != engine.breaker and engine.breaker == "open":
            yield f"engine {name} fails and gets no work for a while", "bad"
