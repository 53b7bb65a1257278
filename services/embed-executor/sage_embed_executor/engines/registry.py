"""Every kind of engine there is. A new one is a file beside this one and a line here: the import of its entry."""

# ruff: noqa: F401 - what is imported is what there is.
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_embed_executor.engines.cross_encoder_engine import CROSS_ENCODER
from sage_embed_executor.engines.engine_type import EmbeddingEngineType, EngineContext
from sage_embed_executor.engines.openai_embedding_engine import OPENAI_EMBEDDING
from sage_embed_executor.engines.sentence_transformers_engine import SENTENCE_TRANSFORMERS
from sage_embed_executor.models.weights import short_name
from sage_mesh.engine import Engine

ENGINE_TYPES: Mapping[str, EmbeddingEngineType[Any]] = MappingProxyType(
    {entry.name: entry for entry in list(globals().values()) if isinstance(entry, EmbeddingEngineType)}
)

if TYPE_CHECKING:

    class EngineTypeSettings:
        """Settings of each kind of engine, by its group."""

        def __init__(self, **of_engine_types: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    EngineTypeSettings = make_dataclass(
        "EngineTypeSettings",
        [
            (entry.group, entry.settings, field(default_factory=entry.settings))
            for entry in ENGINE_TYPES.values()
            if entry.settings is not None
        ],
        frozen=True,
        slots=True,
    )
    EngineTypeSettings.__module__ = __name__  # so that it can be pickled
    EngineTypeSettings.__doc__ = "Settings of each kind of engine, by its group."


def make_engines(context: EngineContext) -> list[Engine]:
    """Make the engines that the settings name.

    Raises:
        ConfigurationError: an unknown kind, two models of one name, or settings that do not fit the kind.
    """
    settings = context.settings
    entry = ENGINE_TYPES.get(settings.engine)
    if entry is None:
        suggestion = nearest(settings.engine, ENGINE_TYPES)
        raise ConfigurationError(f"unknown embedding engine {settings.engine!r}{suggestion}")
    name, count = Counter(map(short_name, settings.models)).most_common(1)[0]
    if count > 1:
        raise ConfigurationError(f"{count} models are called {name!r}: {', '.join(settings.models)}; rename a folder")
    own = None if entry.settings is None else getattr(settings, entry.group)
    return entry.build(own, context)
