"""The settings, from the environment and from code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines.engine_kind import EngineSettings
from sage_llm_coordinator.engines.openai_engine import OpenAiEngineSettings
from sage_llm_coordinator.engines.registry import KINDS, engine_kind, engine_settings
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings
from sage_llm_coordinator.servers.settings import ServerSettings


def test_engines_can_be_given_as_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = '[{"kind":"openai","url":"http://127.0.0.1:8001/v1/","api_key":"sk-secret","max_concurrency":3}]'
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", engines)
    (engine,) = load(LlmCoordinatorSettings).engines
    assert isinstance(engine, OpenAiEngineSettings)
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


@pytest.mark.parametrize(
    "variables",
    [
        {
            "VLLM_PYTHON": "/opt/python",
            "VLLM_PORTS": "9000-9001",
            "VLLM_MAX_FAILURES": "2",
            "ORPHAN_SECONDS": "3",
            "READ_TIMEOUT_SECONDS": "4",
            "MAX_SENTENCES": "5",
        },
        {
            "VLLM__PYTHON": "/opt/python",
            "SERVERS_PORTS": "9000-9001",
            "SERVERS_MAX_FAILURES": "2",
            "SERVERS_ORPHAN_SECONDS": "3",
            "OPENAI_READ_TIMEOUT_SECONDS": "4",
            "EXTRACTIVE_MAX_SENTENCES": "5",
        },
    ],
)
def test_settings_of_kinds_and_servers_have_the_names_from_before_too(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SAGE_LLM_COORDINATOR_{name}", value)
    settings = load(LlmCoordinatorSettings)
    assert settings.servers == ServerSettings("9000-9001", 2, 3.0)
    of_kinds = settings.of_kinds()
    assert of_kinds.vllm.python == "/opt/python"
    assert of_kinds.openai.read_timeout_seconds == 4.0
    assert of_kinds.extractive.max_sentences == 5
    in_code = LlmCoordinatorSettings(vllm_python="/opt/other", orphan_seconds=6.0)
    assert (in_code.of_kinds().vllm.python, in_code.servers.orphan_seconds) == ("/opt/other", 6.0)


def test_the_config_file_takes_either_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("{vllm_python: /opt/python}", "{vllm: {python: /opt/python}}"):
        file = tmp_path / "config.yaml"
        file.write_text(f"llm_coordinator: {text}\n")
        monkeypatch.setenv("SAGE_CONFIG_FILE", str(file))
        assert load(LlmCoordinatorSettings).of_kinds().vllm.python == "/opt/python"


@pytest.mark.parametrize(("name", "value"), [("SERVERS_PORTS", "all"), ("VLLM_MAX_FAILURES", "0")])
def test_a_range_is_checked_under_either_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SAGE_LLM_COORDINATOR_{name}", value)
    with pytest.raises(ConfigurationError, match=r"servers\."):
        load(LlmCoordinatorSettings)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"kind": "opnai", "url": "http://x"}, r"engines\.0.*did you mean 'openai'"),
        ({"kind": "extractive", "device": "cpu"}, r"unknown setting 'engines\.0\.device'"),
        ({"kind": "vllm", "model": "m", "port": 70000}, r"engines\.0\.port"),
    ],
)
def test_an_engine_has_the_settings_of_its_kind(
    monkeypatch: pytest.MonkeyPatch, engine: dict[str, object], said: str
) -> None:
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", json.dumps([engine]))
    with pytest.raises(ConfigurationError, match=said):
        load(LlmCoordinatorSettings)


def test_a_record_keeps_what_was_set_and_no_key() -> None:
    settings = OpenAiEngineSettings(url="http://x:1/v1", api_key=SecretStr("sk-secret"), max_concurrency=3)
    assert settings.kept() == {"kind": "openai", "url": settings.url, "max_concurrency": 3}
    assert settings.has_api_key
    assert engine_settings(settings.kept()) == settings.model_copy(update={"api_key": SecretStr("")})


def test_a_mistake_beside_a_key_does_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", '[{"url":"http://x","api_key":"sk-secret"}]')
    with pytest.raises(ConfigurationError, match=r"engines\.0\.kind") as caught:
        load(LlmCoordinatorSettings)
    assert "sk-secret" not in caught.value.message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (EngineSettings(kind="opnai"), "did you mean 'openai'"),
        (OpenAiEngineSettings(), "needs the setting 'url'"),
        (VllmEngineSettings(), "needs the setting 'model'"),
    ],
)
def test_settings_that_make_no_engine_are_refused_with_a_remedy(settings: EngineSettings, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        engine_kind(settings)


def test_names_are_short() -> None:
    assert KINDS["openai"].short_name(OpenAiEngineSettings(url="http://10.0.0.1:8001/v1")) == "10.0.0.1-8001"
    assert KINDS["openai"].short_name(OpenAiEngineSettings(url="https://api.acme.com/v1")) == "api.acme.com"
    assert KINDS["vllm"].short_name(VllmEngineSettings(model="Qwen/Qwen3-0.6B")) == "Qwen3-0.6B"
