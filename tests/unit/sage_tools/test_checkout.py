"""Which checkout a command works on, its distributions, its layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError, UnprocessableError
from sage_tools.checkout import checkout, common_version, projects, version_of
from sage_tools.layers import as_mermaid, as_text, layers, packages_beside

ROOT = Path(__file__).parents[3]


def test_a_checkout_is_found_from_within_and_its_lack_is_said(tmp_path: Path) -> None:
    assert checkout(Path(__file__).parent) == ROOT
    with pytest.raises(ConfigurationError, match="is in no checkout of SAGE's repository"):
        checkout(tmp_path)


def test_every_distribution_is_listed_and_they_have_one_version() -> None:
    found = [project.relative_to(ROOT).as_posix() for project in projects(ROOT)]
    assert found[:2] == ["libs/python", "libs/cpp"]
    assert len(found) == 2 + len(list((ROOT / "services").iterdir()))
    assert common_version(ROOT) == version_of(ROOT / "libs/cpp")


def test_versions_that_differ_are_named(tmp_path: Path) -> None:
    for folder, version in (("libs/python", "1.0.0"), ("libs/cpp", "1.0.1")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
    with pytest.raises(UnprocessableError, match=r"libs/python 1\.0\.0, libs/cpp 1\.0\.1"):
        common_version(tmp_path)
    (tmp_path / "libs/cpp/pyproject.toml").write_text("[project]\n")
    with pytest.raises(UnprocessableError, match="has no line `version"):
        common_version(tmp_path)


def test_the_layers_are_drawn_the_highest_first() -> None:
    found = [["a"], ["b", "c"], ["d"]]
    assert as_text(found).splitlines() == [" 3  a", " 2  b  c", " 1  d"]
    drawn = as_mermaid(found).splitlines()
    assert drawn[0] == "flowchart TB"
    assert drawn[-2:] == ["  L3 --> L2", "  L2 --> L1"]
    assert '  subgraph L2["2"]' in drawn


def test_the_layers_are_those_of_the_import_contracts() -> None:
    found = layers(ROOT)
    assert found[0] == ["sage_tools"]
    assert found[-1] == ["sage"]
    beside = {path.name for path in packages_beside(ROOT, "sage_gateway")}
    assert {"sage_gateway", "sage_classifier", "sage_scheduler"} <= beside
    assert "sage_cli" not in beside
