"""Reading a pipeline: every error of its text, its nodes and its graph at once, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from reprlib import Repr
from typing import Any

from pydantic import BaseModel, ValidationError

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.file_access import ANY_FILE, FileAccess
from sage_kernel.graph_checks import graph_problems
from sage_kernel.nodes import NODE_ID_PATTERN, NodeSpec
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.pipeline_text import read_text
from sage_kernel.problems import MAX_PROBLEMS, PipelineInvalidError, Problem, Suggestions
from sage_kernel.run_target import ANY_TARGET, RunTarget, target_problems, unbounded_sources
from sage_kernel.spec import API_VERSION, Metadata, PipelineSettings, PipelineSpec

# A pipeline may come from anyone on the network.
MAX_NODES = 1000
MAX_EDGES = 10_000

_NODE_ID = re.compile(NODE_ID_PATTERN)


def from_yaml(text: str, files: FileAccess = ANY_FILE, target: RunTarget = ANY_TARGET) -> PipelineSpec:
    """Read a pipeline from YAML or JSON.

    Args:
        files: which paths the pipeline may name; whether anything is there is not looked at.
        target: where it is to run.

    Raises:
        PipelineInvalidError: with all of its errors.
    """
    return from_dict(read_text(text), files, target)


def from_dict(value: object, files: FileAccess = ANY_FILE, target: RunTarget = ANY_TARGET) -> PipelineSpec:
    """Read a pipeline from JSON values. Raises PipelineInvalidError with all of its errors."""
    if not isinstance(value, Mapping):
        message = f"it is {'empty' if value is None else _kind(value)}, expected a mapping"
        raise PipelineInvalidError([Problem("", "", message, "start with apiVersion, kind, metadata, nodes")])
    nodes: dict[str, NodeSpec | None] = {}
    found = list(islice(_problems(value, nodes, files, target), MAX_PROBLEMS + 1))
    if not found:
        try:
            # What has been read already is not read a second time, unless a key is no text.
            read = nodes if nodes.keys() == value["nodes"].keys() else value["nodes"]
            spec = PipelineSpec.model_validate({**value, "nodes": read})
            found = unbounded_sources(spec.nodes) if target.runner == "ray" else []
            if not found:
                return spec
        except ValidationError as error:  # keys that are not text, which only the whole model sees
            found = list(_explained("", error, PipelineSpec, Suggestions()))
    if len(found) > MAX_PROBLEMS:
        more = Problem("", "", f"it has more than {MAX_PROBLEMS} errors", "correct these first")
        found = [*found[:MAX_PROBLEMS], more]
    raise PipelineInvalidError(found)


def problems_of(spec: PipelineSpec, target: RunTarget = ANY_TARGET) -> list[Problem]:
    """Return what is wrong with the graph of a pipeline built in code; empty when it can run."""
    suggestions = Suggestions()
    found = chain(graph_problems(spec.nodes, suggestions), target_problems(spec.nodes, target, suggestions))
    problems = list(islice(found, MAX_PROBLEMS))
    if target.runner == "ray" and not problems:
        return unbounded_sources(spec.nodes)
    return problems


def _problems(
    value: Mapping[Any, Any], nodes: dict[str, NodeSpec | None], files: FileAccess, target: RunTarget
) -> Iterator[Problem]:
    """Yield what is wrong, one thing at a time: whoever has seen enough stops. Fills ``nodes``."""
    suggestions = Suggestions()
    yield from _envelope_problems(value, suggestions)
    raw_nodes = value.get("nodes")
    if isinstance(raw_nodes, Mapping) and raw_nodes:
        too_large = _size_problem(raw_nodes)
        if too_large is not None:
            yield too_large
            return
        for node_id, raw in raw_nodes.items():
            if not _NODE_ID.fullmatch(str(node_id)):
                yield Problem(str(node_id), "", "its id is not a name", "use letters, digits, _ and -, at most 63")
            nodes[str(node_id)] = yield from _read_node(str(node_id), raw, suggestions)
    else:
        yield Problem("", "nodes", f"it is {_kind(raw_nodes)}", "list nodes by id, as 'answers: {op: llm, …}'")
    yield from graph_problems(nodes, suggestions)
    yield from _path_problems(nodes, files)
    yield from target_problems(nodes, target, suggestions)


def _size_problem(raw_nodes: Mapping[Any, Any]) -> Problem | None:
    if len(raw_nodes) > MAX_NODES:
        return Problem("", "nodes", f"it has {len(raw_nodes)} nodes", f"use at most {MAX_NODES}")
    inputs = (raw.get("in") for raw in raw_nodes.values() if isinstance(raw, Mapping))
    edges = sum(len(names) if isinstance(names, list | tuple) else 1 for names in inputs if names)
    if edges > MAX_EDGES:
        return Problem("", "nodes", f"its nodes have {edges} inputs together", f"use at most {MAX_EDGES}")
    return None


def _path_problems(nodes: Mapping[str, NodeSpec | None], files: FileAccess) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        for parameter, path in node.paths() if node else ():
            try:
                files.check(Path(path))
            except (PermissionDeniedError, InvalidRequestError) as error:
                message, _, remedy = error.message.rpartition("; ")
                yield Problem(node_id, parameter, message, remedy)


def _envelope_problems(value: Mapping[Any, Any], suggestions: Suggestions) -> Iterator[Problem]:
    expected = ("apiVersion", "kind", "metadata", "settings", "nodes")
    for key in value:
        if key not in expected:
            suggestion = suggestions.nearest(str(key), expected)
            yield Problem("", str(key), f"unknown key{suggestion}", "correct or remove it")
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Pipeline")):
        if value.get(key) != wanted:
            message = f"it is {_shortened(value.get(key))}, expected {wanted!r}"
            yield Problem("", key, message, f"write '{key}: {wanted}'")
    try:
        Metadata.model_validate(value.get("metadata") or {})
    except ValidationError as error:
        yield from _explained("", error, Metadata, suggestions, "metadata.")
    try:
        PipelineSettings.model_validate(value.get("settings") or {})
    except ValidationError as error:
        yield from _explained("", error, PipelineSettings, suggestions, "settings.")


def _read_node(node_id: str, raw: object, suggestions: Suggestions) -> Generator[Problem, None, NodeSpec | None]:
    """Yield what is wrong with a node; return it, or None when it cannot be read."""
    if not isinstance(raw, Mapping):
        yield Problem(node_id, "", f"it is {_kind(raw)}, expected a mapping", "write '{op: …, in: […]}'")
        return None
    op = raw.get("op")
    if not isinstance(op, str) or op not in OPERATORS:
        known = f"; known: {', '.join(sorted(OPERATORS))}"
        suggestion = suggestions.nearest(str(op), OPERATORS) if isinstance(op, str) else known
        yield Problem(node_id, "op", f"unknown operator {_shortened(op)}{suggestion}", "choose a known operator")
        return None
    spec_class: type[NodeSpec] = OPERATORS[op].spec
    try:
        return spec_class.model_validate(raw)
    except ValidationError as error:
        yield from _explained(node_id, error, spec_class, suggestions)
        return None


def _explained(
    node_id: str, error: ValidationError, model: type[BaseModel], suggestions: Suggestions, prefix: str = ""
) -> Iterator[Problem]:
    known = [field.alias or name for name, field in model.model_fields.items()]
    for item in error.errors(include_url=False):
        yield _explain(node_id, item, known, suggestions, prefix)


def _explain(node_id: str, item: Any, known: list[str], suggestions: Suggestions, prefix: str) -> Problem:
    field = prefix + ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        return Problem(
            node_id,
            field,
            f"unknown parameter {_shortened(name)}{suggestions.nearest(name, known)}",
            "correct or remove it",
        )
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
    """Return ``repr(value)`` up to about 80 characters, without making more of it."""
    text = _REPR.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _bounded_repr() -> Repr:
    bounded = Repr()
    bounded.maxstring = bounded.maxother = 80
    bounded.maxlevel = 3
    return bounded


_REPR = _bounded_repr()
