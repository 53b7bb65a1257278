"""Bodies of the management API's orders about policies and engines."""

from __future__ import annotations

from pydantic import Field

from sage_client.management.views import EngineRegistration, EngineStart
from sage_client.presets.preset import EnginePreset, named
from sage_common.errors import InvalidRequestError
from sage_gateway.order_bodies import Order

# Of an order that starts a server; the others go with any engine.
START_FIELDS = (
    "model",
    "preset",
    "served_model_name",
    "arguments",
    "environment",
    "device",
    "port",
    "memory_check",
)
# Of one that takes a server in.
REGISTRATION_FIELDS = ("api_key", "models", "health_path")


class PolicyOrder(Order):
    """Body of ``PUT /v1/management/policy``; no pool means every pool.

    Settings are those of the policy that are to differ from what the schedulers were started with.
    """

    policy: str
    pool: str = ""
    settings: dict[str, float] = Field(default_factory=dict)


class EngineOrder(Order):
    """Body of ``POST /v1/management/engines``: a server to take in, or a model or preset for vLLM to start."""

    url: str = ""
    engine_id: str = ""
    api_key: str = ""
    pool: str = ""
    max_concurrency: int = Field(0, ge=0, le=2**32 - 1)
    kinds: list[str] = Field(default_factory=list)
    model: str = ""
    preset: str = ""
    served_model_name: str = ""
    aliases: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    health_path: str | None = None
    arguments: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    port: int = Field(0, ge=0, le=65535)
    memory_check: bool = True

    def registration(self) -> EngineRegistration:
        """Return the registration of the server at ``url``. Raises InvalidRequestError on fields of a start."""
        given = [name for name in START_FIELDS if name in self.model_fields_set]
        if given:
            raise InvalidRequestError(f"{given[0]} goes with a model to start, not with the url of a server")
        return EngineRegistration(
            self.url,
            self.engine_id,
            self.api_key,
            self.pool,
            self.max_concurrency,
            tuple(self.kinds),
            tuple(self.aliases),
            tuple(self.models),
            self.health_path,
        )

    def start(self) -> EngineStart:
        """Return the start of ``model``. Raises NotFoundError for an unknown preset, InvalidRequestError."""
        given = [name for name in REGISTRATION_FIELDS if getattr(self, name)]
        if given:
            raise InvalidRequestError(f"{given[0]} goes with the url of a server, not with one that SAGE starts")
        preset = named(self.preset) if self.preset else EnginePreset()
        return preset.start(
            model=self.model,
            name=self.engine_id,
            pool=self.pool,
            max_concurrency=self.max_concurrency,
            kinds=tuple(self.kinds),
            aliases=tuple(self.aliases),
            **{name: _plain(getattr(self, name)) for name in START_FIELDS if name not in ("model", "preset")},
        )


class LoraOrder(Order):
    """Body of ``POST /v1/management/engines/{engine_id}/lora``."""

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
