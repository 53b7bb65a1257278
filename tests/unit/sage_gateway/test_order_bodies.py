from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import BaseModel
from starlette.requests import Request

from sage_common.errors import InvalidRequestError
from sage_gateway.engine_orders import EngineOrder, LoraOrder, PolicyOrder
from sage_gateway.key_routes import KeyOrder, RotationOrder
from sage_gateway.knowledge_orders import CreateOrder, IngestOrder, SearchOrder
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.record_kinds import MODEL_ROUTES, PRICES, TENANTS


async def read(kind: type[BaseModel], body: bytes) -> BaseModel:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    return await OrderBodies(5.0).read(Request(scope, receive), kind)


@pytest.mark.parametrize(
    ("kind", "smallest"),
    [
        (PolicyOrder, {"policy": "fcfs"}),
        (EngineOrder, {"url": "http://127.0.0.1:1"}),
        (LoraOrder, {"name": "a", "path": "/a"}),
        (KeyOrder, {"tenant": "a"}),
        (RotationOrder, {"grace_seconds": 5}),
        (CreateOrder, {"name": "a"}),
        (IngestOrder, {"folder": "a"}),
        (SearchOrder, {"question": "a"}),
        (TENANTS.order, {"requests_per_minute": 5}),
        (PRICES.order, {"prompt": "1"}),
        (MODEL_ROUTES.order, {"name": "a"}),
    ],
)
async def test_null_is_absent_and_another_field_is_refused_by_name(
    kind: type[BaseModel], smallest: dict[str, Any]
) -> None:
    plain = await read(kind, orjson.dumps(smallest))
    nulls = {name: None for name in kind.model_fields if name not in smallest}
    assert await read(kind, orjson.dumps({**nulls, **smallest})) == plain
    with pytest.raises(InvalidRequestError, match="colour: ") as refused:
        await read(kind, orjson.dumps({**smallest, "colour": 1}))
    assert refused.value.param == "colour"


@pytest.mark.parametrize("body", [b"null", b"[]", b"{", b'{"policy": null}', b"\xff"])
async def test_what_is_no_order_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        await read(PolicyOrder, body)
