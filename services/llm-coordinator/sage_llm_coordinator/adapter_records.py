"""Records in KV of the adapters that engines have loaded, so that they outlive servers and coordinators."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import orjson
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from sage_common.errors import describe
from sage_common.logging import get_logger
from sage_llm_coordinator.engines.wanted_adapters import Adapter
from sage_llm_coordinator.origin import CONFIGURED
from sage_platform.subjects import token

log = get_logger(__name__)

BUCKET = "engine_adapters"


class AdapterRecords:
    """Reads and writes the adapters of engines that have an origin; of others nothing is kept.

    Args:
        host: this machine, see ``machine_id``. The origins of configured engines are the same on every machine.
    """

    def __init__(self, bucket: KeyValue, host: str) -> None:
        self._bucket = bucket
        self._host = host

    async def read(self, origin: str, model: str) -> tuple[Adapter, ...]:
        """Return the adapters of the engine of this origin; none where it had another model, or they cannot be read."""
        if not origin:
            return ()
        try:
            value = orjson.loads((await self._bucket.get(self._key(origin))).value or b"")
            return tuple(Adapter(**one) for one in value["adapters"]) if value["model"] == model else ()
        except KeyNotFoundError:
            return ()
        except (NatsError, asyncio.TimeoutError, ValueError, KeyError, TypeError) as error:
            # The engine is better without them than not at all.
            log.error("the adapters of an engine cannot be read", origin=origin, error=str(error) or repr(error))
            return ()

    async def write(self, origin: str, model: str, adapters: tuple[Adapter, ...]) -> None:
        """Keep the adapters. Where NATS does not answer, that is logged and nothing raised: the server has them."""
        if not origin:
            return
        try:
            if adapters:
                value = orjson.dumps({"model": model, "adapters": [asdict(adapter) for adapter in adapters]})
                await self._bucket.put(self._key(origin), value)
            else:
                await self.forget(origin)
        except (NatsError, asyncio.TimeoutError) as error:
            log.error("adapters will not outlive this coordinator", origin=origin, error=describe(error))

    async def forget(self, origin: str) -> None:
        """Delete what is kept for an origin. Raises nats' Error or asyncio.TimeoutError."""
        await self._bucket.delete(self._key(origin))

    def _key(self, origin: str) -> str:
        return token(f"{self._host}/{origin}" if origin.startswith(f"{CONFIGURED}/") else origin)
