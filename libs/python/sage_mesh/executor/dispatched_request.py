"""An attempt as its engine is given it, with what travelled beside its dispatch."""

from __future__ import annotations

from dataclasses import replace

from sage_mesh.bodies.body_parts import BodyParts
from sage_mesh.bodies.body_store import BodyStore
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.hosted_engine import RunningAttempt
from sage_mesh.wire.requests import engine_request_from_wire


async def dispatched_request(attempt: RunningAttempt, bodies: BodyStore) -> EngineRequest:
    """Return what an engine is given. Raises SageError where a part of its body is not to be had."""
    # Where the attempt has a span, the engine's are a part of it.
    request = engine_request_from_wire(attempt.dispatch, attempt.span.traceparent)
    object_id = attempt.dispatch.request.body_object
    if not object_id:
        return request
    return replace(request, parts=BodyParts(object_id, await bodies.read(object_id)))
