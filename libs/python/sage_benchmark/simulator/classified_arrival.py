"""Arrivals as the requests that the classifier would make of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.rendered_request import prefix_blocks
from sage_control_plane.request.classification import DEFAULT_LEVEL, ClassificationRules
from sage_control_plane.request.request import (
    Classification,
    PendingRequest,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)

TEXT_MODEL = "simulated"
EMBEDDING_MODEL = "simulated-embedding"
POOL = "main"
_CAP = ClassificationRules().output_cap_tokens
_GENERATES = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})


def pending(
    arrival: Arrival,
    request_id: str,
    block_tokens: int,
    timeout_seconds: float,
    levels: Mapping[ServiceClass, ServiceLevel] = DEFAULT_LEVEL,
) -> PendingRequest:
    """Return the request as it comes to the scheduler, without the length of its answer.

    Args:
        levels: the targets of each class.
    """
    generates = arrival.kind in _GENERATES
    expected = max(1, min(int(1.5 * arrival.input_tokens), arrival.max_tokens or _CAP, _CAP)) if generates else 0
    classification = Classification(
        kind=arrival.kind,
        pool=POOL,
        model=TEXT_MODEL if generates else EMBEDDING_MODEL,
        service_class=arrival.service_class,
        priority=Priority.NORMAL,
        slo=levels[arrival.service_class],
        input_tokens=arrival.input_tokens,
        output_tokens=expected,
        prefix_blocks=_blocks(arrival, block_tokens) if generates else (),
        # A bulk answer in one piece travels as a stream.
        streaming=arrival.streaming or (generates and arrival.service_class is ServiceClass.BULK),
        sheddable=arrival.service_class is ServiceClass.BULK,
        items=arrival.items,
        resumable=generates,
        most_output_tokens=arrival.max_tokens if generates else 0,
        session=_session(arrival.conversation) if arrival.tells_session else 0,
    )
    at = arrival.at_seconds
    return PendingRequest(request_id, arrival.tenant, classification, at, at + timeout_seconds)


def _session(conversation: str) -> int:
    return int.from_bytes(blake2b(conversation.encode(), digest_size=8).digest(), "big")


def _blocks(arrival: Arrival, block_tokens: int) -> tuple[int, ...]:
    """The shared prefix's blocks, and blocks of the request's own for the rest of its prompt."""
    shared = prefix_blocks(arrival, block_tokens)
    if not shared:
        return ()
    return shared + own_blocks(arrival.index, len(shared), arrival.input_tokens // block_tokens)


def own_blocks(index: int, start: int, stop: int) -> tuple[int, ...]:
    """Return block hashes, from one place to another, that no other request has."""
    return tuple(-(index * 65_536 + number) - 1 for number in range(start, stop))
