"""The HTTP API as a page: operations by their tags, and what they take and give, from the OpenAPI document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from sage_gateway.openapi.served import document_json
from sage_tools.site.tables import table

_HERE = "#/components/schemas/"


def http_reference() -> str:
    """Return the page."""
    document = orjson.loads(document_json())
    return "\n\n".join(["# HTTP", _introduction(document), *_operations(document), "## Objects", *_objects(document)])


def _introduction(document: Mapping[str, Any]) -> str:
    said = document["info"]
    return (
        f"{said['summary']} {said['description']} A gateway answers `/openapi.json` with this as an OpenAPI 3.1 "
        "document; `sage openapi` writes it."
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append(
                (f"`{method.upper()} {path}`", _takes(operation), _gives(operation), _meaning(operation))
            )
    for tag, rows in sorted(by_tag.items()):
        yield f"## {tag}\n\n{table(('operation', 'takes', 'gives', 'meaning'), rows)}"


def _meaning(operation: Mapping[str, Any]) -> str:
    return ". ".join(filter(None, [operation["summary"], operation.get("description")]))


def _takes(operation: Mapping[str, Any]) -> str:
    asked = [f"`{each['name']}`" for each in operation["parameters"] if each["in"] == "query"]
    return ", ".join([*_contents(operation.get("requestBody", {})), *asked])


def _gives(operation: Mapping[str, Any]) -> str:
    given = {
        shown: None
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        for shown in _contents(answer)
    }
    return ", ".join(given)


def _contents(body: Mapping[str, Any]) -> list[str]:
    return [
        f"{_shape(content['schema'])}" if media == "application/json" and "schema" in content else f"`{media}`"
        for media, content in body.get("content", {}).items()
    ]


def _objects(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        required = set(schema.get("required", ()))
        rows = [
            (f"`{field}`", _shape(shape), "required" if field in required else "", shape.get("description", ""))
            for field, shape in schema.get("properties", {}).items()
        ]
        fields = table(("field", "type", "", "meaning"), rows) if rows else _shape(schema)
        yield f"### {name}\n\n{schema.get('description', '')}\n\n{fields}".rstrip()


def _shape(schema: Any) -> str:
    """Return a schema in a few words, with links to the objects of the page."""
    if not isinstance(schema, dict):
        return "anything"
    if (ref := schema.get("$ref", "")).startswith(_HERE):
        name = ref.removeprefix(_HERE)
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(map(_shape, schema[several])))
    if schema.get("type") == "array":
        return f"list of {_shape(schema.get('items'))}"
    values = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(values, dict) and "properties" not in schema:
        return f"map of string to {_shape(values)}"
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
