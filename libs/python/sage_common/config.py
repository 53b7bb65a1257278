"""Settings: flag > ``SAGE_*`` environment > config file > default. An unknown key is an error that names the nearest.

A settings class owns one *section*: the top-level key of the config file and the prefix of its environment
variables. ``GatewaySettings`` with section ``gateway`` reads ``gateway: {port: …}`` and ``SAGE_GATEWAY_PORT``.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sage_common import paths
from sage_common.errors import ConfigurationError

T = TypeVar("T", bound="SectionSettings")

# Every section of the config file. A settings class must use one of them.
SECTIONS = (
    "nats",
    "log",
    "classification",
    "classifier",
    "scheduler",
    "embed_executor",
    "llm_coordinator",
    "gateway",
    "dataflow_worker",
    "client",
    "cli",
)
# Variables with the prefix that are not settings of a section.
_OTHER_VARIABLES = ("SAGE_CONFIG_FILE", "SAGE_INSTANCE_ID", "SAGE_NATIVE")


class SectionSettings(BaseSettings):
    """Base of every settings class. Subclasses set ``section`` and declare fields with defaults."""

    section: ClassVar[str]

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file_values = _config_file_section(cls.section)
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=file_values)


def load(settings_class: type[T], arguments: list[str] | None = None, **overrides: Any) -> T:
    """Read settings of ``settings_class`` from every source.

    Args:
        arguments: command-line flags (``--grpc-port 9``), strongest of all; ``None`` reads no flags.
        overrides: values that a caller sets in code, as strong as flags.

    Raises:
        ConfigurationError: an unknown key or a bad value, with the nearest key and every error at once.
    """
    _refuse_unknown_environment(settings_class)
    prefix = f"SAGE_{settings_class.section.upper()}_"
    try:
        flags: dict[str, Any] = {} if arguments is None else {"_cli_parse_args": arguments, "_cli_kebab_case": True}
        return settings_class(_env_prefix=prefix, **flags, **overrides)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, settings_class)) from None


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or the list of known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _config_file_section(section: str) -> dict[str, Any]:
    path = paths.config_file()
    if not path.exists():
        if "SAGE_CONFIG_FILE" in os.environ:
            raise ConfigurationError(f"SAGE_CONFIG_FILE names {path}, which does not exist")
        return {}
    content = read_yaml(path)
    for key in content:
        if key not in SECTIONS:
            raise ConfigurationError(f"{path}: unknown section {key!r}{nearest(str(key), SECTIONS)}")
    values = content.get(section) or {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: section {section!r} is {type(values).__name__}, expected a mapping")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping. Raises ConfigurationError with the place of a syntax error."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected a mapping at the top, found {type(content).__name__}")
    return content


def _refuse_unknown_environment(settings_class: type[SectionSettings]) -> None:
    prefix = f"SAGE_{settings_class.section.upper()}_"
    for variable in os.environ:
        if not variable.startswith("SAGE_") or variable in _OTHER_VARIABLES:
            continue
        if not any(variable.startswith(f"SAGE_{section.upper()}_") for section in SECTIONS):
            known = (*_OTHER_VARIABLES, *(f"SAGE_{section.upper()}_…" for section in SECTIONS))
            raise ConfigurationError(f"unknown environment variable {variable}{nearest(variable, known)}")
        if variable.startswith(prefix):
            key = variable[len(prefix) :].lower().split("__", 1)[0]
            fields = list(settings_class.model_fields)
            if key not in fields:
                suggestion = nearest(key, fields)
                raise ConfigurationError(f"unknown environment variable {variable}: no setting {key!r}{suggestion}")


def _explain(error: ValidationError, settings_class: type[BaseModel]) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "settings"
        if item["type"] == "extra_forbidden":
            # The names of a nested setting's own fields are not these.
            hint = nearest(where, list(settings_class.model_fields)) if len(item["loc"]) == 1 else ""
            lines.append(f"unknown setting {where!r}{hint}")
        else:
            given = item.get("input")
            # A whole group of settings may hold keys, which must not reach a log.
            shown = "" if isinstance(given, (dict, list, tuple)) else f" (got {given!r})"
            lines.append(f"setting {where!r}: {item['msg']}{shown}")
    return "; ".join(lines)
