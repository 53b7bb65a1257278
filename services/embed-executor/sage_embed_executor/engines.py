"""Engines by name: one constructor and one registry line each."""

from __future__ import annotations

from collections.abc import Callable

from sage_common.clock import Clock
from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_control_plane.engines import EngineSpec, ModelCard
from sage_control_plane.requests import RequestKind
from sage_embed_executor.backends.registry import check_backend_name, load_backend
from sage_embed_executor.config import EmbedExecutorSettings, available_processors
from sage_embed_executor.cross_encoder import CrossEncoderEngine, load_cross_encoder
from sage_embed_executor.engine import LoadedModel, SentenceTransformersEngine, new_spec
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.model_folder import read_model_folder
from sage_embed_executor.remote_engine import REMOTE_KINDS, RemoteEngine
from sage_embed_executor.tokenizer import TextTokenizer
from sage_embed_executor.weights import aliases_of, find_weights, short_name
from sage_mesh.engine_host import Engine
from sage_mesh.upstream.upstream import Upstream, UpstreamTimeouts

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


def make_cross_encoder(
    settings: EmbedExecutorSettings, engine_id: str, clock: Clock, metrics: EmbedMetrics
) -> CrossEncoderEngine:
    """An engine that ranks documents with a model in this process."""
    streams, threads = settings.stream_layout(available_processors())

    def load() -> LoadedModel:
        folder = read_model_folder(find_weights(settings.model))
        return LoadedModel(folder, TextTokenizer.load(folder.path), load_cross_encoder(folder, threads))

    card = ModelCard(
        short_name(settings.model),
        frozenset({RequestKind.RERANK}),
        tuple(dict.fromkeys((*aliases_of(settings.model), *settings.aliases))),
        description="cross-encoder, run by SAGE on this machine's processors",
    )
    spec = EngineSpec(engine_id, "cross-encoder", (card,), pool=settings.pool, max_concurrency=settings.max_concurrency)
    return CrossEncoderEngine(spec, load, settings.limits, streams, settings.cache_bytes, clock, metrics)


def make_openai_embedding(
    settings: EmbedExecutorSettings, engine_id: str, clock: Clock, metrics: EmbedMetrics
) -> RemoteEngine:
    """An engine that passes requests on to a server."""
    if not settings.url:
        raise ConfigurationError(
            "an engine of kind 'openai-embedding' needs the server's URL; set SAGE_EMBED_EXECUTOR_URL"
        )
    unknown = [name for name in settings.kinds if name not in REMOTE_KINDS]
    if unknown:
        raise ConfigurationError(f"unknown kind of work {unknown[0]!r}{nearest(unknown[0], list(REMOTE_KINDS))}")
    card = ModelCard(
        settings.model,
        frozenset(REMOTE_KINDS[name] for name in settings.kinds),
        tuple(settings.aliases),
        description=f"embedding model of the server at {settings.url}",
    )
    spec = EngineSpec(
        engine_id,
        "openai-embedding",
        (card,),
        pool=settings.pool,
        max_concurrency=settings.max_concurrency,
        url=settings.url,
    )
    upstream = Upstream(
        settings.url,
        api_key=settings.api_key.get_secret_value(),
        max_concurrency=settings.max_concurrency,
        timeouts=UpstreamTimeouts(),
    )
    return RemoteEngine(spec, upstream)


ENGINES: dict[str, MakeEngine] = {
    "sentence-transformers": make_sentence_transformers,
    "cross-encoder": make_cross_encoder,
    "openai-embedding": make_openai_embedding,
}
