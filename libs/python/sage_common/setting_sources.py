"""Where settings come from: environment variables, flags, the config file. Each returns nested values."""

from __future__ import annotations

import argparse
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_common.ports import OFFSET_VARIABLE
from sage_common.setting_table import SettingTable, group_fields, nearest, setting_table

# Every section of the config file. A settings class must use one of them.
SECTIONS = (
    "nats",
    "access",
    "tls",
    "oidc",
    "log",
    "telemetry",
    "classification",
    "classifier",
    "scheduler",
    "embed_executor",
    "llm_coordinator",
    "gateway",
    "dataflow_worker",
    "studio",
    "client",
    "cli",
)
# Variables with the prefix that are not settings of a section.
_OTHER_VARIABLES = ("SAGE_CONFIG_FILE", "SAGE_INSTANCE_ID", "SAGE_NATIVE", OFFSET_VARIABLE)


def environment_values(settings_class: type[BaseModel], section: str, *, partial: bool = False) -> dict[str, Any]:
    """Return what ``SAGE_<SECTION>_*`` variables set.

    ``SAGE_CLI_REPLICAS__GATEWAY=2`` sets one key of a setting that is a mapping.

    Args:
        partial: the class declares a part of the section; variables of the rest are passed over.

    Raises:
        ConfigurationError: a variable of the section that is no setting, two that set one to different values, or a
            value that must be JSON and is not.
    """
    prefix = f"SAGE_{section.upper()}_"
    table = setting_table(settings_class)
    variables = [name for name in os.environ if name.startswith(prefix)]
    if partial:
        own = {f"{prefix}{field.upper()}" for field in settings_class.model_fields}
        variables = [name for name in variables if name.partition("__")[0] in own]
    return table.placed(_from_variables(table, prefix, variables))


def _from_variables(table: SettingTable, prefix: str, variables: list[str]) -> Iterator[tuple[str, str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    for variable in variables:
        key = variable[len(prefix) :].lower()
        name = table.named(key.replace("__", "_"))
        if name is not None:
            setting = table.setting(name)
            value = _parsed(variable, os.environ[variable], setting.field.annotation if setting else dict)
            if setting is None:
                # A whole group, as JSON.
                for inner, inner_value in table.flattened({name: value}):
                    yield inner, f"{variable} ({inner})", inner_value
            else:
                yield name, variable, value
            continue
        head, *tail = key.split("__")
        name = table.named(head)
        if name is None or table.setting(name) is None or not tail:
            hint = nearest(key, [known.replace(".", "_") for known in table.names])
            raise ConfigurationError(f"unknown environment variable {variable}: no setting {key!r}{hint}")
        target = parts.setdefault(name, {})
        for part in tail[:-1]:
            target = target.setdefault(part, {})
        target[tail[-1]] = os.environ[variable]
    for name, value in parts.items():
        yield name, f"{prefix}{name.upper().replace('.', '_')}__…", value


def refuse_unknown_sections() -> None:
    """Raise ConfigurationError when a ``SAGE_*`` variable belongs to no section."""
    for variable in os.environ:
        if not variable.startswith("SAGE_") or variable in _OTHER_VARIABLES:
            continue
        if not any(variable.startswith(f"SAGE_{section.upper()}_") for section in SECTIONS):
            known = (*_OTHER_VARIABLES, *(f"SAGE_{section.upper()}_…" for section in SECTIONS))
            raise ConfigurationError(f"unknown environment variable {variable}{nearest(variable, known)}")


def flag_values(settings_class: type[BaseModel], arguments: Sequence[str]) -> dict[str, Any]:
    """Return what command-line flags set; ``--grpc-port 9`` and ``--hybrid.margin=0.1``, with ``-`` or ``_``.

    Raises:
        SystemExit: ``--help``, or a flag that does not exist.
        ConfigurationError: two flags that set one setting to different values, or a value that must be JSON and is not.
    """
    table = setting_table(settings_class)
    parser = argparse.ArgumentParser(description=settings_class.__doc__, allow_abbrev=False)
    for setting in table.settings:
        kind = _type_name(setting.field.annotation)
        text = f"{setting.field.description or ''}{_default_text(setting.field)}".strip().replace("%", "%%")
        # A switch may be given bare: --insecure is --insecure=true.
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if setting.field.annotation is bool else {}
        parser.add_argument(
            _flag(setting.name), dest=setting.name, metavar=kind, default=argparse.SUPPRESS, help=text, **switch
        )
        for alias in setting.aliases:
            parser.add_argument(_flag(alias), dest=alias, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    given = vars(parser.parse_args([_dashed(argument) for argument in arguments]))
    return table.placed((name, _flag(name), _flag_value(table, name, text)) for name, text in given.items())


def _flag_value(table: SettingTable, name: str, text: str) -> Any:
    setting = table.setting(name)
    return _parsed(_flag(name), text, setting.field.annotation if setting else str)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _dashed(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return f"{flag.replace('_', '-')}{equals}{value}"


def file_values(settings_class: type[BaseModel], section: str, *, partial: bool = False) -> dict[str, Any]:
    """Return what the section of the config file sets; nothing when there is no file.

    Args:
        partial: as for ``environment_values``.

    Raises:
        ConfigurationError: the file or one of its keys is wrong.
    """
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
    if partial:
        values = {name: value for name, value in values.items() if name in settings_class.model_fields}
    return setting_table(settings_class).nested(values)


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


def _parsed(shown: str, text: str, annotation: Any) -> Any:
    """Return ``text`` as it is for a single value; for others read JSON, ``a,b`` or ``key=value,key=value``."""
    kind = _container(annotation)
    if kind is None:
        return text
    if kind is not dict and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is dict and "=" in text and not text.lstrip().startswith("{"):
        return dict(part.strip().split("=", 1) for part in text.split(",") if "=" in part)
    try:
        return json.loads(text)
    except ValueError as error:
        # The value may hold keys, which must not reach a log.
        raise ConfigurationError(f"{shown} is not JSON: {error}") from None


def _container(annotation: Any) -> type[dict[Any, Any]] | type[list[Any]] | None:
    """Return dict or list for a type that takes one; None for a single value."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        kinds = [_container(option) for option in typing.get_args(annotation)]
        return next((kind for kind in kinds if kind is not None), None)
    if not isinstance(origin, type) or issubclass(origin, (str, bytes)):
        return None
    if issubclass(origin, Mapping) or group_fields(origin) is not None:
        return dict
    return list if issubclass(origin, (Sequence, Set)) else None


def _type_name(annotation: Any) -> str:
    kind = _container(annotation)
    if kind is not None:
        return "KEY=VALUE,…" if kind is dict else "VALUE,…"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    return "" if default is PydanticUndefined else f" (default: {default})"
