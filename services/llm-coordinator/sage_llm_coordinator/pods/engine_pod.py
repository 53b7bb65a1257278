"""A pod as an engine: what its manifest says of it, without the cluster."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import SecretStr, ValidationError

from sage_common.errors import ConfigurationError
from sage_llm_coordinator.engines.engine_kind import EngineSettings
from sage_llm_coordinator.engines.registry import engine_settings

# Prefix of what SAGE reads of a pod's annotations.
PREFIX = "sage.internal/"
# Label of an engine that is a pod; the value is <namespace>/<name>/<uid>.
POD = "pod"
DEFAULT_PORT = 8000
HTTP_PORT_NAME = "http"
# Annotations that are lists of names, joined by commas.
_LISTS = ("aliases", "models", "kinds")
_ANNOTATIONS = ("pool", "port", "max-concurrency", "health-path", *_LISTS)


class PodStage(Enum):
    """What is to become of the engine."""

    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class EnginePod:
    """One pod.

    Attributes:
        address: its address; empty while it has none.
        annotations: those of SAGE, without their prefix.
        port: by its annotation, else the container port called ``http``, else the first, else 8000.
    """

    namespace: str
    name: str
    uid: str
    stage: PodStage
    address: str
    port: str
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> str:
        """The origin of its engine, see ``origin``: another pod of the same name is another origin."""
        return f"{POD}/{self.namespace}/{self.name}/{self.uid}"

    @property
    def url(self) -> str:
        """Base URL of its server."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/v1"

    def settings(self, api_key: str = "") -> EngineSettings:
        """Return the settings of its engine.

        Raises:
            ConfigurationError: its annotations make no engine.
        """
        values: dict[str, Any] = {"kind": "openai", "name": self.name, "url": self.url, "api_key": SecretStr(api_key)}
        for key, text in self.annotations:
            if key not in _ANNOTATIONS:
                raise self._fault(f"there is no {PREFIX}{key}; there are {', '.join(sorted(_ANNOTATIONS))}")
            if key in _LISTS:
                values[key] = tuple(name.strip() for name in text.split(",") if name.strip())
            elif key != "port":
                values[key.replace("-", "_")] = text
        if not (self.port.isdecimal() and 0 < int(self.port) < 65536):
            raise self._fault(f"{PREFIX}port is {self.port!r}, which is no port")
        try:
            return engine_settings(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][-1]) if first["loc"] else ""
            raise self._fault(f"{PREFIX}{field.replace('_', '-')}: {first['msg']}") from None

    def _fault(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"the pod {self.namespace}/{self.name} is no engine, by its annotations: {what}", code="bad_pod"
        )


def namespace_of(origin: str) -> str:
    """Return the namespace of the pod that an ``EnginePod.origin`` names."""
    return origin.split("/")[1]


def read_pod(pod: Mapping[str, Any]) -> EnginePod:
    """Read a pod as the API gives it.

    Raises:
        ValueError: it is no pod.
    """
    try:
        metadata, status = pod["metadata"], pod.get("status") or {}
        annotations = {
            key.removeprefix(PREFIX): str(value)
            for key, value in (metadata.get("annotations") or {}).items()
            if key.startswith(PREFIX)
        }
        return EnginePod(
            namespace=str(metadata["namespace"]),
            name=str(metadata["name"]),
            uid=str(metadata["uid"]),
            stage=_stage(metadata, status),
            address=_address(status),
            port=annotations.get("port") or _port(pod.get("spec") or {}),
            annotations=tuple(sorted(annotations.items())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a pod: {type(error).__name__}: {error}") from None


def _stage(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> PodStage:
    if status.get("phase") in ("Succeeded", "Failed"):
        return PodStage.ENDED
    if metadata.get("deletionTimestamp"):
        return PodStage.TERMINATING
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    ready = conditions.get("Ready") == "True" and _address(status)
    return PodStage.READY if ready else PodStage.STARTING


def _address(status: Mapping[str, Any]) -> str:
    address = str(status.get("podIP") or "")
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def _port(spec: Mapping[str, Any]) -> str:
    ports = [port for container in spec.get("containers") or () for port in container.get("ports") or ()]
    named = [port for port in ports if port.get("name") == HTTP_PORT_NAME]
    return str((named or ports or [{"containerPort": DEFAULT_PORT}])[0]["containerPort"])
