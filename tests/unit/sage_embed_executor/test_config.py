from __future__ import annotations

import pytest
from fixtures.manual_clock import ManualClock
from prometheus_client import CollectorRegistry

from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_embed_executor.config import EmbedExecutorSettings
from sage_embed_executor.engines.engine_type import EngineContext, engine_id
from sage_embed_executor.engines.registry import make_engines
from sage_embed_executor.metrics import EmbedMetrics


@pytest.mark.parametrize(
    ("processors", "streams", "threads", "layout"),
    [(1, 0, 0, (1, 1)), (2, 0, 0, (2, 1)), (16, 0, 0, (4, 4)), (2, 1, 0, (1, 2)), (2, 4, 0, (4, 1)), (8, 2, 3, (2, 3))],
)
def test_streams_share_the_processors(processors: int, streams: int, threads: int, layout: tuple[int, int]) -> None:
    settings = load(EmbedExecutorSettings, streams=streams, threads_per_stream=threads)
    assert settings.in_process().stream_layout(processors) == layout


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_EMBED_EXECUTOR_TOKEN_BUDGET", "2048")
    assert load(EmbedExecutorSettings).in_process().backend_preference(2).token_budget == 2048


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("engine", "sentence-transformer", "unknown embedding engine .*did you mean 'sentence-transformers'"),
        ("backend", "open-vino", "unknown embedding backend .*did you mean 'openvino'"),
    ],
)
def test_an_unknown_name_ends_the_start(setting: str, value: str, message: str) -> None:
    settings = load(EmbedExecutorSettings, None, **{setting: value})
    with pytest.raises(ConfigurationError, match=message):
        make_engines(
            EngineContext(settings, "embed-executor-1-abcdef", ManualClock(), EmbedMetrics(CollectorRegistry()))
        )


def test_an_engine_is_named_for_its_model_and_its_process() -> None:
    assert engine_id("sentence-transformers/all-MiniLM-L6-v2", "embed-executor-41-9c3f2a") == "all-MiniLM-L6-v2-3f2a"


def test_each_model_is_an_engine_of_its_own() -> None:
    settings = load(EmbedExecutorSettings, aliases=["mine"], further_models=["BAAI/bge-small-en", "/models/e5"])
    engines = make_engines(
        EngineContext(settings, "embed-executor-1-abcdef", ManualClock(), EmbedMetrics(CollectorRegistry()))
    )
    assert [engine.spec.engine_id for engine in engines] == ["all-MiniLM-L6-v2-cdef", "bge-small-en-cdef", "e5-cdef"]
    assert [engine.spec.models[0].aliases for engine in engines][1:] == [("BAAI/bge-small-en",), ()]
    assert "mine" in engines[0].spec.models[0].aliases


def test_two_models_of_one_name_are_refused() -> None:
    settings = load(EmbedExecutorSettings, further_models=["/models/e5", "/other/e5"])
    with pytest.raises(ConfigurationError, match="2 models are called 'e5'"):
        make_engines(
            EngineContext(settings, "embed-executor-1-abcdef", ManualClock(), EmbedMetrics(CollectorRegistry()))
        )


def test_further_models_of_a_server_are_refused() -> None:
    settings = load(EmbedExecutorSettings, engine="openai-embedding", url="http://host/v1", further_models=["e5"])
    with pytest.raises(ConfigurationError, match="start an embed-executor for each further model"):
        make_engines(
            EngineContext(settings, "embed-executor-1-abcdef", ManualClock(), EmbedMetrics(CollectorRegistry()))
        )


def test_a_url_with_credentials_is_refused() -> None:
    with pytest.raises(ValueError, match="put the key in api_key"):
        EmbedExecutorSettings(engine="openai-embedding", url="http://ann:pw@host/v1")


@pytest.mark.parametrize("group", ["", "OPENAI_EMBEDDING_"])
def test_the_settings_of_an_engine_are_a_group_and_keep_the_names_from_before(
    monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setenv(f"SAGE_EMBED_EXECUTOR_{group}URL", "http://host:8080")
    monkeypatch.setenv(f"SAGE_EMBED_EXECUTOR_{group}API_KEY", "secret")
    monkeypatch.setenv(f"SAGE_EMBED_EXECUTOR_{group}KINDS", '["embedding","rerank"]')
    own = load(EmbedExecutorSettings).openai_embedding
    assert (own.url, own.api_key.get_secret_value(), list(own.kinds)) == (
        "http://host:8080",
        "secret",
        ["embedding", "rerank"],
    )
