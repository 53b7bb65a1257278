"""The verbs of operators at a gateway's management API, for programs that are not inside the mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from sage_client.gateway_answers import value_of
from sage_client.http import HttpTransport
from sage_client.management.rest_call import CALL_SECONDS, ROOT, RestCall, path_of
from sage_client.management.views import (
    EngineRegistration,
    EngineRemoval,
    EngineRestart,
    EngineView,
    Explanation,
    PolicyChange,
    PolicyInForce,
    PoolView,
    RequestView,
)

# Longer than the gateway takes for the same.
START_SECONDS = 40.0
STOP_SECONDS = 60.0
LORA_SECONDS = 80.0


class RestManagement:
    """Shows and changes the mesh of the gateway that ``transport`` speaks to. Failures are SageErrors."""

    def __init__(self, transport: HttpTransport) -> None:
        self._call = RestCall(transport)

    async def front(self) -> dict[str, Any]:
        """Return what the gateway tells everybody: its version, whether it is ready, and whether it asks for keys."""
        return await self._call.ask("GET", "/", root="")

    async def status(self) -> dict[str, Any]:
        """Return the gateway's own state and the services that are registered."""
        return await self._call.ask("GET", "/status")

    async def pools(self) -> list[PoolView]:
        """Return every pool, by name."""
        return value_of((await self._call.ask("GET", "/pools"))["data"], list[PoolView])

    async def engines(self) -> list[EngineView]:
        """Return every engine, by id."""
        return value_of((await self._call.ask("GET", "/engines"))["data"], list[EngineView])

    async def requests(
        self, *, tenant: str = "", changed_within_ms: int = 0, limit: int | None = None
    ) -> list[RequestView]:
        """Return the latest requests that are remembered; see ``RequestList.latest``."""
        query = {"tenant": tenant, "changed_within_ms": changed_within_ms or "", "limit": limit}
        return value_of((await self._call.ask("GET", "/requests", query))["data"], list[RequestView])

    async def explain(self, request_id: str) -> list[Explanation]:
        """Return what the schedulers decided about a request, the latest decision first. Raises NotFoundError."""
        answer = await self._call.ask("GET", path_of("/decisions", request_id))
        return value_of(answer["decisions"], list[Explanation])

    async def policy(self, pool: str = "") -> PolicyInForce:
        """Return the policy of a pool. Raises NotFoundError."""
        return value_of(await self._call.ask("GET", "/policy", {"pool": pool}), PolicyInForce)

    async def set_policy(
        self, policy: str, pool: str = "", settings: Mapping[str, float] | None = None
    ) -> PolicyChange:
        """Change the policy of a pool, or of every pool; see ``MeshManagement.set_policy``."""
        body = {"policy": policy, "pool": pool, "settings": dict(settings or {})}
        return value_of(await self._call.ask("PUT", "/policy", body=body), PolicyChange)

    async def engine_presets(self) -> dict[str, str]:
        """Return what each preset that an engine can be started with is for, by name."""
        presets = (await self._call.ask("GET", "/engine_presets"))["data"]
        return {str(one["preset"]): str(one.get("description") or "") for one in presets}

    async def start_engine(self, model: str, *, preset: str = "", **fields: Any) -> EngineView:
        """Start a server with a model; its phase and reason say how far it is.

        Args:
            fields: those of ``EngineStart``, but ``name`` as ``engine_id``; the ones that are None are left out.

        Raises:
            InvalidRequestError, ConflictError, NotFoundError, UnprocessableError: as ``MeshManagement.start_engine``.
        """
        given = {"model": model, "preset": preset, **fields}
        body = {name: value for name, value in given.items() if value not in (None, "")}
        return value_of(await self._call.ask("POST", "/engines", body=body, timeout_seconds=START_SECONDS), EngineView)

    async def register_engine(self, registration: EngineRegistration) -> EngineView:
        """Take in a server that runs. Raises InvalidRequestError, ConflictError."""
        body = {name: value for name, value in asdict(registration).items() if value not in (None, "", 0, ())}
        return value_of(await self._call.ask("POST", "/engines", body=body), EngineView)

    async def drain_engine(self, engine_id: str, *, undo: bool = False) -> EngineView:
        """Stop new work to an engine, or allow it again. Raises NotFoundError, ConflictError."""
        query = {"undo": str(undo).lower()}
        return value_of(await self._call.ask("POST", f"{_engine(engine_id)}/drain", query), EngineView)

    async def restart_engine(self, engine_id: str, *, drain: bool = True) -> EngineRestart:
        """Stop an engine and start it again. Raises NotFoundError, UnprocessableError, ConflictError."""
        answer = await self._call.ask(
            "POST", f"{_engine(engine_id)}/restart", {"drain": str(drain).lower()}, timeout_seconds=STOP_SECONDS
        )
        return value_of(answer, EngineRestart)

    async def remove_engine(self, engine_id: str, *, drain: bool = True) -> EngineRemoval:
        """Remove an engine for good. Raises NotFoundError, UnprocessableError, ConflictError."""
        answer = await self._call.ask(
            "DELETE", _engine(engine_id), {"drain": str(drain).lower()}, timeout_seconds=STOP_SECONDS
        )
        return value_of(answer, EngineRemoval)

    async def engine_logs(self, engine_id: str, *, lines: int = 0, follow: bool = False) -> AsyncIterator[str]:
        """Yield what the server of an engine wrote, with ``follow`` what it goes on to write.

        Raises:
            NotFoundError: no engine has this id.
            UnprocessableError: SAGE did not start its server.
        """
        query = urlencode({"lines": lines, "follow": str(follow).lower()})
        path = f"{ROOT}{_engine(engine_id)}/logs?{query}"
        async with self._call.transport.open("GET", path, None, {}, None if follow else CALL_SECONDS) as response:
            async for line in response.content:
                yield line.decode(errors="replace").rstrip("\n")

    async def load_lora(self, engine_id: str, name: str, path: str) -> EngineView:
        """Load a LoRA adapter as a model. Raises NotFoundError, UnprocessableError, InvalidRequestError."""
        body = {"name": name, "path": path}
        answer = await self._call.ask("POST", f"{_engine(engine_id)}/lora", body=body, timeout_seconds=LORA_SECONDS)
        return value_of(answer, EngineView)

    async def unload_lora(self, engine_id: str, name: str) -> EngineView:
        """Unload an adapter. Raises NotFoundError, UnprocessableError."""
        path = path_of(f"{_engine(engine_id)}/lora", name)
        return value_of(await self._call.ask("DELETE", path, timeout_seconds=LORA_SECONDS), EngineView)


def _engine(engine_id: str) -> str:
    return path_of("/engines", engine_id)
