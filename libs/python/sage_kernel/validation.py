"""Reading a pipeline: every error of its text, its nodes and its graph at once, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sage_common.config import nearest
from sage_common.errors import PermissionDeniedError
from sage_kernel.file_access import ANY_FILE, FileAccess
from sage_kernel.graph_checks import graph_problems
from sage_kernel.nodes import NODE_ID_PATTERN, NodeSpec
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.pipeline_text import read_text
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import API_VERSION, Metadata, PipelineSpec

_NODE_ID = re.compile(NODE_ID_PATTERN)


def from_yaml(text: str, files: FileAccess = ANY_FILE) -> PipelineSpec:
    """Read a pipeline from YAML or JSON.

    Args:
        files: which paths the pipeline may name; whether anything is there is not looked at.

    Raises:
        PipelineInvalidError: with all of its errors.
    """
    return from_dict(read_text(text), files)


def from_dict(value: object, files: FileAccess = ANY_FILE) -> PipelineSpec:
    """Read a pipeline from JSON values. Raises PipelineInvalidError with all of its errors."""
    problems: list[Problem] = []
    if not isinstance(value, Mapping):
        raise PipelineInvalidError(
            [
                Problem(
                    "", "", f"it is {_kind(value)}, expected a mapping", "start with apiVersion, kind, metadata, nodes"
                )
            ]
        )
    problems += _envelope_problems(value)
    raw_nodes = value.get("nodes")
    nodes: dict[str, NodeSpec | None] = {}
    if isinstance(raw_nodes, Mapping) and raw_nodes:
        for node_id, raw in raw_nodes.items():
            if not _NODE_ID.fullmatch(str(node_id)):
                problems.append(
                    Problem(str(node_id), "", "its id is not a name", "use letters, digits, _ and -, at most 63")
                )
            nodes[str(node_id)] = _read_node(str(node_id), raw, problems)
    else:
        problems.append(
            Problem("", "nodes", f"it is {_kind(raw_nodes)}", "list nodes by id, as 'answers: {op: llm, …}'")
        )
    problems += graph_problems(nodes)
    problems += _path_problems(nodes, files)
    if not problems:
        try:
            return PipelineSpec.model_validate(value)
        except ValidationError as error:  # keys that are not text, which only the whole model sees
            problems += [_explain("", item, list(PipelineSpec.model_fields)) for item in error.errors()]
    raise PipelineInvalidError(problems)


def problems_of(spec: PipelineSpec) -> list[Problem]:
    """Return what is wrong with the graph of a pipeline built in code; empty when it can run."""
    return graph_problems(spec.nodes)


def _path_problems(nodes: Mapping[str, NodeSpec | None], files: FileAccess) -> list[Problem]:
    problems = []
    for node_id, node in nodes.items():
        for parameter, path in node.paths() if node else ():
            try:
                files.check(Path(path))
            except PermissionDeniedError as error:
                problems.append(Problem(node_id, parameter, *error.message.rsplit("; ", 1)))
    return problems


def _envelope_problems(value: Mapping[Any, Any]) -> list[Problem]:
    problems = []
    expected = ("apiVersion", "kind", "metadata", "nodes")
    for key in value:
        if key not in expected:
            problems.append(Problem("", str(key), f"unknown key{nearest(str(key), expected)}", "correct or remove it"))
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Pipeline")):
        if value.get(key) != wanted:
            problems.append(
                Problem("", key, f"it is {value.get(key)!r}, expected {wanted!r}", f"write '{key}: {wanted}'")
            )
    try:
        Metadata.model_validate(value.get("metadata") or {})
    except ValidationError as error:
        problems += [_explain("", item, list(Metadata.model_fields), "metadata.") for item in error.errors()]
    return problems


def _read_node(node_id: str, raw: object, problems: list[Problem]) -> NodeSpec | None:
    if not isinstance(raw, Mapping):
        problems.append(Problem(node_id, "", f"it is {_kind(raw)}, expected a mapping", "write '{op: …, in: […]}'"))
        return None
    op = raw.get("op")
    if not isinstance(op, str) or op not in OPERATORS:
        suggestion = nearest(str(op), list(OPERATORS)) if op is not None else f"; known: {', '.join(sorted(OPERATORS))}"
        problems.append(Problem(node_id, "op", f"unknown operator {op!r}{suggestion}", "choose a known operator"))
        return None
    spec_class: type[NodeSpec] = OPERATORS[op].spec
    try:
        return spec_class.model_validate(raw)
    except ValidationError as error:
        known = [field.alias or name for name, field in spec_class.model_fields.items()]
        problems += [_explain(node_id, item, known) for item in error.errors()]
        return None


def _explain(node_id: str, item: Any, known: list[str], prefix: str = "") -> Problem:
    field = prefix + ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        return Problem(node_id, field, f"unknown parameter {name!r}{nearest(name, known)}", "correct or remove it")
    if item["type"] == "missing":
        return Problem(node_id, field, "it is missing", "add it")
    if item["type"] == "value_error":
        return Problem(node_id, field.rstrip("."), message, "correct the value")
    return Problem(node_id, field.rstrip("."), f"{message}, got {_shortened(item.get('input'))}", "correct the value")


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    return "empty" if isinstance(value, Mapping) else f"of type {type(value).__name__}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
