"""Settings: precedence, and unknown keys refused with the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from sage_common import config, paths
from sage_common.config import SectionSettings, load
from sage_common.errors import ConfigurationError


class ExampleSettings(SectionSettings):
    section: ClassVar[str] = "gateway"
    port: int = 1
    grpc_port: int = 0
    limits: dict[str, int] = Field(default_factory=dict)


def write(text: str) -> None:
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_default_holds_when_nothing_is_said() -> None:
    assert load(ExampleSettings).port == 1


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write("gateway: {port: 2}")
    assert load(ExampleSettings).port == 2
    monkeypatch.setenv("SAGE_GATEWAY_PORT", "3")
    assert load(ExampleSettings).port == 3
    assert load(ExampleSettings, ["--port", "4"]).port == 4
    assert load(ExampleSettings, port=5).port == 5


def test_flags_have_dashes() -> None:
    assert load(ExampleSettings, ["--grpc-port", "4"]).grpc_port == 4


def test_nested_values_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_GATEWAY_LIMITS", '{"a": 7}')
    assert load(ExampleSettings).limits == {"a": 7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gatewy: {port: 2}", "unknown section 'gatewy'; did you mean 'gateway'"),
        ("gateway: {prot: 2}", "unknown setting 'prot'; did you mean 'port'"),
        ("gateway: {port: many}", "setting 'port': .*got 'many'"),
        ("gateway: [1]", "section 'gateway' is list, expected a mapping"),
        ("- 1", "expected a mapping at the top"),
        ("gateway: {", "cannot read"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError, match=message):
        load(ExampleSettings)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("SAGE_GATEWAY_PRT", "no setting 'prt'; did you mean 'port'"),
        ("SAGE_GATWAY_PORT", "unknown environment variable SAGE_GATWAY_PORT; did you mean"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=message):
        load(ExampleSettings)


def test_variables_of_other_sections_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_SCHEDULER_POLICY", "fifo")
    assert load(ExampleSettings).port == 1


def test_a_named_file_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAGE_CONFIG_FILE", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(ExampleSettings)


def test_an_unknown_flag_ends_the_program_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(ExampleSettings, ["--prot", "4"])
    assert "--prot" in capsys.readouterr().err


def test_a_name_without_a_near_one_gets_the_list() -> None:
    assert config.nearest("zzz", ["alpha", "beta"]) == "; known: alpha, beta"
