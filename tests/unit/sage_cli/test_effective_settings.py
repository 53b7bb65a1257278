from __future__ import annotations

from pathlib import Path

import pytest

from sage_cli.effective_settings import SECRET, effective_settings, settings_classes
from sage_common.config import SECTIONS
from sage_common.errors import ConfigurationError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("{}")
    monkeypatch.setenv("SAGE_CONFIG_FILE", str(path))
    return path


def test_every_section_of_the_config_file_has_a_settings_class(config: Path) -> None:
    assert {cls.section for cls in settings_classes()} == set(SECTIONS)


def test_each_setting_says_where_its_value_comes_from(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("classifier: {drain_timeout_seconds: 3}")
    monkeypatch.setenv("SAGE_CLASSIFIER_GRPC_PORT", "0")
    found = {setting.name: (setting.value, setting.source) for setting in effective_settings("classifier")}
    assert found["drain_timeout_seconds"] == (3.0, "file")
    assert found["grpc_port"] == (0, "environment")
    assert found["host"] == ("127.0.0.1", "default")


def test_secrets_are_not_shown_however_deep_they_are(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_CLIENT_API_KEY", "hunter2")
    monkeypatch.setenv("SAGE_GATEWAY_API_KEYS", '{"hunter2": "tenant"}')
    engine = '[{"kind": "openai", "url": "http://x/v1", "api_key": "hunter2"}]'
    monkeypatch.setenv("SAGE_LLM_COORDINATOR_ENGINES", engine)
    settings = effective_settings(None)
    assert "hunter2" not in repr(settings)
    assert repr(settings).count(SECRET) == 3


def test_a_wrong_section_is_refused_with_the_nearest_one(config: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'gateway'"):
        effective_settings("gatewy")
