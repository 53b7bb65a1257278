"""Forms for operators, from the JSON Schema of pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from sage_kernel.spec import json_schema

Kind = Literal["text", "number", "whole", "choice", "switch", "yaml"]
# Every operator has them; who needs them writes them into the text.
COMMON = frozenset(
    {
        "op", "in", "retries", "concurrency", "ordered", "parallelism", "num_cpus", "num_gpus", "memory_mb", "labels",
        "timeout",
    }
)  # fmt: skip

ON_ERROR = "on_error"


@dataclass(frozen=True, slots=True)
class FormField:
    """A parameter of an operator.

    Attributes:
        kind: how it is entered; ``yaml`` for lists and mappings.
        choices: of a ``choice``.
        default: None where there is none.
    """

    name: str
    kind: Kind
    required: bool
    choices: tuple[str, ...] = ()
    default: Any = None


@dataclass(frozen=True, slots=True)
class OperatorForm:
    """An operator with its parameters.

    Attributes:
        text: the first sentence of what it is for.
    """

    op: str
    text: str
    fields: tuple[FormField, ...]
    takes_input: bool


def operator_forms() -> dict[str, OperatorForm]:
    """Return the form of each operator, by name."""
    schema = json_schema()
    definitions = schema["$defs"]
    [nodes] = schema["properties"]["nodes"]["patternProperties"].values()
    mapping: Mapping[str, str] = nodes["discriminator"]["mapping"]
    return {op: _form(op, definitions[reference.rpartition("/")[2]]) for op, reference in sorted(mapping.items())}


def node_text(name: str, op: str, inputs: list[str], values: Mapping[str, Any]) -> str:
    """Return a node as the lines of YAML that go below ``nodes:``."""
    node: dict[str, Any] = {"op": op, **({"in": inputs} if inputs else {}), **values}
    text: str = yaml.safe_dump({name: node}, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"  {line}\n" for line in text.splitlines())


def with_node(pipeline: str, node: str) -> str:
    """Return the text of a pipeline with a node at the end of its ``nodes:``; all else stays as it is written."""
    lines = pipeline.splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if line.rstrip() == "nodes:"), None)
    if start is None:
        return f"{pipeline.rstrip()}\nnodes:\n{node}"
    end = start + 1
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if line.strip() and not line[0].isspace() and not line.startswith("#"):
            break
        if line.strip() and line[0].isspace():
            end = number + 1
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join([*lines[:end], node, *lines[end:]])


def _form(op: str, definition: Mapping[str, Any]) -> OperatorForm:
    required = set(definition.get("required", ()))
    properties: Mapping[str, Any] = definition["properties"]
    fields = [_field(name, shape, name in required) for name, shape in properties.items() if name not in COMMON]
    fields.sort(key=lambda field: (not field.required, field.name == ON_ERROR))
    text = str(definition.get("description", "")).partition("\n")[0]
    return OperatorForm(op, text, tuple(fields), op != "source")


def _field(name: str, shape: Mapping[str, Any], required: bool) -> FormField:
    default = shape.get("default")
    options = [one for one in shape.get("anyOf", [shape]) if one.get("type") != "null"]
    if len(options) != 1:
        return FormField(name, "yaml", required, default=default)
    [one] = options
    if "enum" in one:
        return FormField(name, "choice", required, tuple(map(str, one["enum"])), default)
    kinds: dict[str, Kind] = {"string": "text", "integer": "whole", "number": "number", "boolean": "switch"}
    return FormField(name, kinds.get(one.get("type", ""), "yaml"), required, default=default)
