"""How a request's class is told to what is in front of the engines: to each in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.rendered_request import RenderedRequest
from sage_control_plane.request.request import RequestKind, ServiceClass


@dataclass(frozen=True, slots=True)
class ClassLabels:
    """One way.

    Attributes:
        described: for a report.
        label: puts the class into a request, which has SAGE's own headers already.
    """

    described: str
    label: Callable[[Arrival, RenderedRequest], RenderedRequest]


def _unchanged(_arrival: Arrival, request: RenderedRequest) -> RenderedRequest:
    return request


_SMG_CLASSES: Final = {ServiceClass.INTERACTIVE: "interactive", ServiceClass.BULK: "bulk"}


def _smg(arrival: Arrival, request: RenderedRequest) -> RenderedRequest:
    priority = _SMG_CLASSES.get(arrival.service_class, "default")
    return replace(request, headers=(*request.headers, ("x-smg-priority", priority)))


# The lower number goes first.
_LITELLM_PRIORITIES: Final = {ServiceClass.INTERACTIVE: 0, ServiceClass.BULK: 2}


def _litellm(arrival: Arrival, request: RenderedRequest) -> RenderedRequest:
    if arrival.kind is RequestKind.EMBEDDING:
        return request  # its scheduler takes chats and completions only
    body = orjson.loads(request.body) | {"priority": _LITELLM_PRIORITIES.get(arrival.service_class, 1)}
    return replace(request, body=orjson.dumps(body))


SAGE_LABELS: Final = ClassLabels("chats are interactive by their endpoint, bulk by `x-request-type: bulk`", _unchanged)
SMG_LABELS: Final = ClassLabels("`x-smg-priority: interactive`, `default` or `bulk`", _smg)
LITELLM_LABELS: Final = ClassLabels("`priority` 0, 1 or 2 in the body of chats and completions", _litellm)
NO_LABELS: Final = ClassLabels("no classes: it knows none", _unchanged)
