"""A new operator of pipelines."""

from __future__ import annotations

from pathlib import Path

from sage_tools.layers import packages_beside
from sage_tools.scaffold.addition import Addition
from sage_tools.scaffold.names import check_unused, checked_name, words_of
from sage_tools.scaffold.text_edits import before, line_in_order

HOME = "libs/python/sage_kernel/operators"
# The builder's own methods would hide an operator of their name.
CHECK = """
import sys
from sage_kernel.builder import Pipeline
from sage_kernel.operators.registry import OPERATORS

name = sys.argv[1]
assert name in OPERATORS
source = Pipeline("p").source(records=[])
made = getattr(source, name)
if made.__doc__ != OPERATORS[name].spec.__doc__:
    raise SystemExit(f"a method {name!r} of pipelines would hide the operator; choose another name")
"""


def operator(root: Path, given: str) -> Addition:
    """Return what an operator of this name adds. Raises InvalidRequestError, ConflictError."""
    name = checked_name(given, "operator")
    words = words_of(name)
    check_unused(packages_beside(root, "sage_kernel"), name, (f"{words['Name']}Node", f"{words['Name']}Operator"))
    import_line = f"from sage_kernel.operators.{name} import {words['NAME']}"
    tried = f'    "{name}": _node(_op("{name}"), text=NAMES, into=NAMES),\n'
    return Addition(
        files={
            f"{HOME}/{name}.py": "operator.py.tmpl",
            f"tests/unit/sage_kernel/operators/test_{name}.py": "test_operator.py.tmpl",
        },
        words=words,
        edits={
            f"{HOME}/registry.py": [line_in_order(r"from sage_kernel\.operators\.\w+ import ", import_line)],
            "tests/contracts/test_pipeline_round_trip.py": [before('    "sink": _node(', tried)],
        },
        generated=["docs/pipelines.md"],
        commands=[["-c", CHECK, name], ["-m", "sage_tools.operator_reference"]],
        next_steps=(
            f"write what becomes of records into {HOME}/{name}.py; sage_kernel/operator.py has the other kinds: "
            "sources, sinks, operators with state, and those that wait",
            "keep tests/contracts/test_pipeline_round_trip.py to its parameters",
            f"pytest tests/unit/sage_kernel/operators/test_{name}.py tests/contracts/test_pipeline_round_trip.py",
            "sage-dev pages, after each change of its parameters: docs/pipelines.md lists them",
        ),
    )
