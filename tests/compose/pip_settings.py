"""Copies pip's settings on this machine into a folder that is to be the root of an image: ``pip_settings.py FOLDER``.

Writes ``FOLDER/etc/pip.conf`` and, at the paths that it names, the certificate bundle and the folders of wheels.
Writes nothing where pip has no settings that matter to a build. A local index may be large: it is left out.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

CARRIED = ("cert", "extra-index-url", "find-links", "index-url", "proxy", "timeout", "default-timeout", "trusted-host")


def settings() -> dict[str, str]:
    """Return pip's settings for every command, those of the environment included, by key."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found: dict[str, str] = {}
    # The environment's come last: they rule.
    for line in sorted(printed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", ":env:") and key in CARRIED:
            found["timeout" if key == "default-timeout" else key] = str(ast.literal_eval(value))
    # pip takes this one too, without listing it.
    if "cert" not in found and os.environ.get("REQUESTS_CA_BUNDLE"):
        found["cert"] = os.environ["REQUESTS_CA_BUNDLE"]
    return found


def copy(path: Path, root: Path) -> None:
    """Copy a file or folder to the same path below ``root``."""
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, target)


def main(root: Path) -> None:
    """Write the settings and what they name."""
    lines = []
    for key, value in settings().items():
        parts = [part for part in value.split() if not (key.endswith("index-url") and part.startswith("file:"))]
        if key in ("cert", "find-links"):
            parts = [str(Path(part).absolute()) if Path(part).exists() else part for part in parts]
            for part in parts:
                if Path(part).exists():
                    copy(Path(part), root)
        if parts:
            lines.append(f"{key} = {' '.join(parts)}")
    if lines:
        (root / "etc").mkdir(parents=True, exist_ok=True)
        (root / "etc" / "pip.conf").write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
