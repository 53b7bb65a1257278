"""SAGE's request and reply headers, and what they say, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.request import Hints, Priority, ServiceClass
from sage_mesh.reply import NO_TIME, EngineTime, TokenUsage

T = TypeVar("T")

REQUEST_ID = "x-request-id"
TENANT = "x-sage-tenant"
TIMEOUT_MS = "x-sage-timeout-ms"
PRIORITY = "x-request-priority"
REQUEST_TYPE = "x-request-type"
SLO_DEADLINE_MS = "x-slo-deadline-ms"
SLO_TTFT_MS = "x-slo-ttft-ms"
SLO_TPOT_MS = "x-slo-tpot-ms"
TRACEPARENT = "traceparent"

QUEUE_MS = "x-sage-queue-ms"
ENGINE = "x-sage-engine"
ATTEMPTS = "x-sage-attempts"
# Of engines that say where their time went, which embedding engines do.
ENGINE_QUEUE_US = "x-sage-engine-queue-us"
TOKENIZE_US = "x-sage-tokenize-us"
INFERENCE_US = "x-sage-inference-us"
# How many inputs were cut; left out where none was.
TRUNCATED = "x-sage-truncated"

HINT_HEADERS = (PRIORITY, REQUEST_TYPE, SLO_DEADLINE_MS, SLO_TTFT_MS, SLO_TPOT_MS)

# Milliseconds travel as an unsigned 32-bit number.
MAX_MS = 2**32 - 1

PRIORITY_NAMES = {priority.name.lower(): priority for priority in Priority}
_CLASSES = {service_class.name.lower(): service_class for service_class in ServiceClass}
# Clients of the original say the kind of request instead of the class.
CLASS_NAMES = {
    **_CLASSES,
    "llm_chat": ServiceClass.INTERACTIVE,
    "llm_generate": ServiceClass.DEFAULT,
    "batch": ServiceClass.BULK,
}


@dataclass(frozen=True, slots=True)
class ResponseMetadata:
    """What happened to a request on its way.

    Attributes:
        request_id: the caller's id for it, or the mesh's where it gave none; empty where the server does not send it.
        engine: engine that answered; empty where the server does not send it.
        queue_ms: milliseconds spent queued.
        attempts: dispatches that it took.
        truncated_inputs: inputs that were cut to the model's limit or the caller's.
        engine_time: where the engine's time went; zeros where it does not say.
    """

    request_id: str = ""
    engine: str = ""
    queue_ms: float = 0.0
    attempts: int = 0
    truncated_inputs: int = 0
    engine_time: EngineTime = NO_TIME

    def completed(self, usage: TokenUsage) -> TokenUsage:
        """Return the usage of a body with what no OpenAI body carries: truncation, and the engine's time."""
        return replace(usage, truncated_inputs=self.truncated_inputs, engine_time=self.engine_time)


def hints_from_headers(headers: Mapping[str, str]) -> Hints:
    """Read hints of urgency from headers; names are lower case.

    Raises:
        InvalidRequestError: a value that is not understood; the message names the header.
    """
    return Hints(
        priority=_choice(headers, PRIORITY, PRIORITY_NAMES),
        service_class=_choice(headers, REQUEST_TYPE, CLASS_NAMES),
        slo_ttft_ms=milliseconds(headers, SLO_TTFT_MS),
        slo_tpot_ms=milliseconds(headers, SLO_TPOT_MS),
        slo_deadline_ms=milliseconds(headers, SLO_DEADLINE_MS),
    )


def hints_to_headers(hints: Hints) -> dict[str, str]:
    """Write hints as headers; what they leave open is left out."""
    headers: dict[str, str] = {}
    if hints.priority is not None:
        headers[PRIORITY] = hints.priority.name.lower()
    if hints.service_class is not None:
        headers[REQUEST_TYPE] = hints.service_class.name.lower()
    for name, value in (
        (SLO_TTFT_MS, hints.slo_ttft_ms),
        (SLO_TPOT_MS, hints.slo_tpot_ms),
        (SLO_DEADLINE_MS, hints.slo_deadline_ms),
    ):
        if value:
            headers[name] = str(value)
    return headers


def milliseconds(headers: Mapping[str, str], name: str) -> int:
    """Read a header of milliseconds, 0 where it is missing. Raises InvalidRequestError."""
    value = headers.get(name)
    if value is None:
        return 0
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= MAX_MS:
        return int(text)
    raise InvalidRequestError(
        f"header {name} must be a whole number of milliseconds from 1 to {MAX_MS}; got {value[:40]!r}",
        code="invalid_header",
        param=name,
    )


def metadata_from_headers(headers: Mapping[str, str]) -> ResponseMetadata:
    """Read the metadata of a reply; a server that is not SAGE gives an empty one."""
    try:
        queue_ms = float(headers.get(QUEUE_MS, "0"))
        attempts, truncated, queue_us, tokenize_us, inference_us = (
            int(headers.get(name, "0")) for name in (ATTEMPTS, TRUNCATED, ENGINE_QUEUE_US, TOKENIZE_US, INFERENCE_US)
        )
    except ValueError:
        return ResponseMetadata(headers.get(REQUEST_ID, ""), headers.get(ENGINE, ""))
    time = EngineTime(queue_us, tokenize_us, inference_us)
    return ResponseMetadata(headers.get(REQUEST_ID, ""), headers.get(ENGINE, ""), queue_ms, attempts, truncated, time)


def usage_headers(usage: TokenUsage) -> list[tuple[str, str]]:
    """Write what an answer took besides tokens: truncation, and the engine's time; nothing where both are zero."""
    headers = []
    time = usage.engine_time
    if time is not NO_TIME and time != NO_TIME:
        headers = [
            (ENGINE_QUEUE_US, str(time.queue_us)),
            (TOKENIZE_US, str(time.tokenize_us)),
            (INFERENCE_US, str(time.inference_us)),
        ]
    if usage.truncated_inputs:
        headers.append((TRUNCATED, str(usage.truncated_inputs)))
    return headers


def _choice(headers: Mapping[str, str], name: str, choices: Mapping[str, T]) -> T | None:
    value = headers.get(name)
    if value is None:
        return None
    chosen = choices.get(value.strip().lower())
    if chosen is None:
        raise InvalidRequestError(
            f"header {name} must be one of {', '.join(choices)}; got {value[:40]!r}", code="invalid_header", param=name
        )
    return chosen
