"""Model routes set by operators, on a real nats-server; and while it is away."""

from __future__ import annotations

import os

import pytest
from fixtures.eventually import eventually
from fixtures.nats import NatsProcess

from sage.gateway.v1 import models_pb2 as pb
from sage_common.errors import InvalidRequestError, NotFoundError, UnavailableError
from sage_common.model_routes import ModelRoute, check_routes
from sage_common.service_settings import NatsSettings
from sage_gateway.stored_records import StoredRecords
from sage_platform.nats_connection import connect
from sage_platform.operator_records import model_route_records


def message(name: str, target: str) -> pb.ModelRoute:
    return pb.ModelRoute(name=name, targets=[pb.RouteTarget(model=target)])


async def test_a_route_travels_whole_and_others_follow_it(nats_server: NatsProcess) -> None:
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    here, there = (model_route_records(connection.jetstream()) for _ in range(2))
    await here.start()
    await there.start()
    try:
        name = f"best/{os.urandom(3).hex()}"
        orders = StoredRecords(here, ModelRoute, pb.ModelRoute, check_routes)
        asked = pb.ModelRoute(
            name=name,
            targets=[pb.RouteTarget(model="big", weight=90), pb.RouteTarget(model="new", weight=0)],
            fallbacks=[pb.RouteFallback(model="small", on=["refusal"]), pb.RouteFallback(model="last")],
            defaults=pb.RouteDefaults(temperature=0.0, max_tokens=7, stop=["\n"], seed=2**40, service_class="bulk"),
        )
        kept = await orders.set(asked)
        asked.fallbacks[1].on.extend(["refusal", "failure", "context_length"])
        assert kept == asked
        await eventually(lambda: name in there.records)
        assert there.records[name].defaults.given == {
            "temperature": 0.0,
            "max_tokens": 7,
            "stop": ["\n"],
            "seed": 2**40,
            "service_class": "bulk",
        }
        with pytest.raises(InvalidRequestError, match="in a circle"):
            await orders.set(message("big", name))
        with pytest.raises(InvalidRequestError, match="name"):
            await orders.set(pb.ModelRoute())
        assert (await orders.remove(name)).name == name
        await eventually(lambda: name not in there.records)
        with pytest.raises(NotFoundError) as missing:
            await orders.remove(name)
        assert missing.value.code == "no_such_model_route"
    finally:
        await here.stop()
        await there.stop()
        await connection.close()


async def test_a_route_that_cannot_be_stored_is_told_so_and_the_old_ones_stay(nats_server: NatsProcess) -> None:
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    store = model_route_records(connection.jetstream())
    await store.start()
    try:
        orders = StoredRecords(store, ModelRoute, pb.ModelRoute, check_routes)
        name = f"kept-{os.urandom(3).hex()}"
        await orders.set(message(name, "static"))
        await connection.close()
        with pytest.raises(UnavailableError, match="look at the NATS server") as refused:
            await orders.set(message(name, "other"))
        assert refused.value.code == "jetstream_unavailable"
        assert [target.model for target in store.records[name].split] == ["static"]
    finally:
        await store.stop()
