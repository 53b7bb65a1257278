"""docs/pipelines.md says what the operators are, and its examples are pipelines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sage
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.validation import from_yaml
from sage_tools.operator_reference import reference, rewritten

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def test_the_reference_is_that_of_the_registry() -> None:
    assert rewritten(PAGE) == PAGE, "python -m sage_tools.operator_reference writes it"
    assert set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == set(OPERATORS)


def test_every_parameter_says_what_it_means() -> None:
    assert [line for line in reference().splitlines() if line.endswith("|  |")] == []


def test_the_yaml_is_a_pipeline() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    spec = from_yaml(text)
    assert from_yaml(spec.to_yaml()) == spec


def test_the_python_builds_a_pipeline() -> None:
    text, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    built: dict[str, Any] = {}
    exec(compile(text.split("p.validate()")[0], "pipelines.md", "exec", dont_inherit=True), built)
    assert isinstance(built["p"], sage.Pipeline)
    assert built["p"].validate() == []
    assert sage.Pipeline.from_yaml(built["p"].to_yaml()) == built["p"]
