"""An OpenAPI 3.1 document of declared operations. Source: https://spec.openapis.org/oas/v3.1.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from sage_client.error_body import HTTP_STATUS
from sage_control_plane.request.number_ranges import RANGES
from sage_gateway.dialects.anthropic_errors import ANTHROPIC_ERRORS
from sage_gateway.openapi.answers import AnthropicErrorAnswer, ErrorAnswer
from sage_gateway.openapi.headers import ANSWER_HEADERS, ENGINE_HEADERS
from sage_gateway.openapi.operation import Access, Operation, Schema

_REF: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_PARAMETER: Final = re.compile(r"{(\w+)(?::path)?}")
_BEARER: Final[Schema] = {"bearer": []}
_API_KEY: Final[Schema] = {"apiKey": []}


class _JsonSchema(GenerateJsonSchema):
    """Writes every field of an answer as there, since those with a default are sent too, and no titles."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] == "dataclass-field":
            return True
        return super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def build_document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """Return the document; the same operations give the same one."""
    declared = sorted(operations, key=lambda one: (one.path, one.method))
    schemas = _Schemas(declared)
    paths: dict[str, dict[str, Any]] = {}
    for one in declared:
        paths.setdefault(template(one.path), {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "SAGE",
            "version": version or "0",
            "summary": "LLM and embedding engines as one service: OpenAI's API, Anthropic's Messages, and management.",
            "description": "Without API keys everybody may do everything. Fields and parameters that are null are "
            "absent; those that are not known are refused by name, or passed on to the engine.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {
                "Error": _error(schemas.ref(ErrorAnswer), HTTP_STATUS.values()),
                "AnthropicError": _error(
                    schemas.ref(AnthropicErrorAnswer), (status for status, _ in ANTHROPIC_ERRORS.values())
                ),
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def template(path: str) -> str:
    """Return a path as OpenAPI writes it."""
    return _PARAMETER.sub(r"{\1}", path)


class _Schemas:
    """JSON Schemas of all types of some operations, each once.

    Attributes:
        components: by name.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        kinds: dict[tuple[Any, JsonSchemaMode], None] = {
            (ErrorAnswer, "serialization"): None,
            (AnthropicErrorAnswer, "serialization"): None,
        }
        for one in operations:
            kinds |= {(kind, "serialization"): None for kind in (one.answer, one.events) if kind is not None}
            if one.body is not None:
                kinds[one.body, "validation"] = None
        found, definitions = TypeAdapter.json_schemas(
            [(kind, mode, TypeAdapter(kind)) for kind, mode in kinds], ref_template=_REF, schema_generator=_JsonSchema
        )
        self._found = found
        self.components: dict[str, Schema] = definitions.get("$defs", {})
        for one in operations:
            if one.body is not None:
                self._complete(one)

    def ref(self, kind: Any, mode: JsonSchemaMode = "serialization") -> Schema:
        """Return the schema of a type."""
        return dict(self._found[kind, mode])

    def _complete(self, declared: Operation) -> None:
        """Write into a body's schema what tables say of its fields."""
        name = self.ref(declared.body, "validation")["$ref"].rpartition("/")[2]
        properties = self.components[name].get("properties", {})
        for passed in declared.passed_on:
            properties.setdefault(passed, {})
        if declared.refused:
            self.components[name]["x-refused"] = dict(declared.refused)
        if declared.is_inference:
            for field in RANGES.keys() & properties.keys():
                properties[field] = _in_range(properties[field], *RANGES[field])


def _in_range(schema: Schema, least: float, most: float) -> Schema:
    """Return a schema with the bounds of its numbers."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_in_range(one, least, most) for one in schema["anyOf"]]}
    if schema.get("type") not in (None, "integer", "number"):
        return schema
    return {**schema, "minimum": max(least, schema.get("minimum", least)), "maximum": most}


def _operation(declared: Operation, schemas: _Schemas) -> dict[str, Any]:
    error = "AnthropicError" if declared.anthropic else "Error"
    headers = {**ANSWER_HEADERS, **ENGINE_HEADERS} if declared.is_inference else ANSWER_HEADERS
    answer = {"description": declared.summary, "headers": headers, "content": _answers(declared, schemas)}
    responses: dict[str, Any] = {str(status): answer for status in (declared.status, *declared.others)}
    for range_ in ("4XX", "5XX"):
        responses[range_] = {"$ref": f"#/components/responses/{error}"}
    described: dict[str, Any] = {
        "summary": declared.summary,
        "operationId": _name(declared),
        "tags": [_tag(declared.path)],
        "parameters": _parameters(declared),
        "responses": responses,
        "security": _security(declared),
    }
    bodies = {media: {"schema": schema} for media, schema in declared.raw_body.items()}
    if declared.body is not None:
        bodies[_JSON] = {"schema": schemas.ref(declared.body, "validation")}
    if bodies:
        described["requestBody"] = {"required": not declared.body_optional, "content": bodies}
    if declared.access is Access.OPERATOR:
        described["description"] = "For operators."
    return described


def _event(schema: Schema, error: Schema) -> Schema:
    """Return the schema of one event of a stream; what breaks off ends with an error, and most streams with a word."""
    held = {"contentMediaType": _JSON, "contentSchema": {"anyOf": [schema, error]}}
    data = {"type": "string", "anyOf": [{"const": "[DONE]"}, held]}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"data": data, "event": {"type": "string"}, "id": {"type": "string"}},
    }


def _answers(declared: Operation, schemas: _Schemas) -> dict[str, Any]:
    error = AnthropicErrorAnswer if declared.anthropic else ErrorAnswer
    content: dict[str, Any] = {media: {"schema": schema} for media, schema in declared.raw_answer.items()}
    if declared.answer is not None:
        content[_JSON] = {"schema": schemas.ref(declared.answer)}
    if declared.events is not None:
        content[_EVENTS] = {"schema": _event(schemas.ref(declared.events), schemas.ref(error))}
    return content


def _parameters(declared: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(declared.path)
    ]
    for parameter in declared.query or ():
        one: dict[str, Any] = {"name": parameter.name, "in": "query", "schema": parameter.schema}
        if parameter.about:
            one["description"] = parameter.about
        found.append(one)
    found += [{"name": name, "in": "header", "schema": schema} for name, schema in declared.headers.items()]
    return found


def _security(declared: Operation) -> list[Schema]:
    if declared.access is Access.OPEN:
        return []
    keys = [_BEARER, _API_KEY] if declared.anthropic else [_BEARER]
    # None is needed as long as no keys are set.
    return [{}, *keys]


def _error(schema: Schema, statuses: Iterable[int]) -> dict[str, Any]:
    seen = ", ".join(str(status) for status in sorted(set(statuses)))
    return {
        "description": f"An error: SAGE's own ({seen}), or what an engine refused, with its status.",
        "headers": {
            **ANSWER_HEADERS,
            "retry-after": {"schema": {"type": "integer", "minimum": 0}, "description": "of 429 and 503, in seconds"},
        },
        "content": {_JSON: {"schema": schema}},
    }


def _name(declared: Operation) -> str:
    words = re.findall(r"\w+", template(declared.path)) or ["root"]
    return "_".join((declared.method.lower(), *words))


def _tag(path: str) -> str:
    words = path.strip("/").split("/")
    if words[:2] == ["v1", "management"]:
        return f"management: {words[2]}"
    return words[1] if words[0] == "v1" and len(words) > 1 else "service"
