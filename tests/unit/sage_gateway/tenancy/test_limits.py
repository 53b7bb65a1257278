"""Tenants at the gateway: refused in the vendor's words, settled by what was delivered, shared by two gateways."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import CHAT_MODEL, EMBEDDING_MODEL
from fixtures.mesh import Mesh, gateway_mesh, until
from fixtures.nats import NatsProcess

from sage_common.prices import Price
from sage_common.quota.account import remaining
from sage_common.quota.meter import Meter
from sage_common.tenants import Tenant, checked

PATH = "/v1/chat/completions"


class Tenants:
    """A tenant of its own for one test, and a mesh whose gateways go by it."""

    def __init__(self, mesh: Mesh, name: str) -> None:
        self.mesh = mesh
        self.name = name

    async def set(self, **limits: Any) -> Tenant:
        tenant = checked(Tenant, {"name": self.name, **limits})
        await self.mesh.tenancies[0].tenants.put(tenant)
        for tenancy in self.mesh.tenancies:
            await until(lambda t=tenancy: t.tenants.records.get(self.name) == tenant)  # type: ignore[misc]
        return tenant

    async def ask(
        self, http: aiohttp.ClientSession, words: str, max_tokens: int = 10, path: str = PATH, **fields: Any
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Ask for an echo; return the status, the body, and the headers."""
        body = {
            "model": CHAT_MODEL,
            "messages": [{"role": "user", "content": words}],
            "max_tokens": max_tokens,
            **fields,
        }
        async with http.post(path, json=body) as response:
            return response.status, await response.json(), dict(response.headers)

    def session(self, url: str = "") -> aiohttp.ClientSession:
        return aiohttp.ClientSession(url or self.mesh.url, headers={"x-sage-tenant": self.name})

    def left(self, meter: Meter) -> int:
        keeper = self.mesh.tenancies[0].keeper
        records = keeper._budgets if meter.is_budget else keeper._rates
        account = records.latest(keeper.quota(self.mesh.tenancies[0].tenants.records[self.name]).key)[meter.name]
        return remaining(account, meter, keeper.pulse.server_now())


@asynccontextmanager
async def tenants(nats: NatsProcess) -> AsyncIterator[Tenants]:
    async with gateway_mesh(nats, tenancy=True) as mesh:
        yield Tenants(mesh, f"acme-{os.urandom(4).hex()}")


async def test_a_budget_of_tokens_is_spent_by_what_was_answered_and_then_refused_in_openais_words(
    nats_server: NatsProcess,
) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        (meter,) = (await acme.set(daily_tokens=60)).meters
        statuses = [(await acme.ask(http, "one two three"))[0] for _ in range(6)]
        # Each comes to six tokens, and reserves ten for its answer and some for its prompt.
        assert statuses == [200] * 6
        await until(lambda: acme.left(meter) == 24)
        status, body, headers = await acme.ask(http, "one two three", max_tokens=20)
        assert (status, body["error"]["code"], body["error"]["type"]) == (
            429,
            "insufficient_quota",
            "insufficient_quota",
        )
        assert "60 tokens today (36 tokens spent" in body["error"]["message"]
        assert 1 <= int(headers["Retry-After"]) <= 86_400
        assert (await acme.ask(http, "one two three", max_tokens=10))[0] == 200


async def test_what_is_left_of_each_limit_is_told(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        tenant = await acme.set(daily_tokens=60, requests_per_minute=2, max_concurrent=3)
        keeper = acme.mesh.tenancies[0].keeper
        assert [state.left for state in keeper.states(tenant)] == [3, 2, 60]
        assert (await acme.ask(http, "one two three"))[0] == 200
        concurrency, requests, tokens = keeper.states(tenant)
        assert (concurrency.left, concurrency.resets_seconds) == (3, 0)
        assert (requests.left, 20 < requests.resets_seconds <= 30) == (1, True)
        assert (tokens.left, 0 < tokens.resets_seconds <= 86_400) == (54, True)


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/messages", "rate_limit_error"), ("/v1/responses", "insufficient_quota")]
)
async def test_every_dialect_refuses_in_its_vendors_shape(nats_server: NatsProcess, path: str, kind: str) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        await acme.set(daily_tokens=1, requests_per_minute=100)
        fields = (
            {"input": "hello"}
            if path == "/v1/responses"
            else {"max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
        )
        async with http.post(path, json={"model": CHAT_MODEL, **fields}) as response:
            error = (await response.json())["error"]
            assert (response.status, error["type"], "Retry-After" in response.headers) == (429, kind, True)
            assert response.headers["x-ratelimit-limit-requests"] == "100"


async def test_requests_a_minute_are_told_in_headers_and_refused_with_when_to_try_again(
    nats_server: NatsProcess,
) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        await acme.set(requests_per_minute=2, tokens_per_minute=10_000)
        first = (await acme.ask(http, "hello"))[2]
        assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == ("2", "1")
        assert first["x-ratelimit-limit-tokens"] == "10000"
        assert 9_900 < int(first["x-ratelimit-remaining-tokens"]) < 10_000
        await acme.ask(http, "hello")
        status, body, headers = await acme.ask(http, "hello")
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 20 <= int(headers["Retry-After"]) <= 30
        assert headers["x-ratelimit-remaining-requests"] == "0"


async def test_a_seat_comes_back_when_its_client_goes_away_and_what_it_was_sent_is_settled(
    nats_server: NatsProcess,
) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        meters = (await acme.set(max_concurrent=1, daily_tokens=1_000)).meters
        body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "first wait"}], "stream": True}
        async with http.post(PATH, json=body) as response:
            await asyncio.wait_for(response.content.readuntil(b"FIRST"), 5)
            status, refused, _ = await acme.ask(http, "hello")
            assert (status, refused["error"]["code"]) == (429, "rate_limit_exceeded")
            assert "1 requests at a time" in refused["error"]["message"]
        # The estimate of the prompt, and the one token that was delivered.
        await until(lambda: 900 < acme.left(meters[1]) < 1_000)
        assert acme.left(meters[0]) == 1
        assert (await acme.ask(http, "hello"))[0] == 200


