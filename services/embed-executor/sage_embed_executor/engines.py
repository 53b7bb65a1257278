"""Engines by name: one constructor and one registry line each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from sage_common.clock import Clock
from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.registry import check_backend_name
from sage_embed_executor.config import EmbedExecutorSettings, available_processors
from sage_embed_executor.engine import SentenceTransformersEngine, new_spec
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.model_loader import ModelLoader
from sage_embed_executor.weights import aliases_of, short_name
from sage_mesh.engine_host import Engine

MakeEngines = Callable[[EmbedExecutorSettings, str, Clock, EmbedMetrics], list[Engine]]


def make_engines(
    settings: EmbedExecutorSettings, instance_id: str, clock: Clock, metrics: EmbedMetrics
) -> list[Engine]:
    """Make the engines that the settings name. Raises ConfigurationError: unknown name, two models of one name."""
    make = ENGINES.get(settings.engine)
    if make is None:
        suggestion = nearest(settings.engine, list(ENGINES))
        raise ConfigurationError(f"unknown embedding engine {settings.engine!r}{suggestion}")
    name, count = Counter(map(short_name, settings.models)).most_common(1)[0]
    if count > 1:
        raise ConfigurationError(f"{count} models are called {name!r}: {', '.join(settings.models)}; rename a folder")
    return make(settings, instance_id, clock, metrics)


def engine_id(model: str, instance_id: str) -> str:
    """Id of an engine, unique to this process."""
    return f"{short_name(model)}-{instance_id[-4:]}"


def make_sentence_transformers(
    settings: EmbedExecutorSettings, instance_id: str, clock: Clock, metrics: EmbedMetrics
) -> list[Engine]:
    """Engines that run the models in this process."""
    check_backend_name(settings.backend)
    wish = settings.wish(available_processors())
    turn = threading.Lock()
    engines: list[Engine] = []
    for model in settings.models:
        given = settings.aliases if model == settings.model else ()
        loader = ModelLoader(model, wish, settings.max_padding_share, turn)
        spec = new_spec(
            engine_id(model, instance_id),
            short_name(model),
            tuple(dict.fromkeys((*aliases_of(model), *given))),
            settings.pool,
            settings.max_concurrency,
            "embedding model, run by SAGE on this machine",
        )
        engines.append(
            SentenceTransformersEngine(
                spec, loader.load, wish.streams, settings.cache_bytes, clock, metrics, give_up=loader.give_up
            )
        )
    return engines


ENGINES: dict[str, MakeEngines] = {"sentence-transformers": make_sentence_transformers}
