"""LoRA adapters that a server loads and unloads while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import orjson

from sage_common.errors import EngineFailedError, InvalidRequestError, NotFoundError, SageError, UnprocessableError
from sage_common.logging import get_logger
from sage_llm_coordinator.engines.wanted_adapters import Adapter, WantedAdapters
from sage_mesh.upstream.http.http_error import describe_failure
from sage_mesh.upstream.upstream import NotServingError, Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, upstream_error

log = get_logger(__name__)

LOAD_PATH = "/v1/load_lora_adapter"
UNLOAD_PATH = "/v1/unload_lora_adapter"
LOAD_SECONDS = 60.0


class LoraAdapters:
    """Has a server load and unload adapters, and reads its list of models afterwards.

    Args:
        discover: reads the server's list of models again; raises NotServingError where that fails.
        wanted: what the server is to have; orders that were carried out change it.
    """

    def __init__(
        self, engine_id: str, upstream: Upstream, discover: Callable[[], Awaitable[None]], wanted: WantedAdapters
    ) -> None:
        self._engine_id = engine_id
        self._upstream = upstream
        self._discover = discover
        self._wanted = wanted
        # What an order has just loaded must not seem lost to ``restore``.
        self._one_at_a_time = asyncio.Lock()

    async def load(self, name: str, path: str) -> None:
        """Load the adapter at ``path``, a folder on the server's machine, as the model ``name``.

        Raises:
            InvalidRequestError: no name or no path, or the server finds no adapter there.
            UnprocessableError: the server was not started to load adapters.
            EngineFailedError: it did not do it.
        """
        if not name or not path:
            raise InvalidRequestError("an adapter needs a name and a path", param="path" if name else "name")
        async with self._one_at_a_time:
            adapter = Adapter(name, path)
            await self._load(adapter)
            self._wanted.loaded(adapter)
            log.info("adapter loaded", engine=self._engine_id, name=name, path=path)
            await self._rediscover()

    async def unload(self, name: str) -> None:
        """Unload the adapter ``name``. Raises as ``load``, and NotFoundError for one that is not there."""
        if not name:
            raise InvalidRequestError("name the adapter", param="name")
        async with self._one_at_a_time:
            try:
                await self._order(UNLOAD_PATH, {"lora_name": name})
            except NotFoundError:
                # Of one that could not be loaded again only the wish is left.
                if not self._wanted.forget(name):
                    raise
            self._wanted.forget(name)
            log.info("adapter unloaded", engine=self._engine_id, name=name)
            await self._rediscover()

    async def restore(self, served: Callable[[], Collection[str]]) -> None:
        """Load again, in order, what the server has lost. One that fails is logged; the others are loaded.

        Args:
            served: the names of the models that the server has.

        Raises:
            NotServingError: the server does not say what models it has now.
        """
        async with self._one_at_a_time:
            for adapter in self._wanted.all:
                if adapter.name in served():
                    self._wanted.loaded(adapter)
                    continue
                try:
                    await self._load(adapter)
                except SageError as error:
                    self._wanted.failed(adapter.name, error.message)
                    log.error(
                        "adapter not loaded again", engine=self._engine_id, name=adapter.name, error=error.message
                    )
                else:
                    self._wanted.loaded(adapter)
                    log.info("adapter loaded again", engine=self._engine_id, name=adapter.name, path=adapter.path)
                    await self._discover()

    async def _rediscover(self) -> None:
        try:
            await self._discover()
        except NotServingError as problem:
            raise EngineFailedError(f"done, but then the server did not list its models: {problem.message}") from None

    async def _load(self, adapter: Adapter) -> None:
        await self._order(LOAD_PATH, {"lora_name": adapter.name, "lora_path": adapter.path})

    async def _order(self, path: str, order: dict[str, str]) -> None:
        try:
            status, body = await asyncio.wait_for(self._post(path, orjson.dumps(order)), LOAD_SECONDS)
        except asyncio.TimeoutError:
            problem = f"engine {self._engine_id!r} did not answer POST {path} within {LOAD_SECONDS:g} s"
            raise EngineFailedError(problem) from None
        except OSError as error:
            raise EngineFailedError(f"engine {self._engine_id!r}: POST {path} {describe_failure(error)}") from None
        # Without leave to load, vLLM does not have the path; an adapter that it does not know, it names in the answer.
        if status in (404, 405) and order["lora_name"].encode() not in body:
            raise UnprocessableError(
                f"the server of engine {self._engine_id!r} loads no adapters at run time (HTTP {status}); start vLLM "
                "with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
                code="adapters_not_allowed",
            )
        if status != 200:
            raise upstream_error(self._engine_id, status, body)

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        async with self._upstream.post(path, body, {}) as response:
            return response.status, await response.read_up_to(MAX_ERROR_BYTES)