async def test_a_model_that_is_not_the_tenants_is_refused(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        await acme.set(models=["fake-*"])
        status, body, _ = await acme.ask(http, "hello")
        assert (status, body["error"]["code"], body["error"]["param"]) == (403, "model_not_allowed", "model")
        async with http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": "hello"}) as response:
            assert response.status == 200


async def test_a_budget_in_money_needs_a_price_and_is_spent_by_it(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        prices = acme.mesh.tenancies[0].prices
        (meter,) = (await acme.set(monthly_money="0.001")).meters
        status, body, _ = await acme.ask(http, "hello")
        assert (status, body["error"]["code"]) == (422, "model_without_price")
        await prices.put(checked(Price, {"model": CHAT_MODEL, "prompt": "1.5", "completion": "6"}))
        try:
            assert (await acme.ask(http, "one two three"))[0] == 200
            # Three tokens at 1500 billionths, three at 6000.
            await until(lambda: acme.left(meter) == 1_000_000 - 22_500)
            status, body, _ = await acme.ask(http, "hello", max_tokens=1_000)
            assert (status, body["error"]["code"]) == (429, "insufficient_quota")
        finally:
            await prices.remove(CHAT_MODEL)


async def test_a_limit_that_is_raised_or_removed_counts_at_once(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        await acme.set(daily_tokens=5)
        assert (await acme.ask(http, "hello"))[0] == 429
        await acme.set(daily_tokens=500)
        assert (await acme.ask(http, "hello"))[0] == 200
        await acme.set(daily_tokens=5)
        assert (await acme.ask(http, "hello"))[0] == 429
        await acme.mesh.tenancies[0].tenants.remove(acme.name)
        await until(lambda: acme.name not in acme.mesh.tenancies[0].tenants.records)
        assert (await acme.ask(http, "hello"))[0] == 200


async def test_what_one_gateway_holds_idle_another_gets(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme:
        other = await acme.mesh.another_gateway(tenancy=True)
        await acme.set(daily_tokens=200)
        async with acme.session() as here, acme.session(other) as there:
            assert (await acme.ask(here, "hello"))[0] == 200
            # All but what was spent, at once, though the first gateway still holds an eighth of it.
            assert (await acme.ask(there, "hello", max_tokens=190))[0] == 200
            await asyncio.gather(*(acme.ask(each, "hello") for each in (here, there) for _ in range(5)))


async def test_two_gateways_spend_one_budget_and_not_more(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme:
        other = await acme.mesh.another_gateway(tenancy=True)
        (meter,) = (await acme.set(daily_tokens=300)).meters
        async with acme.session() as here, acme.session(other) as there:

            async def client(http: aiohttp.ClientSession) -> int:
                answered = 0
                for _ in range(9):
                    answered += (await acme.ask(http, "one two three", max_tokens=3))[0] == 200
                return answered

            answered = sum(await asyncio.gather(*(client(http) for http in (here, there) for _ in range(4))))
            assert answered * 6 <= 300
            await until(lambda: acme.left(meter) == 300 - answered * 6)
            while (await acme.ask(there, "one two three", max_tokens=3))[0] == 200:
                answered += 1
            # The estimate of the prompt is above what it comes to, so the last requests do not fit.
            assert 300 - answered * 6 < 12


async def test_a_small_budget_lets_in_what_states_no_limit_and_holds_it_to_what_is_reserved(
    nats_server: NatsProcess,
) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        (meter,) = (await acme.set(daily_tokens=200)).meters
        body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "one two three"}]}

        async def ask(**fields: Any) -> int:
            async with http.post(PATH, json={**body, **fields}) as response:
                await response.read()
                return response.status

        # Without a limit 512 tokens are assumed, of which the budget has not half.
        assert await ask() == 200
        assert orjson.loads(acme.mesh.engine.jobs[-1].whole_body)["max_tokens"] == 64
        await until(lambda: acme.left(meter) == 194)
        # With a limit that is too long the answer is as before.
        assert await ask(max_tokens=512) == 429
        statuses = await asyncio.gather(*(ask() for _ in range(40)))
        assert set(statuses) == {200, 429}
        await until(lambda: acme.left(meter) == 194 - 6 * statuses.count(200))
        for _ in range(40):
            if await ask() != 200:
                break
        # What short answers have come to is reserved by now, so that little is left when nothing fits any more.
        left = acme.left(meter)
        assert 0 <= left < 40


async def test_what_has_room_is_let_in_as_it_came(nats_server: NatsProcess) -> None:
    async with tenants(nats_server) as acme, acme.session() as http:
        await acme.set(daily_tokens=2_000)
        body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "one two three"}]}
        async with http.post(PATH, json=body) as response:
            assert response.status == 200
        assert "max_tokens" not in orjson.loads(acme.mesh.engine.jobs[-1].whole_body)
