"""Engines by name: one constructor and one registry line each."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable

from sage_common.clock import Clock
from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_control_plane.request.engine_state import EngineSpec, ModelCard
from sage_control_plane.request.request import RequestKind
from sage_embed_executor.backends.backend import Precision
from sage_embed_executor.backends.registry import AUTO, check_backend_name
from sage_embed_executor.batching.length_aware_queue import BatchLimits
from sage_embed_executor.config import EmbedExecutorSettings, available_processors
from sage_embed_executor.engines.cross_encoder_engine import PRECISIONS, CrossEncoderEngine, load_cross_encoder
from sage_embed_executor.engines.in_process_engine import SentenceTransformersEngine, new_spec
from sage_embed_executor.engines.openai_embedding_engine import REMOTE_KINDS, RemoteEngine
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import read_model_folder
from sage_embed_executor.models.model_loader import LoadedModel, ModelLoader
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.models.weights import aliases_of, find_weights, short_name
from sage_embed_executor.selection.candidates import Candidate, Selection
from sage_mesh.engine import Engine
from sage_mesh.upstream.upstream import Upstream, UpstreamTimeouts

# A cross-encoder is not measured at its start; its batches are as large as fp32 likes them.
CROSS_ENCODER_TOKENS = 512
CROSS_ENCODER_BACKEND = "torch"

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
    preference = settings.backend_preference(available_processors())
    turn = threading.Lock()
    engines: list[Engine] = []
    for model in settings.models:
        given = settings.aliases if model == settings.model else ()
        loader = ModelLoader(model, preference, settings.max_padding_share, turn)
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
                spec, loader.load, preference.streams, settings.cache_bytes, clock, metrics, give_up=loader.cancel
            )
        )
    return engines


def make_cross_encoder(
    settings: EmbedExecutorSettings, instance_id: str, clock: Clock, metrics: EmbedMetrics
) -> list[Engine]:
    """Engines that rank documents with the models in this process. Raises ConfigurationError: torch cannot do it."""
    check_backend_name(settings.backend)
    if settings.backend not in (AUTO, CROSS_ENCODER_BACKEND):
        raise ConfigurationError(
            f"the engine cross-encoder runs models with {CROSS_ENCODER_BACKEND} only, not {settings.backend}; "
            f"set SAGE_EMBED_EXECUTOR_BACKEND to {CROSS_ENCODER_BACKEND} or {AUTO}"
        )
    precision = Precision.FP32 if settings.precision == AUTO else Precision(settings.precision)
    if precision not in PRECISIONS:
        known = " or ".join(one.value for one in PRECISIONS)
        raise ConfigurationError(
            f"the engine cross-encoder does not compute in {precision.value}; set SAGE_EMBED_EXECUTOR_PRECISION to "
            f"{known}, or to {AUTO}, which is {Precision.FP32.value} here"
        )
    turn = threading.Lock()
    streams, _ = settings.stream_layout(available_processors())
    return [
        CrossEncoderEngine(
            EngineSpec(
                engine_id(model, instance_id),
                "cross-encoder",
                (_cross_encoder_card(settings, model),),
                pool=settings.pool,
                max_concurrency=settings.max_concurrency,
            ),
            functools.partial(_load_cross_encoder, settings, model, precision, turn),
            streams,
            settings.cache_bytes,
            clock,
            metrics,
        )
        for model in settings.models
    ]


def _cross_encoder_card(settings: EmbedExecutorSettings, model: str) -> ModelCard:
    given = settings.aliases if model == settings.model else ()
    return ModelCard(
        short_name(model),
        frozenset({RequestKind.RERANK}),
        tuple(dict.fromkeys((*aliases_of(model), *given))),
        description="cross-encoder, run by SAGE on this machine",
    )


def _load_cross_encoder(
    settings: EmbedExecutorSettings, model: str, precision: Precision, turn: threading.Lock
) -> LoadedModel:
    _, threads = settings.stream_layout(available_processors())
    selection = Selection(Candidate(CROSS_ENCODER_BACKEND, precision), settings.token_budget or CROSS_ENCODER_TOKENS)
    folder = read_model_folder(find_weights(model))
    # Loading sets process-wide defaults of torch for a while.
    with turn:
        backend = load_cross_encoder(folder, threads, precision, settings.device)
    limits = BatchLimits(selection.token_budget, settings.max_padding_share)
    return LoadedModel(folder, TextTokenizer.load(folder.path), backend, limits, selection)


def make_openai_embedding(
    settings: EmbedExecutorSettings, instance_id: str, clock: Clock, metrics: EmbedMetrics
) -> list[Engine]:
    """An engine that passes requests on to a server."""
    if not settings.url:
        raise ConfigurationError(
            "an engine of kind 'openai-embedding' needs the server's URL; set SAGE_EMBED_EXECUTOR_URL"
        )
    if settings.further_models:
        raise ConfigurationError(
            "an engine of kind 'openai-embedding' passes on to one model; leave SAGE_EMBED_EXECUTOR_FURTHER_MODELS "
            "empty and start an embed-executor for each further model"
        )
    unknown = [name for name in settings.kinds if name not in REMOTE_KINDS]
    if unknown:
        raise ConfigurationError(f"unknown kind of work {unknown[0]!r}{nearest(unknown[0], list(REMOTE_KINDS))}")
    card = ModelCard(
        settings.model,
        frozenset(REMOTE_KINDS[name] for name in settings.kinds),
        tuple(settings.aliases),
        description="model of another server",
    )
    spec = EngineSpec(
        engine_id(settings.model, instance_id),
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
    return [RemoteEngine(spec, upstream)]


ENGINES: dict[str, MakeEngines] = {
    "sentence-transformers": make_sentence_transformers,
    "cross-encoder": make_cross_encoder,
    "openai-embedding": make_openai_embedding,
}
