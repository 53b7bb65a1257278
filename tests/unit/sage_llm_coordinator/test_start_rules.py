"""What an order to start an engine may set."""

from __future__ import annotations

import pytest

from sage_client.presets.preset import built_in
from sage_common.errors import InvalidRequestError, PermissionDeniedError, SageError
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings
from sage_llm_coordinator.start_rules import StartRules

RULES = StartRules()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trust-remote-code"],
        ["--trust_remote_code"],
        ["--trust-remote-cod"],
        ["--worker-cls", "evil.Worker"],
        ["--worker-cls=evil.Worker"],
        ["--worker-extension-cls", "evil.Worker"],
        ["--tool-parser-plugin", "/tmp/evil.py"],
        ["--reasoning-parser-plugin", "/tmp/evil.py"],
        ["--logits-processors", "evil:Processor"],
        ["--middleware", "evil.Middleware"],
        ["--config", "/etc/passwd"],
        ["--hf-overrides", "{}"],
        ["--chat-template", "/etc/passwd"],
        ["--download-dir", "/"],
        ["--model", "another"],
        ["--api-key", "canary"],
        ["--host", "0.0.0.0"],
        ["--allowed-local-media-path", "/"],
        ["--dtype", "half", "--trust-remote-code"],
        ["--load-format", "pt"],
        ["--load-format=runai_streamer"],
        ["-O3"],
        ["--compilation-config.backend", "evil"],
    ],
    ids=" ".join,
)
def test_an_option_that_does_not_just_tune_the_server_is_refused(arguments: list[str]) -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        RULES.check("acme/tiny", arguments, {})
    assert caught.value.param == "arguments"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "VLLM_PLUGINS", "HF_ENDPOINT", "http_proxy", ""],
)
def test_a_variable_that_does_not_just_tune_the_server_is_refused(name: str) -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        RULES.check("acme/tiny", [], {name: "canary-value"})
    assert "canary-value" not in caught.value.message


def test_a_secret_is_refused_with_the_place_where_it_belongs() -> None:
    with pytest.raises(PermissionDeniedError, match="in the environment of the coordinator"):
        RULES.check("acme/tiny", [], {"HF_TOKEN": "x"})


@pytest.mark.parametrize(
    "model", ["--trust-remote-code", "-m", "http://evil.example/m", "s3://bucket/m", "a\nb", "m" * 1025]
)
def test_a_model_is_a_name_or_a_path(model: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        RULES.check(model, [], {})
    assert caught.value.param == "model"


@pytest.mark.parametrize("model", ["acme/tiny", "/models/größe 7b", "tiny.gguf", "C:/models/x"])
def test_names_and_paths_are_taken(model: str) -> None:
    RULES.check(model, [], {})


@pytest.mark.parametrize("name", built_in())
def test_every_preset_may_be_ordered(name: str) -> None:
    start = built_in()[name].start(model="acme/tiny")
    RULES.check(start.model, start.arguments, start.environment)


def test_options_that_tune_take_values_of_every_spelling() -> None:
    arguments = [
        "--max-model-len",
        "4K",
        "--max_num_seqs=16",
        "-tp",
        "2",
        "--seed",
        "-1",
        "--lora-modules",
        "a=/x",
        "b=/y",
    ]
    RULES.check("acme/tiny", arguments, {"VLLM_CPU_KVCACHE_SPACE": "1", "CUDA_VISIBLE_DEVICES": "0,1"})


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["stray"], {}), (["--seed", "x" * 5000], {}), (["--enforce-eager"] * 300, {}), ([], {"OMP_NUM_THREADS": "1\n2"})],
)
def test_what_no_server_would_be_given_is_refused(arguments: list[str], environment: dict[str, str]) -> None:
    with pytest.raises(SageError):
        RULES.check("acme/tiny", arguments, environment)


def test_the_owner_of_the_machine_may_allow_more() -> None:
    rules = StartRules(["--trust_remote_code"], ["HF_ENDPOINT"])
    rules.check("acme/tiny", ["--trust-remote-code"], {"HF_ENDPOINT": "http://mirror"})


def test_records_hold_no_secret_of_an_engine_that_the_owner_configured() -> None:
    settings = VllmEngineSettings(
        model="acme/tiny", api_key="canary-key", environment={"HF_TOKEN": "canary-token", "OMP_NUM_THREADS": "1"}
    )
    assert "canary" not in str(settings.kept())
    assert settings.kept()["environment"] == {"OMP_NUM_THREADS": "1"}
    assert settings.environment["HF_TOKEN"] == "canary-token"
