"""The description of the HTTP API says what the application serves, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import orjson
import pytest
import schemathesis
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.routing import Route

from sage_cli.app import main as sage
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.number_ranges import RANGES
from sage_control_plane.request.request import Endpoint
from sage_gateway import http_application
from sage_gateway.app import GatewayApp, build_app
from sage_gateway.dialects.message_request import REFUSED as MESSAGE_REFUSED
from sage_gateway.dialects.message_request import read_message_request
from sage_gateway.dialects.response_request import REFUSED as RESPONSE_REFUSED
from sage_gateway.dialects.response_request import read_response_request
from sage_gateway.openapi.document import template
from sage_gateway.openapi.served import document_json, served_operations


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(document_json())
    return value


@pytest.fixture
async def application(nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch) -> GatewayApp:
    """The application of a real gateway, without what stands before it."""
    built: list[GatewayApp] = []

    def build(*arguments: Any) -> GatewayApp:
        built.append(build_app(*arguments))
        return built[0]

    monkeypatch.setattr(http_application, "build_app", build)
    async with gateway_mesh(nats_server, engines=False):
        return built[0]


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


async def test_every_route_is_described_and_every_description_has_a_route(
    application: GatewayApp, document: dict[str, Any]
) -> None:
    routes = [route for route in application.routes if isinstance(route, Route)]
    shown = {
        (method, template(route.path))
        for route in routes
        if route.include_in_schema
        for method in (route.methods or ())
        if method != "HEAD"
    }
    hot = {("POST", path) for path in application.hot_paths}
    assert shown | hot == described(document)
    assert [route.path for route in routes if not route.include_in_schema] == ["/v1/messages/{rest:path}"]


async def test_the_gateway_and_the_command_line_give_the_same_document(
    http: aiohttp.ClientSession,
    document: dict[str, Any],
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with http.get("/openapi.json") as response:
        served = orjson.loads(await response.read())
    assert served == document
    monkeypatch.setattr(sys, "argv", ["sage", "openapi"])
    with pytest.raises(SystemExit) as ended:
        sage()
    assert not ended.value.code
    assert orjson.loads(capfdbinary.readouterr().out) == document


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    """By the schema that OpenAPI has of itself, as schemathesis brings it."""
    schemathesis.openapi.from_dict(document).validate()


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names)) == len(served_operations())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: dict[str, Any]) -> None:
    for reference in references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_streams_errors_and_keys_are_described(document: dict[str, Any]) -> None:
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert chat["responses"]["4XX"] == {"$ref": "#/components/responses/Error"}
    message = document["paths"]["/v1/messages"]["post"]
    assert message["responses"]["5XX"] == {"$ref": "#/components/responses/AnthropicError"}
    assert {"apiKey": []} in message["security"]
    assert document["paths"]["/health"]["get"]["security"] == []


def test_numbers_have_the_ranges_that_are_checked(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = ("ChatBody", "CompletionBody", "EmbeddingBody", "RerankBody")
    ranged = {name for body in bodies for name in schemas[body]["properties"]} & RANGES.keys()
    assert ranged >= {"n", "temperature", "seed", "dimensions", "top_n", "best_of"}
    assert schemas["ChatBody"]["properties"]["top_p"] == {"minimum": 0, "maximum": 1}


@pytest.mark.parametrize(
    ("endpoint", "schema", "smallest"),
    [
        (Endpoint.CHAT_COMPLETIONS, "ChatBody", {"messages": [{"role": "user", "content": "hi"}]}),
        (Endpoint.COMPLETIONS, "CompletionBody", {"prompt": "hi"}),
        (Endpoint.EMBEDDINGS, "EmbeddingBody", {"input": "hi"}),
        (Endpoint.RERANK, "RerankBody", {"query": "hi", "documents": ["one"]}),
    ],
)
def test_what_the_mesh_reads_of_a_body_is_what_is_described(
    document: dict[str, Any], endpoint: Endpoint, schema: str, smallest: dict[str, Any]
) -> None:
    """Whatever a field is set to, the reader and the description agree, but where an engine is to judge."""
    check = Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": document["components"]})
    fields = sorted(document["components"]["schemas"][schema]["properties"])
    # To JSON Schema 1.0 is a whole number.
    fractions = st.floats(-200, 200, width=32).filter(lambda number: not number.is_integer())
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-3, 5000), fractions, st.text(max_size=3))
    names = st.sampled_from(["text", "type", "role", "content"])
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
    )

    @settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(fields), values)
    def agree(field: str, value: Any) -> None:
        body = {**smallest, field: value}
        is_described = check.is_valid(body)
        try:
            read_body(endpoint, orjson.dumps(body))
            is_taken = True
        except InvalidRequestError:
            is_taken = False
        # The description is the stricter: -1, 256.0 and inputs with objects are for engines to judge.
        assert is_taken or not is_described, (field, value)

    agree()


def refusal(read: Callable[[dict[str, Any]], object], body: dict[str, Any]) -> str:
    """Return the code that a body is refused with; empty where it is taken."""
    try:
        read(body)
    except InvalidRequestError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("schema", "refused", "read", "smallest"),
    [
        (
            "MessageBody",
            MESSAGE_REFUSED,
            read_message_request,
            {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
        ),
        ("ResponseBody", RESPONSE_REFUSED, read_response_request, {"input": "hi"}),
    ],
)
def test_every_described_field_of_a_translated_body_is_read(
    document: dict[str, Any], schema: str, refused: dict[str, str], read: Any, smallest: dict[str, Any]
) -> None:
    properties = set(document["components"]["schemas"][schema]["properties"])
    codes = {name: refusal(read, {**smallest, name: "something"}) for name in properties | refused.keys()}
    assert "unknown_parameter" not in codes.values()
    assert {codes[name] for name in refused} == {"unsupported_parameter"}
    for name in properties | refused.keys():
        read({**smallest, name: smallest.get(name)})
    assert document["components"]["schemas"][schema]["x-refused"] == refused
