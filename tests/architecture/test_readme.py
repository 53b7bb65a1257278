"""What the README and the other documents tell people to type exists."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sage_cli.app import app
from sage_cli.applications.run_by_default import RunByDefault
from sage_cli.effective_settings import settings_classes
from sage_common.setting_table import SettingTable, setting_table
from sage_tools.dev import app as sage_dev

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("services/*/README.md")),
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("libs/python/sage_apps/*/README.md")),
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")),
]


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console|shell)\n(.*?)```", text, re.DOTALL)
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines() if line.strip()]


@functools.cache
def sage_command() -> Any:
    """The command line, whose commands are made once."""
    return get_command(app)


@functools.cache
def setting_tables() -> list[tuple[str, SettingTable]]:
    """The sections and their settings."""
    return [(settings.section, setting_table(settings)) for settings in settings_classes()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_sage_command_shown_exists(document: str) -> None:
    root = sage_command()
    for line in shell_lines((ROOT / document).read_text()):
        match = re.match(r"(?:\.venv/bin/)?sage (.+)", line)
        if not match:
            continue
        command = root
        for word in match.group(1).split():
            commands = getattr(command, "commands", None)
            if commands is None or word.startswith("-") or (isinstance(command, RunByDefault) and word not in commands):
                break
            assert word in commands, f"{document}: `{line}`: no command {word!r}"
            command = commands[word]
        command = command.commands["run"] if isinstance(command, RunByDefault) else command
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in shlex.split(match.group(1), comments=True):
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in options, f"{document}: `{line}`: no option {word!r}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_shown_exists_under_the_name_that_it_has_now(document: str) -> None:
    text = (ROOT / document).read_text()
    for section, table in setting_tables():
        prefix = f"SAGE_{section.upper()}_"
        for key in re.findall(prefix + r"([A-Z][A-Z_]*[A-Z])\b", text):
            name = table.named(key.lower().partition("__")[0])
            assert name in table.names, f"{document}: no setting {prefix}{key}"
        for name in re.findall(rf"`{section}\.([a-z_.]+)`", text):
            assert name in table.names, f"{document}: no setting {section}.{name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_and_script_shown_exists(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in shell_lines((ROOT / document).read_text()):
        if line.startswith("make "):
            for target in line.split("#")[0].split()[1:]:
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{document}: `{line}`"
        if line.startswith("sage-dev "):
            assert line.split()[1] in get_command(sage_dev).commands, f"{document}: `{line}`"
        if line.startswith("./"):
            assert (ROOT / line.split()[0]).exists(), f"{document}: `{line}`"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    source = ROOT / document
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", source.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (source.parent / target).exists(), f"{document}: {target}"
