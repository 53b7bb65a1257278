"""Every kind of engine there is. A new one is a file beside this one and a line here: the import of its entry."""

# ruff: noqa: F401 - what is imported is what there is.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, make_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_llm_coordinator.engines.engine_kind import EngineKind, EngineSettings
from sage_llm_coordinator.engines.extractive_engine import EXTRACTIVE
from sage_llm_coordinator.engines.llamacpp_engine import LLAMACPP
from sage_llm_coordinator.engines.openai_engine import OPENAI
from sage_llm_coordinator.engines.vllm_engine import VLLM
from sage_llm_coordinator.servers.packaged_models import default_model

KINDS: Mapping[str, EngineKind[Any]] = MappingProxyType(
    {entry.name: entry for entry in list(globals().values()) if isinstance(entry, EngineKind)}
)

if TYPE_CHECKING:

    class KindSettings:
        """What all engines of a kind share, an attribute for each kind."""

        def __init__(self, **of_kinds: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    KindSettings = make_dataclass(
        "KindSettings",
        [(entry.name, entry.group, field(default=entry.group())) for entry in KINDS.values()],
        frozen=True,
        slots=True,
    )
    KindSettings.__doc__ = "What all engines of a kind share, an attribute for each kind."


def engine_settings(values: EngineSettings | Mapping[str, Any]) -> EngineSettings:
    """Return the settings of one engine, of the class of its kind.

    Args:
        values: as an entry of the config file, or a record, has them. Without a kind, the model decides.

    Raises:
        ValueError: values that make no engine.
    """
    if isinstance(values, EngineSettings):
        return values
    if "kind" not in values and values.get("model") and not values.get("url"):
        values = {**values, "kind": kind_of_model(str(values["model"]))}
    if "kind" not in values:
        # Says so, and nothing of the other fields, which cannot be judged.
        return EngineSettings.model_validate({})
    name = str(values["kind"])
    if name not in KINDS:
        raise ValueError(_unknown(name))
    settings: EngineSettings = KINDS[name].settings.model_validate(values)
    return settings


def kind_of_model(model: str) -> str:
    """Return the kind of engine that runs ``model``: llama.cpp for GGUF files and packaged models, otherwise vLLM."""
    return next((entry.name for entry in KINDS.values() if entry.loads(model)), VLLM.name)


def default_engines() -> tuple[EngineSettings, ...]:
    """Return the engines of a coordinator whose settings name none.

    They are the packaged model on llama.cpp, where both are installed, and the extractive engine.
    """
    model = default_model()
    generating = () if model is None else (engine_settings({"kind": LLAMACPP.name, "model": model}),)
    return (*generating, engine_settings({"kind": EXTRACTIVE.name}))


def engine_kind(settings: EngineSettings) -> EngineKind[Any]:
    """Return the kind that ``settings`` ask for.

    Raises:
        ConfigurationError: no such kind, or a setting that it needs is missing.
    """
    kind = KINDS.get(settings.kind)
    if kind is None:
        raise ConfigurationError(_unknown(settings.kind))
    for name in kind.required:
        if not getattr(settings, name):
            raise ConfigurationError(f"an engine of kind {settings.kind!r} needs the setting {name!r}")
    return kind


def _unknown(name: str) -> str:
    return f"unknown engine kind {name!r}{nearest(name, list(KINDS))}"
