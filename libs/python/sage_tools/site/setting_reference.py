"""Every setting as a page: section by section, with its variable, type, default and meaning."""

from __future__ import annotations

import re
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from sage_cli.effective_settings import settings_classes
from sage_common.config import SectionSettings
from sage_common.setting_table import Setting, setting_table
from sage_tools.site.tables import table

INTRODUCTION = """# Settings

A flag beats a variable of the environment beats `~/.config/sage/config.yaml` beats the default. The setting `port` of
the section `gateway` is `gateway: {port: 8888}` in the file and `SAGE_GATEWAY_PORT` in the environment; groups nest, so
that `scheduler.hybrid.margin` is `SAGE_SCHEDULER_HYBRID_MARGIN`. An unknown key is an error that names the nearest one.
`sage config show` prints what holds, and where that comes from.
"""


def setting_reference() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *(_section(settings) for settings in settings_classes())])


def _section(settings: type[SectionSettings]) -> str:
    rows = [
        (f"`{setting.name}`", f"`{_type_name(setting.field.annotation)}`", _default(setting.field), _meaning(setting))
        for setting in setting_table(settings).settings
    ]
    return f"## {settings.section}\n\n{table(('setting', 'type', 'default', 'meaning'), rows)}"


def _meaning(setting: Setting) -> str:
    also = f" (also `{'`, `'.join(setting.aliases)}`)" if setting.aliases else ""
    return (setting.field.description or "") + also


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}, "", frozenset()):
        return ""
    # A path is one of the machine that builds the page.
    if isinstance(value, (Path, SecretStr)) or not field.repr:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _type_name(annotation: Any) -> str:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(annotation, type) and not arguments:
        return annotation.__name__
    return re.sub(r"\w+\.(?=\w)", "", str(annotation))
