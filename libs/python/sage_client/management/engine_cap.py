"""Engines that are given fewer requests at once than they take."""

from __future__ import annotations

from sage_client.management.views import EngineView


def narrowed_to(engine: EngineView) -> int | None:
    """Return how many requests an engine is given at once where those are fewer than it takes; None where they are not.

    Fewer are given where more would generate too slowly for the targets of requests, or would wait in the engine's own
    queue. What is still being found out, since nobody said it, is fewer than nothing.
    """
    if engine.request_cap is None or engine.capacity_source == "unknown":
        return None
    return engine.request_cap if engine.request_cap < engine.max_concurrency else None


def narrowed_text(engine: EngineView) -> str:
    """Return a sentence without its full stop that says so; empty where there is nothing to say."""
    cap = narrowed_to(engine)
    if cap is None:
        return ""
    return (
        f"{engine.name or engine.engine_id} gets {cap} at once now, of {engine.max_concurrency}: with more it would "
        "generate too slowly for the targets of requests, or queue them itself"
    )
