"""The container images of a release, built as ``compose/compose.yaml`` says, each saved as an archive."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sage_common.errors import UnprocessableError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: with its tag.
        arguments: of the build.
        network: that the build has.
    """

    name: str
    dockerfile: str
    arguments: Mapping[str, str]
    network: str

    def build(self) -> list[str]:
        """Return the command that builds it, in the repository's root."""
        given = [word for name, value in self.arguments.items() for word in ("--build-arg", f"{name}={value}")]
        return [
            "docker",
            "build",
            "--file",
            self.dockerfile,
            "--network",
            self.network,
            "--tag",
            self.name,
            *given,
            ".",
        ]

    def save(self, folder: Path) -> list[str]:
        """Return the command that writes it to ``archive(folder)``."""
        return ["docker", "save", "--output", str(self.archive(folder)), self.name]

    def archive(self, folder: Path) -> Path:
        """Return the file that holds it, which `docker load` reads."""
        return folder / f"{re.sub(r'[/:]', '-', self.name)}.tar"


def images(root: Path, version: str) -> list[Image]:
    """Return the images that the compose file builds, each once, with the release's version.

    Raises:
        UnprocessableError: the file uses a variable that ``compose/.env`` has no line for.
    """
    variables = {**_variables(root / "compose/.env"), **os.environ, "IMAGE_TAG": version}
    services = yaml.safe_load((root / "compose/compose.yaml").read_text(encoding="utf-8"))["services"]
    found: dict[str, Image] = {}
    for service in services.values():
        if "build" in service:
            image = _image(service, variables)
            found.setdefault(image.name, image)
    return list(found.values())


def _image(service: Mapping[str, Any], variables: Mapping[str, str]) -> Image:
    def filled(value: object) -> str:
        return _VARIABLE.sub(lambda match: _value(match[1], variables), str(value))

    build = service["build"]
    arguments = {name: filled(value) for name, value in build.get("args", {}).items()}
    return Image(filled(service["image"]), build["dockerfile"], arguments, filled(build.get("network", "default")))


def _value(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        raise UnprocessableError(f"compose/compose.yaml uses ${{{name}}}, and compose/.env has no line for it")
    return variables[name]


def _variables(file: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#"))
    return {name: value for name, _, value in lines}
