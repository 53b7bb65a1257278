"""Presets: those that come with SAGE are whole, and a file's mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_client.presets.preset import EnginePreset, built_in, named, named_or_file, parse
from sage_common.errors import InvalidRequestError, NotFoundError


def test_every_preset_that_comes_with_sage_can_be_started_and_says_what_it_is_for() -> None:
    presets = built_in()
    assert {"cpu-tiny", "single-gpu", "two-gpu-tp"} <= set(presets)
    for preset in presets.values():
        assert preset.description
        assert preset.start(model="acme/tiny").model == "acme/tiny"


def test_what_a_command_gives_comes_first_and_its_arguments_are_added() -> None:
    order = named("two-gpu-tp").start(
        model="m", device="cuda:2,3", arguments=("--dtype", "half"), environment={"A": "1"}, name="", memory_check=False
    )
    assert order.device == "cuda:2,3"
    assert order.arguments == ("--tensor-parallel-size", "2", "--enable-prefix-caching", "--dtype", "half")
    assert order.environment == {"A": "1"}
    assert order.memory_check is False


def test_an_unknown_field_or_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidRequestError, match="unknown field 'argumens'; did you mean 'arguments'"):
        parse("argumens: [--x]", "mine.yaml")
    with pytest.raises(NotFoundError, match="did you mean 'cpu-tiny'"):
        named("cpu-tini")


@pytest.mark.parametrize("text", ["[]", "a: [", "port: 1", "arguments: --x"])
def test_a_file_that_is_no_preset_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"mine\.yaml"):
        parse(text, "mine.yaml")


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: acme/tiny\nname: tiny\n")
    assert named_or_file(str(file)).start().name == "tiny"
    with pytest.raises(NotFoundError, match="cannot read"):
        named_or_file(str(tmp_path / "other.yaml"))


def test_a_preset_without_a_model_needs_one() -> None:
    with pytest.raises(InvalidRequestError, match="names no model"):
        EnginePreset().start()
