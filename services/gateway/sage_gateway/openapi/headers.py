"""Headers that inference reads, and those of answers, with the values that they have."""

from __future__ import annotations

from typing import Any, Final

from sage_client import headers as names
from sage_common.api_keys import MAX_TENANT_CHARACTERS

_MILLISECONDS: Final = {"type": "integer", "minimum": 1, "maximum": names.MAX_MS}
TENANT_HEADER: Final[dict[str, dict[str, Any]]] = {
    names.TENANT: {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": MAX_TENANT_CHARACTERS},
}
INFERENCE_HEADERS: Final[dict[str, dict[str, Any]]] = {
    names.REQUEST_ID: {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 128},
    **TENANT_HEADER,
    names.PRIORITY: {"type": "string", "enum": sorted(names.PRIORITY_NAMES)},
    names.REQUEST_TYPE: {"type": "string", "enum": sorted(names.CLASS_NAMES)},
    names.SLO_TTFT_MS: _MILLISECONDS,
    names.SLO_TPOT_MS: _MILLISECONDS,
    names.SLO_DEADLINE_MS: _MILLISECONDS,
    names.TIMEOUT_MS: _MILLISECONDS,
}
_TEXT: Final = {"type": "string"}
# Of every answer, errors included.
ANSWER_HEADERS: Final[dict[str, dict[str, Any]]] = {names.REQUEST_ID: {"schema": _TEXT, "required": True}}
# Of answers that an engine gave: which it was, milliseconds that the request was queued, and dispatches that it took.
ENGINE_HEADERS: Final[dict[str, dict[str, Any]]] = {
    names.ENGINE: {"schema": _TEXT},
    names.QUEUE_MS: {"schema": {"type": "number", "minimum": 0}},
    names.ATTEMPTS: {"schema": {"type": "integer", "minimum": 0}},
}
