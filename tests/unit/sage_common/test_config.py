"""Settings: precedence, and unknown keys refused with the nearest name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from annotated_types import Gt
from pydantic import Field

from sage_common import config, paths
from sage_common.config import SectionSettings, gathered, including, load, sources
from sage_common.errors import ConfigurationError
from sage_common.setting_marks import Alias, Inlined
from sage_common.setting_table import setting_table


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds.

    Attributes:
        most_bytes: largest body, in
            bytes.
        by_tenant: the same of one tenant.
    """

    most_bytes: Annotated[int, Gt(0), Alias("max_bytes")] = 10
    by_tenant: Annotated[Mapping[str, int], Alias()] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inner:
    limiting: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Knobs:
    inner: Annotated[Inner, Inlined()] = Inner()
    factor: Annotated[float, Gt(0)] = field(default=2.0, metadata={"description": "how much"})


@including(Knobs)
class NestedSettings(SectionSettings):
    section: ClassVar[str] = "gateway"
    port: int = 1


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


def test_a_group_nests_in_the_file_and_in_flags_and_lengthens_the_variables_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("gateway: {limiting: {most_bytes: 2, by_tenant: {a: 1}}}")
    assert gathered(Knobs, load(NestedSettings)) == Knobs(Inner(Limits(2, {"a": 1})))
    monkeypatch.setenv("SAGE_GATEWAY_LIMITING_MOST_BYTES", "3")
    assert gathered(Knobs, load(NestedSettings)) == Knobs(Inner(Limits(3, {"a": 1})))
    flags = ["--limiting.most-bytes", "4", "--limiting.by-tenant=b=2", "--factor=3"]
    assert gathered(Knobs, load(NestedSettings, flags)) == Knobs(Inner(Limits(4, {"a": 1, "b": 2})), 3.0)


def test_a_group_comes_from_one_variable_as_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_GATEWAY_LIMITING", '{"most_bytes": 3}')
    assert gathered(Knobs, load(NestedSettings)).inner.limiting.most_bytes == 3


def test_one_key_of_a_mapping_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_GATEWAY_LIMITING_BY_TENANT__a", "3")
    assert gathered(Knobs, load(NestedSettings)).inner.limiting.by_tenant == {"a": 3}


def test_an_alias_is_as_good_as_the_name_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    write("gateway: {max_bytes: 2, by_tenant: {a: 1}}")
    assert gathered(Knobs, load(NestedSettings)).inner.limiting == Limits(2, {"a": 1})
    monkeypatch.setenv("SAGE_GATEWAY_MAX_BYTES", "3")
    assert gathered(Knobs, load(NestedSettings)).inner.limiting == Limits(3, {"a": 1})
    assert gathered(Knobs, load(NestedSettings, ["--max-bytes", "4"])).inner.limiting == Limits(4, {"a": 1})
    assert gathered(Knobs, NestedSettings(max_bytes=5)).inner.limiting == Limits(5, {"a": 1})  # type: ignore[call-arg]


def test_between_sources_the_stronger_holds_whatever_it_calls_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    write("gateway: {limiting: {most_bytes: 2}}")
    monkeypatch.setenv("SAGE_GATEWAY_MAX_BYTES", "3")
    assert gathered(Knobs, load(NestedSettings)).inner.limiting.most_bytes == 3


def test_name_and_alias_with_different_values_are_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    write("gateway: {limiting: {most_bytes: 2}, max_bytes: 3}")
    with pytest.raises(ConfigurationError, match=r"'limiting\.most_bytes' and 'max_bytes' are the same setting"):
        load(NestedSettings)
    write("gateway: {limiting: {most_bytes: 2}, max_bytes: 2}")
    assert gathered(Knobs, load(NestedSettings)).inner.limiting.most_bytes == 2
    monkeypatch.setenv("SAGE_GATEWAY_MAX_BYTES", "3")
    monkeypatch.setenv("SAGE_GATEWAY_LIMITING_MOST_BYTES", "4")
    with pytest.raises(ConfigurationError, match=r"SAGE_GATEWAY_MAX_BYTES.*SAGE_GATEWAY_LIMITING_MOST_BYTES"):
        load(NestedSettings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gateway: {limiting: {most_byte: 2}}", "unknown setting 'limiting.most_byte'; did you mean 'limiting.most_b"),
        ("gateway: {limitin: {most_bytes: 2}}", "unknown setting 'limitin'; did you mean 'limiting'"),
        ("gateway: {limiting: {most_bytes: 0}}", "'limiting.most_bytes': Input should be greater than 0.*got 0"),
        ("gateway: {limiting: 3}", "setting 'limiting': .*got 3"),
        ("gateway: {inner: {}}", "unknown setting 'inner'"),
    ],
)
def test_a_wrong_nested_setting_is_refused_with_its_whole_name(text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError, match=message):
        load(NestedSettings)


def test_an_unknown_nested_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_GATEWAY_LIMITING_MOST_BITES", "3")
    with pytest.raises(ConfigurationError, match="did you mean 'limiting_most_bytes'"):
        load(NestedSettings)


def test_a_value_that_is_not_json_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_GATEWAY_LIMITS", "{secret")
    with pytest.raises(ConfigurationError, match="SAGE_GATEWAY_LIMITS is not JSON") as error:
        load(ExampleSettings)
    assert "secret" not in error.value.message


def test_every_setting_says_its_name_source_and_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    write("gateway: {limiting: {by_tenant: {a: 1}}}")
    monkeypatch.setenv("SAGE_GATEWAY_MAX_BYTES", "3")
    found = {setting.name: (source, setting.field.description) for setting, source in sources(NestedSettings)}
    assert found == {
        "port": ("default", None),
        "limiting.most_bytes": ("environment", "largest body, in bytes."),
        "limiting.by_tenant": ("file", "the same of one tenant."),
        "factor": ("default", "how much"),
    }


def test_a_former_name_may_be_written_as_the_variable_of_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, slots=True)
    class Server:
        python: Annotated[str, Alias("server_python")] = ""

    class WithServer(SectionSettings):
        section: ClassVar[str] = "gateway"
        server: Server = Server()

    write("gateway: {server_python: a}")
    assert load(WithServer).server.python == "a"
    assert load(WithServer, ["--server-python=b"]).server.python == "b"
    monkeypatch.setenv("SAGE_GATEWAY_SERVER_PYTHON", "c")
    assert load(WithServer).server.python == "c"


def test_names_that_clash_are_a_fault_of_the_class() -> None:
    class Clashing(NestedSettings):
        limiting_most_bytes: int = 1

    with pytest.raises(TypeError, match="have the same name"):
        setting_table(Clashing)
    with pytest.raises(TypeError, match="both have factor"):
        including(Knobs)(NestedSettings)
