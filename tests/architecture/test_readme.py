"""What the README and the other documents tell people to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from sage_cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")),
]


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console|shell)\n(.*?)```", text, re.DOTALL)
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_sage_command_shown_exists(document: str) -> None:
    root = get_command(app)
    for line in shell_lines((ROOT / document).read_text()):
        match = re.match(r"(?:\.venv/bin/)?sage (.+)", line)
        if not match:
            continue
        command = root
        for word in match.group(1).split():
            commands = getattr(command, "commands", None)
            if commands is None or word.startswith("-"):
                break
            assert word in commands, f"{document}: `{line}`: no command {word!r}"
            command = commands[word]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_and_script_shown_exists(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in shell_lines((ROOT / document).read_text()):
        if line.startswith("make "):
            for target in line.split("#")[0].split()[1:]:
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{document}: `{line}`"
        if line.startswith("./"):
            assert (ROOT / line.split()[0]).exists(), f"{document}: `{line}`"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    source = ROOT / document
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", source.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (source.parent / target).exists(), f"{document}: {target}"
