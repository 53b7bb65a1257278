"""Waiting until the mesh can do its work: an engine that chats and one that embeds, seen by the gateway too."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

from sage_cli.mesh.started_engine import without_remedy
from sage_cli.mesh.view import ATTACHED_ENGINES
from sage_common.clock import Clock, MonotonicClock
from sage_common.errors import UnavailableError
from sage_control_plane.request.engine_state import REGISTERED_LABEL, EnginePhase, EngineState
from sage_control_plane.request.request import RequestKind
from sage_mesh.directory import EngineDirectory
from sage_platform.nats_server import LOOPBACK
from sage_platform.ring import Ring

POLL_SECONDS = 0.1
ASK_AGAIN_SECONDS = 2.0
HTTP_TIMEOUT_SECONDS = 2.0
# How long a model that generates may still load once everything else is ready; a large one takes minutes.
GENERATING_SECONDS = 30.0
QUOTING_ENGINE = "extractive"
WORK = {RequestKind.LLM_CHAT: "chat", RequestKind.EMBEDDING: "embedding"}


def serves(engine: EngineState, kind: RequestKind) -> bool:
    """Whether an engine could do work of ``kind`` now."""
    return engine.phase is EnginePhase.READY and any(kind in card.kinds for card in engine.spec.models)


def what_is_missing(engines: list[EngineState], kinds: frozenset[RequestKind]) -> str:
    """Return which kinds of work have no ready engine, with the phases of the others; empty when nothing is missing."""
    missing = [WORK[kind] for kind in sorted(kinds) if not any(serves(engine, kind) for engine in engines)]
    if not missing:
        return ""
    waiting = [
        f"{engine.spec.name} {engine.phase.name.lower()}" + (f" ({engine.reason})" if engine.reason else "")
        for engine in engines
        if engine.phase is not EnginePhase.READY
    ]
    return f"no engine for {' or '.join(missing)} yet" + (f": {'; '.join(waiting)}" if waiting else "")


def what_still_loads(engines: list[EngineState]) -> str:
    """Return which generating models of this machine still load while only what quotes could chat; empty when none."""
    chats = [one for one in engines if any(RequestKind.LLM_CHAT in card.kinds for card in one.spec.models)]
    generating = [one for one in chats if one.spec.implementation != QUOTING_ENGINE]
    if any(one.phase is EnginePhase.READY for one in generating):
        return ""
    ours = [one for one in generating if one.spec.implementation not in ATTACHED_ENGINES]
    loading = [one for one in ours if one.phase is EnginePhase.STARTING]
    return "; ".join(f"{one.spec.name} starting" + (f" ({one.reason})" if one.reason else "") for one in loading)


def refuse_given_up(engines: list[EngineState], kinds: frozenset[RequestKind], *, of_settings: bool) -> None:
    """Raise UnavailableError where waiting is of no use: what the mesh needs was given up.

    Args:
        of_settings: whether every engine that the settings name is needed; otherwise only one for each kind of work.
    """
    lost = [engine for engine in engines if engine.given_up]
    needed = [engine for engine in lost if of_settings and REGISTERED_LABEL not in dict(engine.spec.labels)]
    for kind in kinds:
        able = [engine for engine in engines if any(kind in card.kinds for card in engine.spec.models)]
        if able and all(engine.given_up for engine in able):
            needed += able
    if needed:
        reasons = dict.fromkeys(f"{engine.spec.name}: {without_remedy(engine.reason)}" for engine in needed)
        raise UnavailableError("\n".join(reasons), code="engine_given_up")


async def wait_for_engines(
    directory: EngineDirectory,
    kinds: frozenset[RequestKind],
    tell: Callable[[str], None],
    *,
    of_settings: bool = False,
    clock: Clock | None = None,
) -> list[EngineState]:
    """Return the engines once each kind of work has one that is ready; call ``tell`` with what is missing till then.

    Where only an engine that quotes could chat, a model that generates and still loads is waited for a while longer:
    the first chat is for it.

    Args:
        of_settings: wait for the engines that the settings name, not for those that operators added.

    Raises:
        UnavailableError: what is waited for was given up.
    """
    reported = ""
    time = clock or MonotonicClock()
    complete_since: float | None = None

    def complete(current: EngineDirectory) -> bool:
        nonlocal reported, complete_since
        engines = list(current.engines.values())
        refuse_given_up(engines, kinds, of_settings=of_settings)
        if of_settings:
            engines = [engine for engine in engines if REGISTERED_LABEL not in dict(engine.spec.labels)]
        missing = what_is_missing(engines, kinds)
        if not missing and RequestKind.LLM_CHAT in kinds:
            complete_since = time.now() if complete_since is None else complete_since
            if time.now() - complete_since < GENERATING_SECONDS:
                missing = what_still_loads(engines)
        if missing and missing != reported:
            reported = missing
            tell(missing)
        return not missing

    while not await directory.wait_until(complete, ASK_AGAIN_SECONDS):
        await directory.ask()
    return list(directory.engines.values())


async def wait_for_gateway(url: str, models: frozenset[str], tell: Callable[[str], None]) -> None:
    """Return once the gateway at ``url`` lists ``models``: it learns of engines by itself, a moment later."""
    while True:
        listed = await asyncio.to_thread(_listed_models, url)
        if listed is None or models <= listed:
            return
        tell(f"the gateway does not list {', '.join(sorted(models - listed))} yet")
        await asyncio.sleep(POLL_SECONDS)


def open_directory(ring: Ring, name: str) -> EngineDirectory:
    """Return a directory of the engines for a supervisor or a command."""
    return EngineDirectory(ring, name, MonotonicClock())


def _listed_models(url: str) -> frozenset[str] | None:
    """Return the models that the gateway lists: none while it does not answer, None where it wants an API key."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # Its certificate may be for the name that clients ask for. What was started on this port is asked whether it is
        # ready, not who it is.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(LOOPBACK, parts.port, timeout=HTTP_TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(LOOPBACK, parts.port, timeout=HTTP_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/v1/models")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == http.client.UNAUTHORIZED:
            return None
        return frozenset(model["id"] for model in orjson.loads(body)["data"]) if answer.status == 200 else frozenset()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return frozenset()
    finally:
        connection.close()
