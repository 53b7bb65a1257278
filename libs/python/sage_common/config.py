"""Settings: flag > ``SAGE_*`` environment > config file > default. An unknown key is an error that names the nearest.

A settings class owns one *section*: the top-level key of the config file and the prefix of its environment
variables. ``GatewaySettings`` with section ``gateway`` reads ``gateway: {port: …}`` and ``SAGE_GATEWAY_PORT``.

Groups of settings nest: ``scheduler: {hybrid: {margin: …}}`` is ``SAGE_SCHEDULER_HYBRID_MARGIN``. A setting can have
aliases. Two names of a setting in one source must agree; between sources the stronger one holds, whatever it calls it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sage_common.errors import ConfigurationError
from sage_common.secret_text import is_secret_name, without_credentials
from sage_common.setting_sources import (
    SECTIONS,
    environment_values,
    file_values,
    flag_values,
    read_yaml,
    refuse_unknown_sections,
)
from sage_common.setting_table import Setting, dataclass_fields, is_inlined, nearest, setting_table

__all__ = ["SECTIONS", "SectionSettings", "gathered", "including", "load", "nearest", "read_yaml", "sources"]

T = TypeVar("T", bound="SectionSettings")
M = TypeVar("M", bound=BaseModel)
D = TypeVar("D")


class SectionSettings(BaseSettings):
    """Base of every settings class. Subclasses set ``section`` and declare fields with defaults.

    One that sets ``partial`` reads a part of a section that is another class's, and passes the rest of it over.
    """

    section: ClassVar[str]
    partial: ClassVar[bool] = False

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        in_code = setting_table(settings_cls).nested(init_settings())
        section, partial = cls.section, cls.partial
        given = (
            in_code,
            environment_values(settings_cls, section, partial=partial),
            file_values(settings_cls, section, partial=partial),
        )
        return tuple(InitSettingsSource(settings_cls, init_kwargs=values) for values in given)


def load(settings_class: type[T], arguments: list[str] | None = None, **overrides: Any) -> T:
    """Read settings of ``settings_class`` from every source.

    Args:
        arguments: command-line flags (``--grpc-port 9``), strongest of all; ``None`` reads no flags.
        overrides: values that a caller sets in code, as strong as flags.

    Raises:
        ConfigurationError: an unknown key or a bad value, with the nearest key and every error at once.
    """
    refuse_unknown_sections()
    flags = {} if arguments is None else flag_values(settings_class, arguments)
    try:
        return settings_class(**{**overrides, **flags})
    except ValidationError as error:
        raise ConfigurationError(_explain(error, settings_class)) from None


def sources(settings_class: type[SectionSettings]) -> Iterator[tuple[Setting, str]]:
    """Yield every setting with where its value comes from: ``environment``, ``file`` or ``default``."""
    section = settings_class.section
    given = {
        "environment": environment_values(settings_class, section),
        "file": file_values(settings_class, section),
    }
    for setting in setting_table(settings_class).settings:
        yield setting, next((name for name, values in given.items() if _holds(values, setting.path)), "default")


def including(group: type[Any]) -> Callable[[type[M]], type[M]]:
    """Class decorator: the fields of ``group``, a dataclass, become settings of the class. ``gathered`` takes them out.

    Raises:
        TypeError: the class has a setting of the same name.
    """

    def extended(settings_class: type[M]) -> type[M]:
        added = dataclass_fields(group)
        twice = added.keys() & settings_class.model_fields.keys()
        if twice:
            raise TypeError(f"{settings_class.__name__} and {group.__name__} both have {', '.join(sorted(twice))}")
        fields: dict[str, Any] = {name: (field.annotation, field) for name, field in added.items()}
        result = create_model(
            settings_class.__name__,
            __base__=settings_class,
            __module__=settings_class.__module__,
            __doc__=settings_class.__doc__,
            **fields,
        )
        setting_table(result)
        return result

    return extended


def gathered(group: type[D], settings: BaseModel) -> D:
    """Return the ``group`` that a class decorated with ``including(group)`` was filled with."""
    hints = typing.get_type_hints(group, include_extras=True)
    values = {}
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        hint = hints[field.name]
        inner = typing.get_args(hint)[0] if is_inlined(hint) else None
        values[field.name] = getattr(settings, field.name) if inner is None else gathered(inner, settings)
    return group(**values)


def _holds(values: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True


def _explain(error: ValidationError, settings_class: type[BaseModel]) -> str:
    lines = []
    for item in error.errors():
        parts = [str(part) for part in item["loc"]]
        secret = next((number for number, part in enumerate(parts) if is_secret_name(part)), None)
        # What is below a setting that holds secrets may be named by one, as API keys are.
        where = ".".join(parts if secret is None else parts[: secret + 1]) or "settings"
        if item["type"] == "extra_forbidden":
            # The names of a nested setting's own fields are not these.
            hint = nearest(where, list(settings_class.model_fields)) if len(parts) == 1 else ""
            lines.append(f"unknown setting {where!r}{hint}")
        else:
            given = item.get("input")
            # So may a whole group of settings be; none of that must reach a log.
            hidden = secret is not None or isinstance(given, (dict, list, tuple))
            shown = "" if hidden else f" (got {without_credentials(repr(given))})"
            lines.append(f"setting {where!r}: {item['msg'].removeprefix('Value error, ')}{shown}")
    return "; ".join(lines)
