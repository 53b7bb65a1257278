"""The documentation's site: where links lead, and references that hold what the code has."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.main import get_command

from sage_cli.app import app
from sage_cli.effective_settings import settings_classes
from sage_common.setting_table import setting_table
from sage_gateway.openapi.served import document_json
from sage_tools.site.command_reference import command_reference
from sage_tools.site.http_reference import http_reference
from sage_tools.site.message_reference import message_reference
from sage_tools.site.repository_pages import as_page, decision_index, repository_pages
from sage_tools.site.setting_reference import setting_reference
from sage_tools.site.tables import table

ROOT = Path(__file__).parents[3]
PAGES = {
    "README.md": "index.md",
    "docs/pipelines.md": "pipelines.md",
    "docs/adr/0001-ring.md": "adr/0001-ring.md",
    "services/gateway/README.md": "services/gateway.md",
}
THERE = {*PAGES, "libs/python/sage/client.py", "LICENSE", "docs/images/a.png"}


@pytest.mark.parametrize(
    ("file", "written", "expected"),
    [
        ("README.md", "[p](docs/pipelines.md#run)", "[p](pipelines.md#run)"),
        ("docs/adr/0001-ring.md", "[p](../pipelines.md)", "[p](../pipelines.md)"),
        ("docs/adr/0001-ring.md", "[g](../../services/gateway/README.md)", "[g](../services/gateway.md)"),
        ("README.md", "[g](services/gateway)", "[g](services/gateway.md)"),
        ("services/gateway/README.md", "[`a` b](../../README.md)", "[`a` b](../index.md)"),
        ("README.md", "![shot](docs/images/a.png)", "![shot](images/a.png)"),
        ("docs/adr/0001-ring.md", "![shot](../images/a.png)", "![shot](../images/a.png)"),
        ("README.md", "[client](libs/python/sage/client.py)", "client"),
        ("README.md", "[gone](docs/gone.md)", "[gone](docs/gone.md)"),
        ("README.md", "[web](https://example.com/a.md) [here](#use)", "[web](https://example.com/a.md) [here](#use)"),
        ("README.md", "```\n[p](docs/pipelines.md)\n```", "```\n[p](docs/pipelines.md)\n```"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(file: str, written: str, expected: str) -> None:
    assert as_page(written, file, PAGES, THERE.__contains__) == expected


def test_every_markdown_file_of_the_documentation_is_a_page_of_its_own() -> None:
    pages = repository_pages(ROOT)
    assert len(set(pages.values())) == len(pages)
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} <= pages.keys()
    index = decision_index(ROOT)
    assert all(f"]({path.name})" in index for path in (ROOT / "docs/adr").glob("0*.md"))


def test_the_command_reference_has_every_command_and_option() -> None:
    page = command_reference()

    def check(command: object, name: str) -> None:
        assert f"# {name}\n" in page
        for parameter in getattr(command, "params", ()):
            if parameter.param_type_name == "option" and not parameter.hidden and parameter.name != "help":
                assert all(f"`{option}`" in page for option in parameter.opts)
        for child, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                check(inner, f"{name} {child}")

    check(get_command(app), "sage")


def test_the_setting_reference_has_every_setting_and_no_path_of_this_machine() -> None:
    page = setting_reference()
    for settings in settings_classes():
        assert f"## {settings.section}\n" in page
        assert all(f"| `{setting.name}` |" in page for setting in setting_table(settings).settings)
    assert str(Path.home()) not in page


def test_the_grpc_reference_has_every_call_with_what_it_says_of_itself() -> None:
    page = message_reference(ROOT / "proto")
    assert "### sage.gateway.v1.GatewayService" in page
    assert "| `Embed` | `EmbedRequest` → `EmbedResponse` |" in page
    assert "|  |\n" not in page, "something has no comment"


def test_the_http_reference_has_every_operation_and_object() -> None:
    document = orjson.loads(document_json())
    page = http_reference()
    for path, methods in document["paths"].items():
        assert all(f"| `{method.upper()} {path}` |" in page for method in methods)
    assert all(f"### {name}\n" in page for name in document["components"]["schemas"])


def test_a_cell_may_hold_anything() -> None:
    assert table(("a",), [("x | y\n<z>",)]) == "| a |\n| --- |\n| x \\| y &lt;z> |\n"
