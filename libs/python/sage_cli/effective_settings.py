"""Every setting of every section that is installed here, with where its value comes from."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sage_cli.mesh.services import SERVICES
from sage_cli.settings import CliSettings
from sage_client.settings import ClientSettings
from sage_common.config import SectionSettings, load, nearest, sources
from sage_common.errors import ConfigurationError
from sage_common.oidc_settings import OidcSettings
from sage_common.secret_text import HIDDEN, is_secret_name, secret_arguments, without_credentials
from sage_common.service_settings import AccessSettings, LogSettings, NatsSettings
from sage_common.telemetry_settings import TelemetrySettings
from sage_common.tls_settings import TlsSettings
from sage_mesh.classification import ClassificationSettings

SECRET = HIDDEN
SECRET_NAMES = ("key", "secret", "password")


@dataclass(frozen=True)
class EffectiveSetting:
    """One setting.

    Attributes:
        name: below the section, e.g. ``hybrid.margin``.
        source: ``environment``, ``file`` or ``default``.
    """

    section: str
    name: str
    value: Any
    source: str
    description: str


def settings_classes() -> Iterator[type[SectionSettings]]:
    """Yield the settings class of each section. A service that is not installed here is left out."""
    yield from (NatsSettings, AccessSettings, TlsSettings, OidcSettings, LogSettings, TelemetrySettings)
    yield from (ClassificationSettings, ClientSettings, CliSettings)
    for package, section in (*((entry.module, entry.section) for entry in SERVICES), ("sage_studio", "studio")):
        try:
            module = importlib.import_module(f"{package}.config")
        except ModuleNotFoundError as error:
            if error.name and error.name.split(".")[0] == package:
                continue
            raise
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, SectionSettings)
                and getattr(value, "section", "") == section
            ):
                yield value


def effective_settings(section: str | None) -> list[EffectiveSetting]:
    """Return the settings of ``section``, or of all.

    Raises:
        ConfigurationError: an unknown section, or settings that are wrong.
    """
    classes = {cls.section: cls for cls in settings_classes()}
    if section is not None:
        wanted = section.replace("-", "_")
        if wanted not in classes:
            raise ConfigurationError(f"no section {section!r}{nearest(wanted, list(classes))}")
        classes = {wanted: classes[wanted]}
    return [setting for cls in classes.values() for setting in _of_class(cls)]


def _of_class(cls: type[SectionSettings]) -> Iterator[EffectiveSetting]:
    values = load(cls).model_dump(mode="json")
    for setting, source in sources(cls):
        value: Any = values
        for part in setting.path:
            value = value[part]
        yield EffectiveSetting(
            cls.section, setting.name, _shown(setting.name, value), source, setting.field.description or ""
        )


def _shown(name: str, value: Any) -> Any:
    """Hide what a name says is secret, in nested values too, and the credentials in URLs."""
    if isinstance(value, dict):
        return SECRET if _is_secret(name) and value else {key: _shown(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        if secret_arguments([item for item in value if isinstance(item, str)]):
            return SECRET
        return [_shown(name, inner) for inner in value]
    if value and _is_secret(name):
        return SECRET
    return without_credentials(value) if isinstance(value, str) else value


def _is_secret(name: str) -> bool:
    return is_secret_name(name) or any(word in name.lower() for word in SECRET_NAMES)
