"""LoRA adapters that a server loads and unloads while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import orjson

from sage_common.errors import EngineFailedError, InvalidRequestError, UnprocessableError
from sage_common.logging import get_logger
from sage_mesh.upstream.upstream import Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, upstream_error

log = get_logger(__name__)

LOAD_PATH = "/v1/load_lora_adapter"
UNLOAD_PATH = "/v1/unload_lora_adapter"
LOAD_SECONDS = 60.0


class LoraAdapters:
    """Tells a server which adapters to have, and looks at its models afterwards.

    Args:
        discover: reads the server's list of models again.
    """

    def __init__(self, engine_id: str, upstream: Upstream, discover: Callable[[], Awaitable[None]]) -> None:
        self._engine_id = engine_id
        self._upstream = upstream
        self._discover = discover

    async def load(self, name: str, path: str) -> None:
        """Load the adapter at ``path``, a folder on the server's machine, as the model ``name``.

        Raises:
            InvalidRequestError: no name or no path, or the server finds no adapter there.
            UnprocessableError: the server was not started to load adapters.
            EngineFailedError: it did not do it.
        """
        if not name or not path:
            raise InvalidRequestError("an adapter needs a name and a path", param="path" if name else "name")
        await self._tell(LOAD_PATH, {"lora_name": name, "lora_path": path})
        log.info("adapter loaded", engine=self._engine_id, name=name, path=path)

    async def unload(self, name: str) -> None:
        """Unload the adapter ``name``. Raises as ``load``, and NotFoundError for one that is not there."""
        if not name:
            raise InvalidRequestError("name the adapter", param="name")
        await self._tell(UNLOAD_PATH, {"lora_name": name})
        log.info("adapter unloaded", engine=self._engine_id, name=name)

    async def _tell(self, path: str, order: dict[str, str]) -> None:
        try:
            status, body = await asyncio.wait_for(self._post(path, orjson.dumps(order)), LOAD_SECONDS)
        except asyncio.TimeoutError:
            problem = f"engine {self._engine_id!r} did not answer POST {path} within {LOAD_SECONDS:g} s"
            raise EngineFailedError(problem) from None
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailedError(f"engine {self._engine_id!r}: POST {path} failed: {error!r}") from None
        # Without leave to load, vLLM does not have the path; an adapter that it does not know, it names in the answer.
        if status in (404, 405) and order["lora_name"].encode() not in body:
            raise UnprocessableError(
                f"the server of engine {self._engine_id!r} loads no adapters at run time (HTTP {status}); start vLLM "
                "with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
                code="adapters_not_allowed",
            )
        if status != 200:
            raise upstream_error(self._engine_id, status, body)
        await self._discover()

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        async with self._upstream.post(path, body, {}) as response:
            return response.status, await response.content.read(MAX_ERROR_BYTES)
