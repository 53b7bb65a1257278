"""A preset: what ``sage engine start`` takes besides the model, in a YAML file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sage_client.management.views import EngineStart
from sage_common.config import nearest
from sage_common.errors import InvalidRequestError, NotFoundError

SUFFIXES = (".yaml", ".yml")


class EnginePreset(BaseModel):
    """How to run vLLM. The fields mean what those of ``EngineStart`` mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field("", description="what it is good for")
    model: str = Field("", description="model to load; a command may name another")
    name: str = ""
    served_model_name: str = ""
    aliases: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    pool: str = ""
    max_concurrency: int = Field(0, ge=0)
    kinds: tuple[str, ...] = ()
    memory_check: bool = True

    def start(self, **given: Any) -> EngineStart:
        """The order to start an engine so; what is ``given`` and not empty comes first, arguments are added.

        Raises:
            InvalidRequestError: neither names a model.
        """
        values = self.model_dump(exclude={"description"})
        for name, value in given.items():
            if name == "arguments":
                values[name] = (*self.arguments, *value)
            elif name == "environment":
                values[name] = {**self.environment, **value}
            elif name == "memory_check":
                values[name] = self.memory_check and value
            elif value:
                values[name] = value
        if not values["model"]:
            raise InvalidRequestError("the preset names no model; name one in the command", param="model")
        return EngineStart(**values)


def built_in() -> dict[str, EnginePreset]:
    """The presets that come with SAGE, by name."""
    files = sorted(resources.files("sage_client.presets").iterdir(), key=lambda file: file.name)
    return {
        Path(file.name).stem: parse(file.read_text(encoding="utf-8"), file.name)
        for file in files
        if file.name.endswith(SUFFIXES)
    }


def preset_text(name: str) -> str:
    """The YAML of a built-in preset. Raises NotFoundError, which names the nearest."""
    file = resources.files("sage_client.presets") / f"{name}.yaml"
    if "/" in name or not file.is_file():
        raise NotFoundError(f"no preset {name!r}{nearest(name, list(built_in()))}", code="preset_not_found")
    return file.read_text(encoding="utf-8")


def named(name: str) -> EnginePreset:
    """A built-in preset. Raises NotFoundError."""
    return parse(preset_text(name), name)


def named_or_file(name_or_file: str) -> EnginePreset:
    """Return a built-in preset, or that of a file, where the name has a slash or a suffix.

    Raises:
        NotFoundError: no such preset or file.
        InvalidRequestError: the file is no preset.
    """
    if "/" not in name_or_file and not name_or_file.endswith(SUFFIXES):
        return named(name_or_file)
    try:
        text = Path(name_or_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"cannot read the preset {name_or_file}: {error}", code="preset_not_found") from None
    return parse(text, name_or_file)


def parse(text: str, where: str) -> EnginePreset:
    """Read a preset; ``where`` names it in errors. Raises InvalidRequestError with every error at once."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{where} is no YAML: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{where} is no preset; it needs fields like `device: cpu`")
    try:
        return EnginePreset.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(
            _problem(item["type"], [str(p) for p in item["loc"]], item["msg"]) for item in error.errors()
        )
        raise InvalidRequestError(f"{where}: {problems}") from None


def _problem(kind: str, place: list[str], message: str) -> str:
    name = ".".join(place)
    if kind == "extra_forbidden":
        return f"unknown field {name!r}{nearest(name, list(EnginePreset.model_fields))}"
    return f"{name}: {message}"
