from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sage_cli.app import app

COMMANDS = (
    "up",
    "status",
    "logs",
    "down",
    "chat",
    "embed",
    "rerank",
    "ask",
    "models",
    "doctor",
    "job",
    "pipeline",
    "config",
    "bench",
    "policy",
    "engine",
    "explain",
)
HEAVY = ("grpc", "nats", "numpy", "aiohttp", "torch", "pydantic", "uvloop", "psutil", "polars", "rich", "structlog")


def sage(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("SAGE_", "XDG_"))}
    variables |= {f"XDG_{kind}_HOME": str(home / kind) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    variables |= {"SAGE_NATS_URL": "nats://127.0.0.1:9", **environment}
    command = [sys.executable, "-m", "sage_cli.app", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--help"])
    assert answer.exit_code == 0
    assert "Usage" in answer.stdout


def test_the_command_line_explains_itself_in_a_process_of_its_own(tmp_path: Path) -> None:
    answer = sage("--help", home=tmp_path)
    assert answer.returncode == 0
    assert all(f" {command} " in answer.stdout for command in COMMANDS)


def test_starting_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, sage_cli.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_command_imports_no_other() -> None:
    code = (
        "import sys; from sage_cli.app import app; from typer.main import get_command; root = get_command(app);"
        "print(root.commands['ask'].name, root.get_command(None, 'nonsense'));"
        "print([m for m in sys.modules if m.startswith('sage_cli.commands.')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.splitlines() == ["ask None", "['sage_cli.commands.ask']"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("up", "--replicas", "clasifier=2"), 78, "did you mean 'classifier'"),
        (("up", "--nats", "http://x"), 78, "not a NATS URL"),
        (("ask", "why?", "--docs", "/no/such/folder"), 66, "/no/such/folder"),
        (("logs",), 66, "sage up"),
        (("job", "list"), 69, "no NATS server answers"),
        (("job", "submit", "/no/such/file"), 66, "/no/such/file"),
        (("config", "show", "gatewy"), 78, "did you mean 'gateway'"),
        (("models", "--url", "ftp://x"), 78, "ftp://x"),
    ],
)
def test_an_expected_failure_is_one_message_and_an_exit_code(
    arguments: tuple[str, ...], exit_code: int, said: str, tmp_path: Path
) -> None:
    answer = sage(*arguments, home=tmp_path)
    assert answer.returncode == exit_code, answer.stderr
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_gateway_that_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    answer = sage("chat", "hello", "--url", "http://127.0.0.1:9", home=tmp_path)
    assert answer.returncode == 69
    assert "127.0.0.1:9" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_status_without_a_mesh_says_so_and_exits_with_three(tmp_path: Path) -> None:
    answer = sage("status", home=tmp_path)
    assert answer.returncode == 3
    assert "sage up" in answer.stderr
    assert '"phase": "stopped"' in sage("status", "--json", home=tmp_path).stdout


def test_down_without_a_mesh_does_no_harm(tmp_path: Path) -> None:
    answer = sage("down", home=tmp_path)
    assert (answer.returncode, answer.stderr.strip()) == (0, "nothing is running")
