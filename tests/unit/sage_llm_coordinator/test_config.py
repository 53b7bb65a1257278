"""The settings, from the environment and from code."""

from __future__ import annotations

import pytest

from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_llm_coordinator.config import EngineSettings, LlmCoordinatorSettings
from sage_llm_coordinator.engine_kinds import KINDS, engine_kind


def test_with_no_settings_there_is_one_extractive_engine() -> None:
    assert [engine.kind for engine in load(LlmCoordinatorSettings).engines] == ["extractive"]


def test_engines_can_be_given_as_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = '[{"kind":"openai","url":"http://127.0.0.1:8001/v1/","api_key":"sk-secret","max_concurrency":3}]'
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", engines)
    (engine,) = load(LlmCoordinatorSettings).engines
    assert (engine.url, engine.max_concurrency) == ("http://127.0.0.1:8001/v1", 3)
    assert engine.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(engine)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8001", "ftp://x/v1", "http://user:pw@x/v1", "http://x/v1?key=1", "http:///v1"]
)
def test_a_url_that_is_none_or_holds_secrets_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", f'[{{"kind":"openai","url":"{url}"}}]')
    with pytest.raises(ConfigurationError):
        load(LlmCoordinatorSettings)


def test_a_mistake_beside_a_key_does_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", '[{"url":"http://x","api_key":"sk-secret"}]')
    with pytest.raises(ConfigurationError, match=r"engines\.0\.kind") as caught:
        load(LlmCoordinatorSettings)
    assert "sk-secret" not in caught.value.message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (EngineSettings(kind="opnai", url="http://x"), "did you mean 'openai'"),
        (EngineSettings(kind="openai"), "needs the setting 'url'"),
        (EngineSettings(kind="vllm"), "needs the setting 'model'"),
    ],
)
def test_settings_that_make_no_engine_are_refused_with_a_remedy(settings: EngineSettings, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        engine_kind(settings)


def test_names_are_short() -> None:
    assert KINDS["openai"].short_name(EngineSettings(kind="openai", url="http://10.0.0.1:8001/v1")) == "10.0.0.1-8001"
    assert KINDS["openai"].short_name(EngineSettings(kind="openai", url="https://api.acme.com/v1")) == "api.acme.com"
    assert KINDS["vllm"].short_name(EngineSettings(kind="vllm", model="Qwen/Qwen3-0.6B")) == "Qwen3-0.6B"
