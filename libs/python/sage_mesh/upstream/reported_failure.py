"""A failure that a server reports inside an answer of status 200: as its whole body, or as an event. Pure.

Servers spell it in many ways: ``{"error": {…}}``, ``{"error": "…"}``, ``{"object": "error", …}``, an ``error`` beside
an ``id`` or inside a choice, ``{"detail": …}``, an event of the type ``error``; the status as a number, as digits, as a
name such as ``rate_limit_exceeded``, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

# The status of a failure whose status is not given: the server's own, so that another engine is tried.
UNSTATED: Final = 500
# Fields that may say the status, the most exact first.
_STATUS_FIELDS: Final = ("status", "status_code", "http_status", "code", "type")
# Parts of names, in lower case without separators, and the status that they stand for. The first that fits counts.
_NAMES: Final = (
    ("ratelimit", 429),
    ("insufficientquota", 429),
    ("quotaexceeded", 429),
    ("resourceexhausted", 429),
    ("toomanyrequests", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("capacity", 503),
    ("timeout", 504),
    ("deadline", 504),
    ("internal", 500),
    ("servererror", 500),
    ("authentication", 401),
    ("unauthenticated", 401),
    ("unauthorized", 401),
    ("invalidapikey", 401),
    ("permission", 403),
    ("forbidden", 403),
    ("notfound", 404),
    ("unprocessable", 422),
    ("toolarge", 413),
    ("contextlength", 400),
    ("contentfilter", 400),
    ("contentpolicy", 400),
    ("badrequest", 400),
    ("invalid", 400),
    ("unsupported", 400),
)
_STATUSES: Final = range(400, 600)


@dataclass(frozen=True, slots=True)
class ReportedFailure:
    """What a server said of its failure.

    Attributes:
        status: the HTTP status that the answer should have had; ``UNSTATED`` where it does not say.
        body: an error object ``{"error": {…}}`` with the server's words.
    """

    status: int
    body: bytes

    @property
    def is_refusal(self) -> bool:
        """Whether it blames the request, so that no other engine would do better."""
        return self.status < 500 and self.status != 429


def read_failure(value: Any, *, error_event: bool = False) -> ReportedFailure | None:
    """Return the failure that a parsed body, or the data of an event, reports; None where it reports none.

    Args:
        value: what the JSON holds; text where it is none.
        error_event: whether it is the data of an event of the type ``error``.
    """
    error = _error_of(value)
    if error is None:
        if not error_event:
            return None
        error = value
    if isinstance(error, dict):
        beside = value if isinstance(value, dict) else {}
        message = error.get("message") or error.get("detail") or error.get("error") or beside.get("message")
        shown = {**error, "message": message if isinstance(message, str) and message else _text(error)}
        return ReportedFailure(_status_of(error, beside), orjson.dumps({"error": shown}, default=str))
    beside = value if isinstance(value, dict) else {}
    shown = {"message": _text(error), "type": None, "param": None, "code": beside.get("code")}
    return ReportedFailure(_status_of(beside, {}), orjson.dumps({"error": shown}, default=str))


def _error_of(value: Any) -> Any:
    """Return the error in a document: an object, text or a number; None where there is none."""
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if error:
        return error
    if value.get("object") == "error" or value.get("type") == "error":
        return {name: field for name, field in value.items() if name not in ("object", "error")}
    choices = value.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return choice["error"]
        return None
    if value.get("detail") and "data" not in value and "id" not in value:
        return {"message": _text(value["detail"]), "detail": value["detail"]}
    return None


def _status_of(error: dict[str, Any], beside: dict[str, Any]) -> int:
    for fields in (error, beside):
        for name in _STATUS_FIELDS:
            status = _status(fields.get(name))
            if status is not None:
                return status
    return UNSTATED


def _status(value: Any) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, int):
        return value if value in _STATUSES else None
    if not isinstance(value, str):
        return None
    name = "".join(character for character in value.lower() if character.isalnum())
    return next((status for part, status in _NAMES if part in name), None)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode("utf-8", "replace")
    return text[:2000]
