"""Names that others have given, in the properties of elements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from nicegui import Client, ui

import sage_studio
from sage_studio.pages.frame import icon_button

SOURCES = sorted(Path(sage_studio.__file__).parent.rglob("*.py"))


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(ui.page("/"), request=None)
    with client:
        yield client
    client.delete()


def test_a_name_stays_one_property_whatever_is_in_it(client: Client) -> None:
    name = 'a" :onclick="() => alert(1)" b="'
    button = icon_button("delete", name, lambda: None)
    assert button.props["aria-label"] == name
    assert [key for key in button.props if key.startswith(":")] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_text_of_properties_is_written_in_the_source(source: Path) -> None:
    texts = [
        call.args[0]
        for call in ast.walk(ast.parse(source.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "props"
    ]
    assert [ast.unparse(text) for text in texts if not isinstance(text, ast.Constant)] == []
