"""The operator of CONTRIBUTING.md is listed, validated, configured and used."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sage_kernel.builder import Pipeline
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.spec import json_schema
from sage_kernel.validation import from_yaml

models: Any = None  # the pipeline calls no model
records = [{"text": "a"}, {"text": "abc"}]


def pipeline(**parameters: Any) -> Pipeline:
    built = Pipeline("short")
    built.source(records=records).keep(3, **parameters).sink("collection:kept")
    return built


assert "keep" in OPERATORS
assert "keep" in dir(Pipeline("p").source(records=[]))
assert "KeepNode" in json.dumps(json_schema())

problems = [str(problem) for problem in pipeline(min_character=2).validate()]
assert len(problems) == 1, problems
assert "did you mean 'min_characters'" in problems[0], problems
assert [problem.field for problem in pipeline(text="body").validate()] == ["text"]

spec = from_yaml(pipeline().to_yaml())
assert spec == pipeline().build()
result = asyncio.run(LocalRunner(models).run(spec))
assert result.collections == {"kept": [{"text": "abc"}]}
