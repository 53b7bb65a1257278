"""Every application has its package, command, README, data and page of the studio."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest
import typer

from sage_apps.catalogue import APPLICATIONS, Application, data_folder


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one.name)
def test_an_application_has_all_its_parts(application: Application) -> None:
    package = import_module(f"sage_apps.{application.name}")
    assert package.__doc__
    assert any(data_folder(application.name).iterdir())
    assert (data_folder(application.name).parent / "README.md").exists()
    command = typer.main.get_command(import_module(f"sage_cli.applications.{application.name}").app)
    assert {"run", "evaluate"} <= command.commands.keys()
    assert find_spec(f"sage_studio.pages.{application.name}_page")


def test_names_of_applications_are_taken_once() -> None:
    names = [one.name for one in APPLICATIONS]
    assert len(set(names)) == len(names)
