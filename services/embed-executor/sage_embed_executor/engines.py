"""Engines by name: one constructor and one registry line each."""

from __future__ import annotations

from collections.abc import Callable

from sage_common.clock import Clock
from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.registry import check_backend_name, load_backend
from sage_embed_executor.config import EmbedExecutorSettings, available_processors
from sage_embed_executor.engine import LoadedModel, SentenceTransformersEngine, new_spec
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.model_folder import read_model_folder
from sage_embed_executor.tokenizer import TextTokenizer
from sage_embed_executor.weights import aliases_of, find_weights, short_name
from sage_mesh.engine_host import Engine

MakeEngine = Callable[[EmbedExecutorSettings, str, Clock, EmbedMetrics], Engine]


def make_engine(settings: EmbedExecutorSettings, instance_id: str, clock: Clock, metrics: EmbedMetrics) -> Engine:
    """Make the engine that the settings name. Raises ConfigurationError for an unknown name."""
    make = ENGINES.get(settings.engine)
    if make is None:
        suggestion = nearest(settings.engine, list(ENGINES))
        raise ConfigurationError(f"unknown embedding engine {settings.engine!r}{suggestion}")
    return make(settings, engine_id(settings.model, instance_id), clock, metrics)


def engine_id(model: str, instance_id: str) -> str:
    """Id of an engine, unique to this process."""
    return f"{short_name(model)}-{instance_id[-4:]}"


def make_sentence_transformers(
    settings: EmbedExecutorSettings, engine_id: str, clock: Clock, metrics: EmbedMetrics
) -> SentenceTransformersEngine:
    """An engine that runs the model in this process."""
    check_backend_name(settings.backend)
    streams, threads = settings.stream_layout(available_processors())

    def load() -> LoadedModel:
        folder = read_model_folder(find_weights(settings.model))
        return LoadedModel(folder, TextTokenizer.load(folder.path), load_backend(settings.backend, folder, threads))

    spec = new_spec(
        engine_id,
        short_name(settings.model),
        tuple(dict.fromkeys((*aliases_of(settings.model), *settings.aliases))),
        settings.pool,
        settings.max_concurrency,
        "embedding model, run by SAGE on this machine's processors",
    )
    return SentenceTransformersEngine(spec, load, settings.limits, streams, settings.cache_bytes, clock, metrics)


ENGINES: dict[str, MakeEngine] = {"sentence-transformers": make_sentence_transformers}
