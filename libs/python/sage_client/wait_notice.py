"""Saying for whom a call waits, and why, once it has waited for two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from sage_common.errors import SageError
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import RequestKind

NOTICE_SECONDS = 2.0
# How often what has changed is looked at after the first notice.
AGAIN_SECONDS = 2.0

OnWait = Callable[[str], None]
Engines = Iterable[Mapping[str, Any]]

log = logging.getLogger("sage_client")


def log_wait(text: str) -> None:
    """Log a notice. Without any configuration of logging it appears on stderr."""
    log.warning(text)


def what_is_waited_for(engines: Engines, model: str | None, kind: RequestKind) -> tuple[str, bool]:
    """Return what a request for ``model`` waits for, and whether an engine is ready for it.

    Args:
        engines: as ``GET /v1/management/engines`` lists them. An older mesh does not say their kinds and aliases; its
            engines may be for any work.
        model: as it was asked for, by its name or an alias; None for any.
        kind: the work that the model has to do.
    """
    able = [engine for engine in engines if _may_serve(engine, model, kind)]
    name = f"the model {model!r}" if model else "a model"
    if not able:
        return f"{name}, which no engine serves yet", False
    ready = [engine for engine in able if engine["phase"] == "ready" and not engine.get("draining")]
    if ready:
        listed = ", ".join(f"{_called(engine)} ({engine['outstanding']} outstanding)" for engine in ready)
        return f"an answer of {listed}", True
    return f"{name}: " + "; ".join(_state(engine) for engine in able), False


@contextlib.asynccontextmanager
async def notice_of(
    describe: Callable[[], Awaitable[str | None]], on_wait: OnWait | None, after_seconds: float = NOTICE_SECONDS
) -> AsyncIterator[None]:
    """Call ``on_wait`` with what ``describe`` returns while the block runs for longer than ``after_seconds``.

    The first notice comes then, further ones whenever the description has changed. None as ``on_wait`` or as a
    description says nothing.
    """
    if on_wait is None:
        yield
        return
    watching = asyncio.create_task(_watch(describe, on_wait, after_seconds), name="wait-notice")
    try:
        yield
    finally:
        await end_tasks(watching)


async def _watch(describe: Callable[[], Awaitable[str | None]], on_wait: OnWait, after_seconds: float) -> None:
    said = None
    await asyncio.sleep(after_seconds)
    while True:
        try:
            text = await describe()
        except SageError as error:
            # The call itself says what is wrong, if it does not get through.
            text = f"an answer ({error.message})"
        if text is not None and text != said:
            said = text
            on_wait(f"waiting for {text}")
        await asyncio.sleep(AGAIN_SECONDS)


def _may_serve(engine: Mapping[str, Any], model: str | None, kind: RequestKind) -> bool:
    kinds = engine.get("kinds")
    names = (*engine["models"], *engine.get("aliases", ()))
    return (not kinds or kind.name.lower() in kinds) and (model is None or model in names)


def _called(engine: Mapping[str, Any]) -> str:
    return str(engine.get("name") or engine["engine_id"])


def _state(engine: Mapping[str, Any]) -> str:
    reason = str(engine["reason"]).partition("\n")[0]
    return f"{_called(engine)} is {engine['phase']}" + (f" ({reason})" if reason else "")
