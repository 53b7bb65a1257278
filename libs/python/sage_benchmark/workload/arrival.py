"""One request of a workload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_control_plane.request.request import RequestKind, ServiceClass


class Turn(NamedTuple):
    """Lengths in tokens of a question and of its answer."""

    asked: int
    answered: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request and when it is sent.

    Attributes:
        index: position in the workload; names the request.
        at_seconds: scheduled time from the start of the run. Latency counts from here.
        input_tokens: prompt tokens, shared prefix included; for embeddings those of all texts together.
        output_tokens: tokens that the answer will have; 0 for embeddings. Known to engines alone (and to a
            clairvoyant policy).
        max_tokens: the limit that the client sets; at least ``output_tokens``.
        items: texts in an embedding request; 1 for others.
        prefix_group: requests of one group share their first ``prefix_tokens``; empty for none.
        streaming: whether the answer is streamed.
        conversation: that it belongs to; empty for none. Its prompt is then the shared prefix and all turns so far.
        turns: of the conversation, up to this one.
        tells_session: whether it names its conversation.
    """

    index: int
    at_seconds: float
    kind: RequestKind
    tenant: str
    input_tokens: int
    output_tokens: int
    service_class: ServiceClass
    max_tokens: int = 0
    items: int = 1
    prefix_group: str = ""
    prefix_tokens: int = 0
    streaming: bool = True
    conversation: str = ""
    turns: tuple[Turn, ...] = ()
    tells_session: bool = False


def offered_engine_seconds(arrivals: Iterable[Arrival], config: EngineModelConfig) -> float:
    """Engine time that the requests take of full engines; what a prefix cache would save is not taken off."""
    return sum(config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals)
