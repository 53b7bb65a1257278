"""Requests as rows of a grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sage_client.management.views import EngineView
from sage_studio.feed import SeenRequest
from sage_studio.figures import targets_met, tpot_ms

_MET = {True: "kept", False: "missed", None: ""}


def engine_names(engines: Iterable[EngineView]) -> dict[str, str]:
    """Return what people call each engine, by its id."""
    return {engine.engine_id: engine.name or engine.engine_id for engine in engines}


def row_of(seen: SeenRequest, names: dict[str, str]) -> dict[str, Any]:
    """Return the row of a request; times in milliseconds, None for what is not known yet."""
    view = seen.view
    tpot = tpot_ms(view)
    return {
        "id": view.request_id,
        "at": seen.arrived_unix_ms,
        "state": view.state,
        "kind": view.kind.removeprefix("llm_"),
        "model": view.model,
        "class": view.service_class,
        "tenant": view.tenant,
        "engine": names.get(view.engine_id, view.engine_id),
        "queue": round(view.queue_ms, 1),
        "ttft": view.ttft_ms,
        "tpot": None if tpot is None else round(tpot, 2),
        "total": view.ended_after_ms,
        "tokens": view.output_tokens,
        "targets": _MET[targets_met(view)],
        "own_id": view.correlation_id or "",
        "error": view.error_code,
    }
