"""The settings of a section by name: nested groups, and the names that settings had before.

A group is a field whose type is a Pydantic model or a plain dataclass. ``scheduler.hybrid.margin`` is the setting
``margin`` of the group ``hybrid`` of the section ``scheduler``; its variable is ``SAGE_SCHEDULER_HYBRID_MARGIN``.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from sage_common.errors import ConfigurationError
from sage_common.setting_marks import Alias, Inlined

Path = tuple[str, ...]

MAX_COMPARED_CHARACTERS = 64
MAX_NAMES_SHOWN = 30


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a section.

    Attributes:
        path: groups and field, outermost first.
        field: its type, default and description.
        aliases: its other names, below the section.
    """

    path: Path
    field: FieldInfo
    aliases: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name below the section, e.g. ``hybrid.margin``."""
        return ".".join(self.path)


class SettingTable:
    """Every setting of one settings class.

    Raises:
        TypeError: two settings, groups or aliases have the same name, or the same environment variable.
    """

    def __init__(self, settings_class: type[BaseModel]) -> None:
        self.settings: list[Setting] = []
        self._paths: dict[str, Path] = {}
        self._groups: dict[str, Path] = {}
        self._keys: dict[str, str] = {}
        self._add(settings_class.model_fields, ())

    def _add(self, group: Mapping[str, FieldInfo], prefix: Path) -> None:
        for field_name, field in group.items():
            path = (*prefix, field_name)
            inner = group_fields(field.annotation)
            if inner is not None:
                self._name(self._groups, ".".join(path), path)
                self._add(inner, path)
                continue
            aliases = tuple(mark.name or field_name for mark in field.metadata if isinstance(mark, Alias))
            setting = Setting(path, field, aliases)
            self.settings.append(setting)
            for name in (setting.name, *setting.aliases):
                self._name(self._paths, name, path)

    def _name(self, names: dict[str, Path], name: str, path: Path) -> None:
        other = self._keys.setdefault(name.replace(".", "_"), name)
        # A former name may be written as the variable of the present one is: vllm_python of vllm.python.
        same = other == name or self._paths.get(other) == path
        if not same or name in self._paths or name in self._groups:
            raise TypeError(f"the settings {other!r} and {name!r} ({'.'.join(path)}) have the same name")
        names[name] = path

    @property
    def names(self) -> list[str]:
        """Names of all settings, without aliases."""
        return [setting.name for setting in self.settings]

    def named(self, key: str) -> str | None:
        """Return the setting, alias or group whose environment variable ends in ``key`` (lower case); None if none."""
        return self._keys.get(key)

    def setting(self, name: str) -> Setting | None:
        """Return the setting with this name or alias; None for a group, or if there is none."""
        path = self._paths.get(name)
        return next((setting for setting in self.settings if setting.path == path), None)

    def nested(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``values``, a mapping as the config file has it, with every setting at its path.

        Raises:
            ConfigurationError: a key that is no setting, or one setting under two names with different values.
        """
        return self.placed((name, name, value) for name, value in self.flattened(values))

    def placed(self, given: Iterable[tuple[str, str, Any]]) -> dict[str, Any]:
        """Return ``given``, as (name, what people call it there, value), nested.

        Raises:
            ConfigurationError: one setting under two names with different values.
        """
        seen: dict[Path, tuple[str, Any]] = {}
        result: dict[str, Any] = {}
        for name, shown, value in given:
            path = self._paths.get(name) or self._groups[name]
            other, other_value = seen.setdefault(path, (shown, value))
            # As text, since a variable is text and JSON has numbers.
            if str(other_value) != str(value):
                raise ConfigurationError(
                    f"{other!r} and {shown!r} are the same setting, {'.'.join(path)!r}, with different values; give one"
                )
            target = result
            for part in path[:-1]:
                target = target.setdefault(part, {})
            target[path[-1]] = value
        return result

    def flattened(self, values: Mapping[Any, Any], prefix: Path = ()) -> Iterator[tuple[str, Any]]:
        """Yield the settings that nested ``values`` hold, each as (name or alias, value).

        Raises:
            ConfigurationError: a key that is no setting.
        """
        for key, value in values.items():
            path = (*prefix, str(key))
            name = ".".join(path)
            if name in self._paths:
                yield name, value
            elif name not in self._groups:
                raise ConfigurationError(f"unknown setting {name!r}{nearest(name, [*self.names, *self._groups])}")
            elif isinstance(value, Mapping):
                yield from self.flattened(value, path)
            elif value is not None:
                yield name, value


@cache
def setting_table(settings_class: type[BaseModel]) -> SettingTable:
    """Return the table of a settings class."""
    return SettingTable(settings_class)


def group_fields(annotation: Any) -> Mapping[str, FieldInfo] | None:
    """Return the fields of a group of settings by name; None for the type of a single setting."""
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, BaseModel):
        return annotation.model_fields
    return dataclass_fields(annotation) if dataclasses.is_dataclass(annotation) else None


def dataclass_fields(group: type[Any]) -> dict[str, FieldInfo]:
    """Return the fields of a settings dataclass as Pydantic fields; those of groups marked Inlined in their place."""
    hints = typing.get_type_hints(group, include_extras=True)
    descriptions = _attribute_texts(group.__doc__ or "")
    result: dict[str, FieldInfo] = {}
    for field in dataclasses.fields(group):
        if is_inlined(hints[field.name]):
            result |= dataclass_fields(typing.get_args(hints[field.name])[0])
            continue
        default: dict[str, Any] = {}
        if field.default_factory is not dataclasses.MISSING:
            default["default_factory"] = field.default_factory
        elif field.default is not dataclasses.MISSING:
            default["default"] = field.default
        described = Field(**default, description=field.metadata.get("description") or descriptions.get(field.name))
        result[field.name] = FieldInfo.from_annotated_attribute(hints[field.name], described)
    return result


def is_inlined(hint: Any) -> bool:
    """Whether a type hint is marked Inlined."""
    return any(isinstance(mark, Inlined) for mark in getattr(hint, "__metadata__", ()))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or a list of known names.

    A name longer than MAX_COMPARED_CHARACTERS is no misspelling, and to compare it would take long. Of many known names
    the first MAX_NAMES_SHOWN are listed.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1) if len(name) <= MAX_COMPARED_CHARACTERS else []
    if close:
        return f"; did you mean {close[0]!r}?"
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return f"; known: {', '.join(names[:MAX_NAMES_SHOWN])}{more}"


def _attribute_texts(docstring: str) -> dict[str, str]:
    """Return what a docstring in Google's style says below ``Attributes:``, by name."""
    _, _, section = inspect.cleandoc(docstring).partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if not line.startswith("    "):
            break
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name = start[1]
            texts[name] = start[2]
        elif name:
            texts[name] += f" {line.strip()}"
    return texts
